"""Compare translation by Sineformer, transformers, CTranslate2 and ONNX: time and translations, with the same weights.

    python scripts/benchmark.py translate --model DIR --data SOURCES.txt [--sentences 1000] [--rounds 5]

First, our search and that of transformers translate the same batches with the same limits, in turns in one process.
Then the complete text is translated: by transformers in batches of 32 in the order of the file, by Sineformer and its
exports in batches by tokens, in one process and with a thread in each. Loading and exporting are not counted.
Prints medians, and the sizes of the exports.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationMixin

from sineformer.modeling.generation import SourceLengthLimit
from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.translator import TranslationError, load_translator, read_lines
from sineformer.training.system.command_line import path, path_or_name, positive

from .texts import BEYOND_SOURCE, export_programs, make_exports, program_in_processes
from .turns import Program, describe_machine, ratio, spread, take_turns

SINEFORMER = "Sineformer"

Translate = Callable[[dict[str, torch.Tensor]], torch.Tensor]


def search_of_transformers(model: Any, num_beams: int) -> Translate:
    """Return a function that translates a batch as transformers does, with the length limit of each source, and with
    PyTorch's products, as in the models of transformers."""
    mixin: Any = GenerationMixin

    def translate(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        limits = inputs["attention_mask"].sum(dim=1) + BEYOND_SOURCE + 1  # [B]
        ends: Any = [SourceLengthLimit(limits)]
        length = int(limits.max())
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=False):
            return mixin.generate(model, **inputs, num_beams=num_beams, max_length=length, stopping_criteria=ends)

    return translate


def search_of_sineformer(model: Any, num_beams: int) -> Translate:
    """Return a function that translates a batch as Sineformer does, with the same limits."""
    return lambda inputs: model.generate(**inputs, num_beams=num_beams, max_tokens_beyond_source=BEYOND_SOURCE)


@dataclass(frozen=True)
class Batching:
    """A way to make batches of sentences.

    Attributes:
        name: in the table.
        size: sentences per batch.
        by_length: whether the longest sentences come first; otherwise in the order of the file.
        every: takes one of this many sentences; single sentences take long.
    """

    name: str
    size: int
    by_length: bool = False
    every: int = 1

    def run(self, translate: Translate, sentences: list[list[int]], pad: int) -> list[list[int]]:
        """Translate the sentences; return the tokens of each translation, in the order of the sentences."""
        chosen = sentences[:: self.every]
        order = sorted(range(len(chosen)), key=lambda number: -len(chosen[number]) if self.by_length else 0)
        found: dict[int, list[int]] = {}
        for start in range(0, len(order), self.size):
            numbers = order[start : start + self.size]
            longest = max(len(chosen[number]) for number in numbers)
            rows = [chosen[number] + [pad] * (longest - len(chosen[number])) for number in numbers]
            ids = torch.tensor(rows)  # [B, S]
            output = translate({"input_ids": ids, "attention_mask": ids.ne(pad).long()})  # [B, T]
            tokens = ([token for token in row if token != pad] for row in output.tolist())
            found |= dict(zip(numbers, tokens, strict=True))
        return [found[number] for number in range(len(chosen))]


BATCHINGS = (
    Batching("batches of 32, order of the file", 32),
    Batching("batches of 64, by length", 64, by_length=True),
    Batching("single sentences, every tenth", 1, every=10),
)


def compare(
    searches: dict[str, Translate], batching: Batching, sentences: list[list[int]], pad: int, rounds: int
) -> str:
    """Return a row of the table: seconds of both searches, their ratio, and the number of equal translations."""
    found: dict[str, list[list[int]]] = {}

    def program(name: str) -> Program:
        return lambda: found.update({name: batching.run(searches[name], sentences, pad)})

    seconds = take_turns({name: program(name) for name in searches}, rounds)
    theirs, ours = seconds.values()
    equal = sum(map(list.__eq__, *found.values()))
    columns = spread(theirs, 2), spread(ours, 2), f"{ratio(theirs, ours):.2f}x", f"{equal} of {len(found[SINEFORMER])}"
    return f"| {batching.name} | {' | '.join(columns)} |"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", type=path_or_name, required=True, help="folder of a trained model")
    parser.add_argument("--data", type=path, required=True, help="file of source sentences, one in a line")
    parser.add_argument("--sentences", type=positive, default=1000, help="number of sentences (default: 1000)")
    parser.add_argument("--num_beams", type=positive, nargs="+", default=[1, 5], help="1 for greedy (default: 1 5)")
    parser.add_argument("--rounds", type=positive, default=5, help="rounds after the first (default: 5)")
    parser.add_argument("--quick", action="store_true", help="10 sentences, one round")


def run(options: argparse.Namespace) -> int:
    """Time greedy and beam search and print tables of each; return the exit status."""
    rounds, count = (1, 10) if options.quick else (options.rounds, options.sentences)
    try:
        model, tokenizers = load_translator(options.model, "cpu", torch.float32)
        lines = read_lines(Path(options.data))[:count]
    except TranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sentences: list[list[int]] = tokenizers.source(lines)["input_ids"]
    pad = tokenizers.source.pad_token_id
    print(f"{describe_machine()}; {len(sentences)} sentences")
    theirs = {beams: search_of_transformers(model, beams) for beams in options.num_beams}
    seconds: dict[int, dict[str, list[float]]] = {}
    for beams in options.num_beams:
        searches = {"transformers": theirs[beams], SINEFORMER: search_of_sineformer(model, beams)}
        print(f"\n| beams: {beams} | transformers, s | Sineformer, s | times as fast | same |\n|---|---|---|---|---|")
        for batching in BATCHINGS:
            print(compare(searches, batching, sentences, pad, rounds), flush=True)
    for beams in options.num_beams:
        baseline = {"transformers": lambda beams=beams: BATCHINGS[0].run(theirs[beams], sentences, pad)}
        with program_in_processes(options.model, lines, beams, 1) as program:
            seconds[beams] = take_turns(baseline | program, rounds)
    try:
        time_exports(options.model, lines, seconds, rounds)
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def time_exports(model: str, lines: list[str], seconds: dict[int, dict[str, list[float]]], rounds: int) -> None:
    """Time the exports in turns with Sineformer in a process for each core, and print them below what was timed before:
    once CTranslate2 has been at work, short calls of PyTorch take longer in the same process.

    Args:
        seconds: of each program, by number of beams.

    Raises:
        ConversionError: the model cannot be exported.
    """
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        exports = make_exports(model, Path(folder))
        for beams, before in seconds.items():
            with (
                program_in_processes(model, lines, beams, cores) as program,
                export_programs(exports, lines, beams) as programs,
            ):
                found = before | take_turns((program if cores > 1 else {}) | programs, rounds)
            print(f"\n| the text, beams: {beams} | seconds | times as fast as transformers |\n|---|---|---|")
            for name, taken in found.items():
                print(f"| {name} | {spread(taken, 2)} | {ratio(found['transformers'], taken):.2f}x |", flush=True)
        print("\n| export | MB |\n|---|---|")
        for name, export in exports.items():
            print(f"| {name} | {sum(file.stat().st_size for file in export.iterdir()) / 1e6:.1f} |")
