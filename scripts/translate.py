"""Translate text with a trained model, one output line for each input line.

sineformer-translate --model DIR "A man is riding a horse."
sineformer-translate --model DIR --input in.txt.gz --output out.txt.gz
cat in.txt | sineformer-translate --model DIR > out.txt
sineformer-translate --model DIR --input in.txt --output out.txt --resume   # after an interruption
sineformer-translate --model DIR --num_return_sequences 5 --scores --format jsonl --input in.txt
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial

from tqdm.auto import tqdm

from sineformer.training.data.readers.compressed import COMPRESSIONS
from sineformer.training.pretrained.engines import ENGINES, ModelChoice
from sineformer.training.pretrained.output import FORMATS, Output, format_translations, header, open_output
from sineformer.training.pretrained.splitting import has_several_sentences, load_splitter
from sineformer.training.pretrained.text_translation import (
    choose_workers,
    count_lines,
    open_translator,
    windows_of,
)
from sineformer.training.pretrained.translation import Search
from sineformer.training.pretrained.translator import TranslationError, check_sentences, iterate_lines
from sineformer.training.system.command_line import path, path_or_name, positive, run_command

INPUT_HELP = (
    f"text file, one sentence per line, plain or compressed ({', '.join(COMPRESSIONS)}) (default: standard input)"
)
FORMAT_HELP = (
    "text: the best translation per line; tsv: a row per translation; jsonl: an object per line "
    "(default: text, or tsv with --scores or several translations)"
)
LANGUAGE_HELP = "code of the language to translate into, of a model that translates both directions (default: its own)"
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
    add("--target_language", help=LANGUAGE_HELP)
    add("--num_beams", type=positive, help="number of beams (default: as saved with the model)")
    add("--num_return_sequences", type=positive, default=1, help="translations per line, best first (default: 1)")
    add("--scores", action="store_true", help="add scores: log-probability / length ** length_penalty")
    add("--format", choices=FORMATS, help=FORMAT_HELP)
    add("--split_sentences", metavar="LANGUAGE", help=SPLIT_HELP)
    add("--resume", action="store_true", help="continue an interrupted run with the same options and --output")
    add("--engine", choices=ENGINES, help="library that computes the model (default: the one that --model is for)")
    add("--max_tokens", type=positive, help="source tokens per batch, padding included (default: by device)")
    add("--workers", type=positive, help="processes on the CPU (default: one for each core, if the text is long)")
    add("--device", help="cpu, cuda, cuda:1, mps, ... (default: an accelerator if there is one)")
    add("--dtype", choices=["float32", "float16", "bfloat16"], help="dtype of the weights (default: float32)")
    return parser


def parse() -> argparse.Namespace:
    """Read the command line; refuse flags that cannot be combined."""
    parser = make_parser()
    options = parser.parse_args()
    several = options.num_return_sequences > 1 or options.scores
    if options.sentences and options.input:
        parser.error("give sentences or --input, not both")
    if options.interactive and (options.sentences or options.input or options.output or options.workers):
        parser.error("--interactive answers standard input on standard output, in one process; leave out the others")
    if options.num_beams and options.num_beams < options.num_return_sequences:
        parser.error(f"{options.num_return_sequences} translations need as many beams; leave out --num_beams")
    if options.resume and not options.output:
        parser.error("--resume continues a file; add --output")
    if several and options.format == "text":
        parser.error("text has one translation per line and no scores; use --format tsv or jsonl")
    if several and options.split_sentences:
        parser.error("--split_sentences gives one translation per line without a score; leave out the others")
    options.format = options.format or ("tsv" if several else "text")
    options.terminal = sys.stdin is not None and sys.stdin.isatty()
    options.interactive |= options.terminal and not (options.sentences or options.input or options.output)
    return options


def write_translations(options: argparse.Namespace, choice: ModelChoice, output: Output) -> None:
    """Translate all lines, window by window, in interactive use line by line."""
    check_sentences(options.sentences)
    splitter = load_splitter(options.split_sentences) if options.split_sentences else None
    count = len(options.sentences) or None
    if options.input and options.input.is_file():  # is read twice, so that its faults are found first
        count = sum(1 for _ in iterate_lines(options.input))
    lines = iter(options.sentences) if options.sentences else iterate_lines(options.input)
    output.skip(lines)
    lines = lines if splitter else warn_of_several_sentences(lines, output.lines + 1)
    windows = windows_of(lines, 1 if options.interactive else None)
    if count is None and not options.interactive:
        count, windows = count_lines(windows, output.lines)
    workers = 1 if options.interactive else options.workers or choose_workers(choice, count)
    search = Search(options.num_beams, options.num_return_sequences, options.scores)
    bar = tqdm(total=count, initial=output.lines, unit=" lines", disable=options.interactive or None, delay=2)
    with open_translator(choice, search, options.max_tokens, splitter, workers) as translator, bar:
        if options.interactive and options.terminal:
            print("Type a sentence and press Enter; Ctrl-D ends.", file=sys.stderr)
        first = output.lines + 1
        if first == 1:
            output.write([], header(options.format, options.scores))
        for sources, found in translator.translate(windows, bar.update):
            numbered = enumerate(zip(sources, found, strict=True), first)
            output.write(sources, "".join(format_translations(options.format, n, *each) for n, each in numbered))
            first += len(sources)


def warn_of_several_sentences(lines: Iterator[str], first: int) -> Iterator[str]:
    """Yield the lines, and warn of the first one that seems to have several sentences. `first` is its first number."""
    warned = False
    for number, line in enumerate(lines, first):
        if not warned and has_several_sentences(line):
            print(
                f"warning: line {number} seems to have several sentences; the model was trained on single ones and may "
                "drop the rest (--split_sentences LANGUAGE translates each)",
                file=sys.stderr,
            )
            warned = True
        yield line


def main() -> int:
    """Translate the sentences or files; return the exit status."""
    options = parse()
    choice = ModelChoice(options.model, options.engine, options.device, options.dtype, options.target_language)
    # What the translation of a line depends on.
    names = ("target_language", "num_beams", "num_return_sequences", "scores", "format", "split_sentences", "dtype")
    depends = {"model": choice.fingerprint(), **{name: getattr(options, name) for name in names}}
    try:
        with open_output(options.output, depends, options.resume) as output:
            write_translations(options, choice, output)
    except TranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
