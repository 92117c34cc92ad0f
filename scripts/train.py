"""Train a translation model: `python scripts/train.py --config RECIPE.yaml [--key value ...]`."""

import sys

from sineformer.training.command_line import run_command
from sineformer.training.train import main

if __name__ == "__main__":
    sys.exit(run_command(main, clear_up=False))
