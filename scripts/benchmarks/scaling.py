"""Compare Sineformer with MarianMTModel over lengths, vocabularies and batch sizes.

    python scripts/benchmark.py scaling [lengths vocabularies batches] [--size base] [--device cuda] [--rounds 5]

lengths: training steps of 4,096 positions per side with growing sentences (16 to 4,096 tokens); vocabularies: of 1,024
positions with growing vocabularies (8,000 to 128,000); batches: translation of growing batches (1 to 256 sentences, 20
tokens each), greedy and with 5 beams.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import nn

from sineformer.training.system.command_line import positive

from .peers import SIZES, Batch, make_batch, marian, sineformer, training_step
from .turns import Program, describe_machine, ratio, spread, take_turns

LENGTHS = (16, 64, 256, 1024, 4096)
VOCABULARIES = (8_000, 32_000, 128_000)
BATCHES = (1, 4, 16, 64, 256)
BEAMS = {1: "greedy", 5: "5 beams"}
POSITIONS = 4096
GENERATED = 20

Programs = dict[str, Program]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    names = ", ".join(CASES)
    parser.add_argument("cases", nargs="*", type=_known_case, metavar="CASES", help=f"of {names} (default: all)")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--rounds", type=positive, default=5, help="rounds after the first (default: 5)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="only the two smallest of each, one round")


def _known_case(name: str) -> str:
    if name not in CASES:
        raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(CASES)}")
    return name


def run(options: argparse.Namespace) -> None:
    """Print a table of seconds."""
    rounds, first = (1, 2) if options.quick else (options.rounds, None)
    torch.manual_seed(0)
    print(f"{describe_machine(options.device)}; size {options.size}\n")
    print("| | Sineformer, s | MarianMTModel, s | Sineformer is faster by |\n|---|---|---|---|")
    chosen = options.cases or CASES
    for name, programs in chain.from_iterable(CASES[case](options.size, options.device, first) for case in chosen):
        seconds = take_turns(programs, rounds, options.device)
        ours, theirs = seconds["Sineformer"], seconds["MarianMTModel"]
        print(f"| {name} | {spread(ours, 3)} | {spread(theirs, 3)} | {ratio(theirs, ours):.2f}x |", flush=True)


def _lengths(size: str, device: str, first: int | None) -> Iterator[tuple[str, Programs]]:
    for length in LENGTHS[:first]:
        batch = make_batch(8000, POSITIONS // length, length, device)
        yield f"training, {POSITIONS // length} x {length:,} tokens", _steps(8000, size, batch, device)


def _vocabularies(size: str, device: str, first: int | None) -> Iterator[tuple[str, Programs]]:
    for vocabulary in VOCABULARIES[:first]:
        batch = make_batch(vocabulary, 64, 16, device)
        yield f"training, vocabulary {vocabulary:,}", _steps(vocabulary, size, batch, device)


def _batches(size: str, device: str, first: int | None) -> Iterator[tuple[str, Programs]]:
    models = {name: model.to(device).eval() for name, model in _models(8000, size).items()}
    for beams, words in BEAMS.items():
        for sentences in BATCHES[:first]:
            batch = make_batch(8000, sentences, 16, device)
            del batch["labels"]
            searches = {name: _search(model, batch, beams) for name, model in models.items()}
            yield f"translation, {sentences} sentences, {words}", searches


CASES = {"lengths": _lengths, "vocabularies": _vocabularies, "batches": _batches}


def _models(vocabulary: int, size: str) -> dict[str, Any]:
    pair = {"Sineformer": sineformer, "MarianMTModel": marian}
    return {name: make(vocabulary, size, POSITIONS) for name, make in pair.items()}


def _steps(vocabulary: int, size: str, batch: Batch, device: str) -> Programs:
    def program(model: nn.Module) -> Callable[[], None]:
        step = training_step(model, device)
        return lambda: step(batch)

    return {name: program(model) for name, model in _models(vocabulary, size).items()}


def _search(model: Any, batch: Batch, beams: int) -> Program:
    lengths = {"min_new_tokens": GENERATED, "max_new_tokens": GENERATED}
    return lambda: model.generate(**batch, num_beams=beams, do_sample=False, **lengths)
