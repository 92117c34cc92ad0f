"""Draw the attention of a trained model in one sentence.

sineformer-plot-attention --model DIR "Two dogs are playing in the snow."
sineformer-plot-attention --model DIR "Two dogs are playing." --translation "Zwei Hunde spielen."
sineformer-plot-attention --model DIR "Two dogs are playing." --heads encoder --layer 1 --output heads.svg
sineformer-plot-attention --model DIR "A man lost his hat." --heads encoder --layer 1 --word his

Without --heads, the picture is the alignment: how much the decoder attends to each source word when it predicts each
target word, as the mean over heads, of one layer or of all.
"""

import argparse
import sys
from functools import partial

import torch

from sineformer.training.pretrained.inspection import InspectionError, inspect
from sineformer.training.pretrained.loading import SHIPPED_MODEL
from sineformer.training.pretrained.translator import TranslationError, check_sentences, load_translator
from sineformer.training.system.command_line import needs_extra, path, path_or_name, positive, run_command

with needs_extra("train"):
    from sineformer.training.explanation.attention_pictures import KINDS, Choice, draw_attention
    from sineformer.training.explanation.picture_files import picture_problem, save_picture


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("sentence", help="the source")
    add("--model", type=path_or_name, default=SHIPPED_MODEL, help="folder or Hub id (default: %(default)s)")
    add("--translation", help="a translation to look at (default: the best that the model finds)")
    add("--heads", choices=KINDS, help="draw each head of this attention (default: the alignment)")
    add("--layer", type=positive, help="layer from 1 (default: all for the alignment, the last for --heads)")
    add("--word", help="with --heads: draw what each head attends to from this word alone")
    add("--tokens", action="store_true", help="draw tokens instead of words")
    add("--output", type=path, default="attention.png", help=".png or .svg (default: %(default)s)")
    return parser


def main() -> int:
    """Write the picture; return the exit status."""
    parser = make_parser()
    options = parser.parse_args()
    if options.word and not options.heads:
        parser.error("--word is drawn for each head; add --heads encoder, decoder or cross")
    choice = Choice(options.heads, options.layer, options.word, options.tokens)
    problem = picture_problem(options.output)
    if problem is not None:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    try:
        check_sentences([options.sentence, *filter(None, [options.translation])])
        model, tokenizers = load_translator(options.model, "cpu", torch.float32)
        inspection = inspect(model, tokenizers, options.sentence, options.translation)
        save_picture(draw_attention(inspection, choice), options.output)
    except (TranslationError, InspectionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"The picture is {options.output}.")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
