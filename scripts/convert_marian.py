"""Convert a Marian or OPUS-MT checkpoint of transformers into a Sineformer folder, tokenizer included.

sineformer-convert-marian Helsinki-NLP/opus-mt-en-de runs/en-de
sineformer-translate --model runs/en-de "A man is riding a horse."
"""

import argparse
import sys
from functools import partial

from transformers.utils.logging import disable_progress_bar

from sineformer.training.pretrained.conversion.marian import convert_marian
from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.system.command_line import path, path_or_name, run_command


def main() -> int:
    """Convert the checkpoint; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source_help = "folder or Hub id of a MarianMTModel with its tokenizer"
    parser.add_argument("source", type=path_or_name, help=source_help)
    parser.add_argument("output_dir", type=path, help="output folder; new or empty")
    options = parser.parse_args()
    disable_progress_bar()
    try:
        model = convert_marian(options.source, options.output_dir)
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.output_dir}: {model.num_parameters():,} parameters in {model.dtype}")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
