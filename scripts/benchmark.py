"""Measure Sineformer beside its peers, in turns in one run, and print Markdown tables for BENCHMARKS.md.

    python scripts/benchmark.py train        speed of training steps: MarianMTModel, torch.nn.Transformer
    python scripts/benchmark.py translate    speed of translation: search of transformers, CTranslate2
    python scripts/benchmark.py memory       peak memory of a training step
    python scripts/benchmark.py startup      from the start of Python to the first translated sentence
    python scripts/benchmark.py scaling      lengths, vocabularies, batch sizes: MarianMTModel
    python scripts/benchmark.py corpora      memory and time from text files to batches
    python scripts/benchmark.py recipes      what each option of a recipe does for a small run
    python scripts/benchmark.py int8         a model with 8-bit weights

`--quick` shows within a minute that a benchmark works; its numbers mean nothing. `benchmark.py NAME --help` has more.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from sineformer.training.system.command_line import run_command

BENCHMARKS = {
    "train": "training",
    "translate": "translation",
    "memory": "memory",
    "startup": "startup",
    "scaling": "scaling",
    "corpora": "corpora",
    "recipes": "recipes",
    "int8": "int8",
}


def main() -> int:
    """Run the benchmark that the command line names; return the exit status."""
    described: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(description=__doc__, add_help=False, **described)
    parser.add_argument("name", choices=BENCHMARKS, metavar="NAME")
    if not sys.argv[1:2] or sys.argv[1] in ("-h", "--help"):
        parser.print_help()
        return 0 if sys.argv[1:] else 2
    name = parser.parse_args(sys.argv[1:2]).name
    benchmark = importlib.import_module(f"sineformer.scripts.benchmarks.{BENCHMARKS[name]}")
    options = argparse.ArgumentParser(f"benchmark.py {name}", description=benchmark.__doc__, **described)
    benchmark.add_arguments(options)
    status: int = benchmark.run(options.parse_args(sys.argv[2:])) or 0
    return status


if __name__ == "__main__":
    sys.exit(run_command(main))
