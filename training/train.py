"""`accelerate launch -m sineformer.training.train --config RECIPE.yaml [--key value ...]`, or with `python -m`.

SIGTERM or SIGINT (Ctrl-C) ends training after the step under way, with a checkpoint; a second one, at least a second
later, ends it at once. `--resume` goes on from the latest checkpoint. The exit status is

    0    the run has finished
    1    it failed; the message says why
    2    the settings are wrong; nothing was done
    75   a signal stopped it, and `--resume` goes on with it (`accelerate launch` itself ends with 1 then)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .accumulation import MemoryShortageError
from .data import DataError
from .durable import CheckpointError
from .interruption import STOPPED, Stopped
from .recipe import RecipeError, print_help, read_settings
from .resume import has_finished
from .run import run
from .run_metrics import ReportError
from .skipped_steps import NonFiniteError
from .streaming import StreamError

WRONG_SETTINGS = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status, as above."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--help" in arguments or "-h" in arguments:
        print_help("train", __doc__)
        return 0
    try:
        settings = read_settings(arguments)
        if has_finished(settings):
            return _say(f"the run in {settings.run.output_dir} has finished", 0)
        run(settings)
    except RecipeError as error:
        return _say(f"error: {error}", WRONG_SETTINGS)
    except (DataError, StreamError, NonFiniteError, MemoryShortageError, CheckpointError, ReportError) as error:
        return _say(f"error: {error}", 1)
    except Stopped as stop:
        return _say(str(stop), STOPPED)
    return 0


def _say(text: str, status: int) -> int:
    """Print the outcome once: every process of a run meets it."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
