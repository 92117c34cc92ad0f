"""Export a model for inference without torch, tokenizer included.

sineformer-export runs/mine runs/mine-int8 --format ctranslate2 --quantization int8
sineformer-translate --model runs/mine-int8 "A man is riding a horse."
"""

import argparse
import sys
from functools import partial

from transformers.utils.logging import disable_progress_bar

from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.export.exporting import export_model
from sineformer.training.pretrained.export.formats import FORMATS
from sineformer.training.system.command_line import path, path_or_name, run_command

QUANTIZATION_HELP = "type of the weights of ctranslate2: int8, int8_float16, float16, ... (default: float32)"


def main() -> int:
    """Export the model; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=path_or_name, help="folder of a model, or its id on the Hub")
    parser.add_argument("output_dir", type=path, help="output folder; new or empty")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--quantization", help=QUANTIZATION_HELP)
    options = parser.parse_args()
    disable_progress_bar()
    try:
        export_model(options.model, options.output_dir, options.format, options.quantization)
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in options.output_dir.rglob("*") if file.is_file())
    print(f"{options.output_dir}: {size / 1e6:.1f} MB for {options.format}")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
