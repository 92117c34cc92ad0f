"""Compare Sineformer with MarianMTModel over lengths, vocabularies and batch sizes.

    python scripts/benchmark.py scaling [--device cuda] [--rounds 5]

Training steps of 4,096 positions per side with growing sentences (16 to 4,096 tokens) and of 1,024 positions with
growing vocabularies (8,000 to 128,000); greedy translation of growing batches (1 to 256 sentences, 20 tokens each).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from sineformer.training.system.command_line import positive

from .peers import Batch, make_batch, marian, sineformer, training_step
from .turns import Program, describe_machine, ratio, spread, take_turns

LENGTHS = (16, 64, 256, 1024, 4096)
VOCABULARIES = (8_000, 32_000, 128_000)
BATCHES = (1, 4, 16, 64, 256)
POSITIONS = 4096
GENERATED = 20

Programs = dict[str, Program]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=positive, default=5, help="rounds after the first (default: 5)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="only the two smallest of each, one round")


def run(options: argparse.Namespace) -> None:
    """Print a table of seconds."""
    rounds, first = (1, 2) if options.quick else (options.rounds, None)
    torch.manual_seed(0)
    print(f"{describe_machine(options.device)}; size tiny\n")
    print("| | Sineformer, s | MarianMTModel, s | Sineformer is faster by |\n|---|---|---|---|")
    for name, programs in _cases(options.device, first):
        seconds = take_turns(programs, rounds, options.device)
        ours, theirs = seconds["Sineformer"], seconds["MarianMTModel"]
        print(f"| {name} | {spread(ours, 3)} | {spread(theirs, 3)} | {ratio(theirs, ours):.2f}x |", flush=True)


def _cases(device: str, first: int | None) -> Iterator[tuple[str, Programs]]:
    for length in LENGTHS[:first]:
        batch = make_batch(8000, POSITIONS // length, length, device)
        yield f"training, {POSITIONS // length} x {length:,} tokens", _steps(8000, batch, device)
    for vocabulary in VOCABULARIES[:first]:
        yield f"training, vocabulary {vocabulary:,}", _steps(vocabulary, make_batch(vocabulary, 64, 16, device), device)
    models = {name: model.to(device).eval() for name, model in _models(8000).items()}
    for size in BATCHES[:first]:
        batch = make_batch(8000, size, 16, device)
        del batch["labels"]
        yield f"greedy translation, {size} sentences", {name: _search(model, batch) for name, model in models.items()}


def _models(vocabulary: int) -> dict[str, Any]:
    pair = {"Sineformer": sineformer, "MarianMTModel": marian}
    return {name: make(vocabulary, "tiny", POSITIONS) for name, make in pair.items()}


def _steps(vocabulary: int, batch: Batch, device: str) -> Programs:
    def program(model: nn.Module) -> Callable[[], None]:
        step = training_step(model, device)
        return lambda: step(batch)

    return {name: program(model) for name, model in _models(vocabulary).items()}


def _search(model: Any, batch: Batch) -> Program:
    lengths = {"min_new_tokens": GENERATED, "max_new_tokens": GENERATED}
    return lambda: model.generate(**batch, num_beams=1, do_sample=False, **lengths)
