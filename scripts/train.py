"""Train a translation model: `sineformer-train --config RECIPE.yaml [--key value ...]`."""

import sys
from functools import partial

from sineformer.training.system.command_line import run_command
from sineformer.training.train import main

command = partial(run_command, main, clear_up=False)

if __name__ == "__main__":
    sys.exit(command())
