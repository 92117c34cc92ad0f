"""Follow one sentence through every step of the Transformer: equations, shapes and numbers of a trained model.

sineformer-walkthrough
sineformer-walkthrough --model DIR "A man is riding a horse." --reference "Ein Mann reitet auf einem Pferd."
sineformer-walkthrough --markdown walkthrough.md

Attention is "eager" here: a breakpoint in `scaled_dot_product_attention` (modeling/attention.py) stops.
"""

import argparse
import sys
from functools import partial

import torch

from sineformer.training.explanation.trace import trace
from sineformer.training.explanation.walkthrough import REFERENCE, SENTENCE, as_text, describe
from sineformer.training.pretrained.inspection import InspectionError
from sineformer.training.pretrained.loading import SHIPPED_MODEL
from sineformer.training.pretrained.translator import TranslationError, check_sentences, load_translator
from sineformer.training.system.command_line import needs_extra, path, path_or_name, run_command


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("sentence", nargs="?", help=f"the source (default: {SENTENCE})")
    add("--model", type=path_or_name, default=SHIPPED_MODEL, help="folder or Hub id (default: %(default)s)")
    add("--reference", help="a translation to compute the loss of (default: the model's own)")
    add("--markdown", type=path, help="write Markdown to this file, and pictures beside it, instead of text")
    return parser


def main() -> int:
    """Print or write the walk-through; return the exit status."""
    options = make_parser().parse_args()
    sentence, reference = options.sentence or SENTENCE, options.reference
    if options.sentence is None and reference is None:
        reference = REFERENCE
    if options.markdown is not None:
        with needs_extra("train"):
            from sineformer.training.explanation.pages import page_problem, write_page
        problem = page_problem(options.markdown)
        if problem is not None:
            print(f"error: {problem}", file=sys.stderr)
            return 1
    try:
        check_sentences([sentence, *filter(None, [reference])])
        model, tokenizers = load_translator(options.model, "cpu", torch.float32)
        traced = trace(model, tokenizers, sentence, reference)
        steps = describe(traced)
    except (TranslationError, InspectionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.markdown is None:
        print(as_text(traced, steps))
    else:
        write_page(options.markdown, traced, steps)
        print(f"The walk-through is {options.markdown}.")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
