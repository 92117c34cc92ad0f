"""Compare the search of Sineformer with that of transformers: time and translations, with the same weights.

    python scripts/benchmark_translation.py --model DIR --data SOURCES.txt [--sentences 1000] [--rounds 5]

Both translate the same sentences with the same limits, in turns in one process. Prints the median of rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GenerationMixin

from sineformer.modeling.generation import SourceLengthLimit
from sineformer.training.pretrained.translator import TranslationError, load_translator, read_lines
from sineformer.training.system.command_line import path, path_or_name, positive, run_command

BEYOND_SOURCE = 50  # the limit of section 6.1, in both searches

Translate = Callable[[dict[str, torch.Tensor]], torch.Tensor]


def search_of_transformers(model: Any, num_beams: int) -> Translate:
    """Return a function that translates a batch as transformers does, with the length limit of each source."""
    mixin: Any = GenerationMixin

    def translate(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        limits = inputs["attention_mask"].sum(dim=1) + BEYOND_SOURCE + 1  # [B]
        ends: Any = [SourceLengthLimit(limits)]
        length = int(limits.max())
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
    searches: Sequence[Translate], batching: Batching, sentences: list[list[int]], pad: int, rounds: int
) -> str:
    """Return a row of the table: seconds of both searches, their ratio, and the number of equal translations."""
    seconds: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        found = []
        for search, taken in zip(searches, seconds, strict=True):
            started = time.perf_counter()
            found.append(batching.run(search, sentences, pad))
            if number:  # the first round is warm-up
                taken.append(time.perf_counter() - started)
    theirs, ours = seconds
    ratio = statistics.median(first / second for first, second in zip(theirs, ours, strict=True))
    equal = sum(map(list.__eq__, *found))
    shown = (f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in seconds)
    return f"| {batching.name} | {' | '.join(shown)} | {ratio:.2f}x | {equal} of {len(found[0])} |"


def main() -> int:
    """Time greedy and beam search and print a table of each; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=path_or_name, required=True, help="folder of a trained model")
    parser.add_argument("--data", type=path, required=True, help="file of source sentences, one in a line")
    parser.add_argument("--sentences", type=positive, default=1000, help="number of sentences (default: 1000)")
    parser.add_argument("--rounds", type=positive, default=5, help="rounds after the first (default: 5)")
    options = parser.parse_args()
    try:
        model, tokenizers = load_translator(options.model, "cpu", torch.float32)
        lines = read_lines(Path(options.data))[: options.sentences]
    except TranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sentences: list[list[int]] = tokenizers.source(lines)["input_ids"]
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, fp32")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {len(sentences)} sentences")
    for num_beams in (1, 5):
        searches = search_of_transformers(model, num_beams), search_of_sineformer(model, num_beams)
        print(
            f"\n| beams: {num_beams} | transformers, s | Sineformer, s | times as fast | same |\n|---|---|---|---|---|"
        )
        for batching in BATCHINGS:
            print(compare(searches, batching, sentences, tokenizers.source.pad_token_id, options.rounds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
