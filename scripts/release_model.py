"""Make the folder to publish from that of a finished run: weights in half precision, and no sentence of the data.

sineformer-release runs/mine pretrained/mine --notes card.md --notice NOTICE
sineformer-push pretrained/mine user/name
"""

import argparse
import sys
from functools import partial

from transformers.utils.logging import disable_progress_bar

from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.conversion.release import release_model
from sineformer.training.system.command_line import path, run_command


def main() -> int:
    """Write the folder; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=path, help="output folder of a finished training")
    parser.add_argument("output_dir", type=path, help="folder to publish; new or empty")
    parser.add_argument("--notes", type=path, help="Markdown to append to the model card; its metadata are added too")
    parser.add_argument("--notice", type=path, help="file to copy as NOTICE, such as the terms of the data")
    options = parser.parse_args()
    disable_progress_bar()
    try:
        model = release_model(options.run, options.output_dir, options.notes, options.notice)
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.output_dir}: {model.num_parameters():,} parameters in half precision")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
