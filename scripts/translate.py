"""Translate text with a trained model, one output line for each input line.

sineformer-translate --model DIR "A man is riding a horse."
sineformer-translate --model DIR --input in.txt.gz --output out.txt.gz
cat in.txt | sineformer-translate --model DIR > out.txt
sineformer-translate --model DIR --num_return_sequences 5 --scores --format jsonl --input in.txt
"""

import argparse
import sys
from functools import partial
from typing import TextIO

import torch

from sineformer.training.data.readers.compressed import COMPRESSIONS
from sineformer.training.pretrained.output import FORMATS, format_translations, header, open_output
from sineformer.training.pretrained.splitting import has_several_sentences, load_splitter
from sineformer.training.pretrained.translation import Search, Translator
from sineformer.training.pretrained.translator import (
    TranslationError,
    check_sentences,
    iterate_lines,
    load_translator,
    read_lines,
)
from sineformer.training.system.command_line import path, path_or_name, positive, run_command

INPUT_HELP = (
    f"text file, one sentence per line, plain or compressed ({', '.join(COMPRESSIONS)}) (default: standard input)"
)
FORMAT_HELP = (
    "text: the best translation per line; tsv: a row per translation; jsonl: an object per line "
    "(default: text, or tsv with --scores or several translations)"
)
SPLIT_HELP = "split lines of several sentences in this language (en, de, ...), and translate sentence by sentence"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("sentences", nargs="*", help="sentences to translate (default: the lines of --input)")
    add("--model", type=path_or_name, required=True, help="folder of a model, or its id on the Hub")
    add("--input", type=path, help=INPUT_HELP)
    add("--output", type=path, help="file for the translations, compressed by its suffix (default: standard output)")
    add("--interactive", action="store_true", help="answer each line of standard input at once, as in a terminal")
    add("--num_beams", type=positive, help="number of beams (default: as saved with the model)")
    add("--num_return_sequences", type=positive, default=1, help="translations per line, best first (default: 1)")
    add("--scores", action="store_true", help="add scores: log-probability / length ** length_penalty")
    add("--format", choices=FORMATS, help=FORMAT_HELP)
    add("--split_sentences", metavar="LANGUAGE", help=SPLIT_HELP)
    add("--batch_size", type=positive, default=64, help="sentences per batch (default: 64)")
    add("--device", help="cpu, cuda, cuda:1, mps, ... (default: an accelerator if there is one)")
    add("--dtype", choices=["float32", "float16", "bfloat16"], default="float32", help="dtype of the weights")
    return parser


def parse() -> argparse.Namespace:
    """Read the command line; refuse flags that cannot be combined."""
    parser = make_parser()
    options = parser.parse_args()
    several = options.num_return_sequences > 1 or options.scores
    if options.sentences and options.input:
        parser.error("give sentences or --input, not both")
    if options.interactive and (options.sentences or options.input or options.output):
        parser.error("--interactive reads standard input and writes standard output; leave out the others")
    if options.num_beams and options.num_beams < options.num_return_sequences:
        parser.error(f"{options.num_return_sequences} translations need as many beams; leave out --num_beams")
    if several and options.format == "text":
        parser.error("text has one translation per line and no scores; use --format tsv or jsonl")
    if several and options.split_sentences:
        parser.error("--split_sentences gives one translation per line without a score; leave out the others")
    options.format = options.format or ("tsv" if several else "text")
    options.terminal = sys.stdin is not None and sys.stdin.isatty()
    options.interactive |= options.terminal and not (options.sentences or options.input or options.output)
    return options


def write_translations(options: argparse.Namespace, output: TextIO) -> None:
    """Translate all lines, in interactive use one at a time."""
    check_sentences(options.sentences)
    splitter = load_splitter(options.split_sentences) if options.split_sentences else None
    lines = [] if options.interactive else options.sentences or read_lines(options.input)
    model, tokenizers = load_translator(options.model, options.device, getattr(torch, options.dtype))
    search = Search(options.num_beams, options.num_return_sequences, options.scores)
    translator = Translator(model, tokenizers, search, options.batch_size, splitter)
    if options.interactive and options.terminal:
        print("Type a sentence and press Enter; Ctrl-D ends.", file=sys.stderr)
    output.write(header(options.format, options.scores))
    chunks = ([line] for line in iterate_lines(None)) if options.interactive else [lines]
    first, may_warn = 1, splitter is None
    for chunk in chunks:
        may_warn = may_warn and not warn_of_several_sentences(chunk, first)
        found = translator.translate(chunk, show_progress=len(chunk) > options.batch_size)
        for number, (line, hypotheses) in enumerate(zip(chunk, found, strict=True), first):
            output.write(format_translations(options.format, number, line, hypotheses))
        first += len(chunk)
        if options.interactive:
            output.flush()


def warn_of_several_sentences(lines: list[str], first: int) -> bool:
    """Warn if a line seems to have several sentences; return whether one has. `first` is the number of the first."""
    for number, line in enumerate(lines, first):
        if has_several_sentences(line):
            print(
                f"warning: line {number} seems to have several sentences; the model was trained on single ones and may "
                "drop the rest (--split_sentences LANGUAGE translates each)",
                file=sys.stderr,
            )
            return True
    return False


def main() -> int:
    """Translate the sentences or files; return the exit status."""
    options = parse()
    try:
        with open_output(options.output) as output:
            write_translations(options, output)
    except TranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
