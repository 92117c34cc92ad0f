"""Compare the peak memory of training steps of Sineformer, MarianMTModel and torch.nn.Transformer.

    python scripts/benchmark.py memory [--vocab_size 32000] [--max_tokens 4096] [--device cuda]

Each model takes three steps in a new process, in turns. The figure is what the process needs beyond model, optimiser
and libraries: the peak less what was in use before the first step (on a GPU: as PyTorch counts it). Prints medians.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
from pathlib import Path

import torch

from sineformer.training.system.command_line import positive

from .peers import MODELS, SIZES, make_batch, training_step
from .turns import describe_machine, ratio, spread

LENGTH = 16  # of the sentences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--size", default="tiny", choices=SIZES)
    parser.add_argument("--vocab_size", type=positive, default=32_000)
    parser.add_argument("--max_tokens", type=positive, default=4096, help="target positions of a step (default: 4096)")
    parser.add_argument("--rounds", type=positive, default=5, help="processes for each model (default: 5)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="a small step")


def run(options: argparse.Namespace) -> None:
    """Print the memory of each model."""
    if options.quick:
        options.rounds, options.max_tokens, options.vocab_size = 1, 256, 4000
    context = multiprocessing.get_context("spawn")
    print(f"{describe_machine(options.device)}; size {options.size}, vocabulary {options.vocab_size:,}, "
          f"{options.max_tokens} target positions\n")  # fmt: skip
    print("| model | peak memory of a step, MiB, median (min to max) | Sineformer needs |\n|---|---|---|")
    found: dict[str, list[float]] = {name: [] for name in MODELS}
    with context.Pool(1, maxtasksperchild=1) as pool:  # a new process for each
        for name in [*MODELS] * options.rounds:
            found[name].append(pool.apply(measure, (name, options)) / 2**20)
    for name, sizes in found.items():
        print(f"| {name} | {spread(sizes)} | {ratio(found['Sineformer'], sizes):.2f}x |")


def measure(name: str, options: argparse.Namespace) -> int:
    """Return the bytes that three training steps of a model need in this process."""
    step = training_step(MODELS[name](options.vocab_size, options.size), options.device)
    batch = make_batch(options.vocab_size, max(1, options.max_tokens // LENGTH), LENGTH, options.device)
    small = {key: value[:1] for key, value in batch.items()}
    step(small)  # makes the moments of Adam
    gc.collect()
    before = _in_use(options.device)
    for _ in range(3):
        step(batch)
    return _peak(options.device) - before


def _in_use(device: str) -> int:
    if device == "cuda":
        return torch.cuda.memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
