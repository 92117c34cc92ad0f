"""Translate text with a trained model, one output line for each input line.

sineformer-translate --model DIR "A man is riding a horse."
sineformer-translate --model DIR --input in.txt --output out.txt
cat in.txt | sineformer-translate --model DIR > out.txt
"""

import argparse
import sys
from functools import partial

import torch

from sineformer.training.data.readers.compressed import COMPRESSIONS
from sineformer.training.pretrained.translation import translate_lines
from sineformer.training.pretrained.translator import (
    TranslationError,
    check_sentences,
    load_translator,
    open_output,
    read_lines,
)
from sineformer.training.system.command_line import path, path_or_name, positive, run_command

INPUT_HELP = (
    f"text file, one sentence per line, plain or compressed ({', '.join(COMPRESSIONS)}) (default: standard input)"
)


def main() -> int:
    """Translate the sentences or files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", nargs="*", help="sentences to translate (default: the lines of --input)")
    parser.add_argument("--model", type=path_or_name, required=True, help="folder of a model, or its id on the Hub")
    parser.add_argument("--input", type=path, help=INPUT_HELP)
    parser.add_argument("--output", type=path, help="file for the translations (default: standard output)")
    parser.add_argument("--num_beams", type=positive, help="number of beams (default: as saved with the model)")
    parser.add_argument("--batch_size", type=positive, default=64, help="sentences per batch (default: 64)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: an accelerator if there is one)")
    parser.add_argument(
        "--dtype", choices=["float32", "float16", "bfloat16"], default="float32", help="dtype of the weights"
    )
    options = parser.parse_args()
    if options.sentences and options.input:
        parser.error("give sentences or --input, not both")
    try:
        with open_output(options.output) as output:
            check_sentences(options.sentences)
            lines = options.sentences or read_lines(options.input)
            model, tokenizers = load_translator(options.model, options.device, getattr(torch, options.dtype))
            many = len(lines) > options.batch_size
            for line in translate_lines(model, tokenizers, lines, options.batch_size, options.num_beams, many):
                output.write(line + "\n")
    except TranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
