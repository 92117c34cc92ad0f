"""Compare the training speed of Sineformer, MarianMTModel and torch.nn.Transformer.

    python scripts/benchmark.py train [--size base] [--vocab_size 32000] [--device cuda --dtype bf16]

All models have the same sizes, batches and optimiser, and take turns in one process. Prints medians over rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from sineformer.training.system.command_line import positive

from .peers import MODELS, SIZES, Batch, count_targets, make_batches, training_step
from .turns import Program, describe_machine, ratio, spread, take_turns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--size", default="tiny", choices=SIZES)
    parser.add_argument("--vocab_size", type=positive, default=8000)
    parser.add_argument("--max_tokens", type=positive, default=2048, help="target positions of a batch (default: 2048)")
    parser.add_argument("--rounds", type=positive, default=7, help="rounds of 7 batches after the first (default: 7)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--quick", action="store_true", help="one small round")


def run(options: argparse.Namespace) -> None:
    """Time all models and print a table."""
    rounds, max_tokens = (1, 256) if options.quick else (options.rounds, options.max_tokens)
    torch.manual_seed(0)
    data = make_batches(options.vocab_size, max_tokens, options.device)
    models = {name: make(options.vocab_size, options.size) for name, make in MODELS.items()}
    programs = {}
    for name, model in models.items():
        step = training_step(model, options.device, options.dtype)
        programs[name] = _over(step, data)
    seconds = take_turns(programs, rounds, options.device)
    print(f"{describe_machine(options.device, options.dtype)}; size {options.size}, {max_tokens} target positions\n")
    print("| model | parameters | target tokens/s, median (min to max) | Sineformer is faster by |\n|---|---|---|---|")
    for name, taken in seconds.items():
        speeds = [count_targets(data) / each for each in taken]
        size = sum(parameter.numel() for parameter in models[name].parameters() if parameter.requires_grad)
        print(f"| {name} | {size:,} | {spread(speeds)} | {ratio(taken, seconds['Sineformer']):.2f}x |")


def _over(step: Callable[[Batch], None], data: list[Batch]) -> Program:
    def all_batches() -> None:
        for batch in data:
            step(batch)

    return all_batches
