"""`accelerate launch -m sineformer.training.train --config RECIPE.yaml [--key value ...]`, or with `python -m`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .data import DataError
from .loop import NonFiniteError
from .recipe import RecipeError, print_help, read_settings
from .run import run

WRONG_SETTINGS = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status: 0, 1 for a run that failed, 2 for wrong settings."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--help" in arguments or "-h" in arguments:
        print_help("train")
        return 0
    try:
        run(read_settings(arguments))
    except RecipeError as error:
        return _fail(error, WRONG_SETTINGS)
    except (DataError, NonFiniteError) as error:
        return _fail(error, 1)
    return 0


def _fail(error: Exception, status: int) -> int:
    """Print an error once: every process of a run meets it."""
    if os.environ.get("RANK", "0") == "0":
        print(f"error: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
