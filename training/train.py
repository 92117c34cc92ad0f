"""Train from the command line: `python -m sineformer.training.train`, or
`accelerate launch -m sineformer.training.train`.

SIGTERM or SIGINT (Ctrl-C) stops training after the current step, with a
checkpoint; a second one, at least a second later, ends it at once. `--resume`
continues from the latest checkpoint. Before the first step and after the last,
either ends it at once. The exit status is

    0    the run has finished
    1    it failed; the message says why
    2    the settings are wrong, or do not work with the launch
    75   a signal stopped it, and `--resume` continues it (`accelerate launch`
         itself ends with 1 then)
    130  Ctrl-C ended it, 143 SIGTERM, as a shell shows it
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .system.command_line import needs_extra, run_command

with needs_extra("train"):
    from accelerate import PartialState

    from .data.loading import DataError
    from .data.streaming import StreamError
    from .learning.accumulation import MemoryShortageError
    from .learning.learner import NonFiniteError
    from .monitoring.metrics_file import ReportError
    from .preflight import read_settings
    from .pretrained.publishing import PublishingError
    from .run import run
    from .settings.recipe import RecipeError, print_help
    from .system.files import CheckpointError
    from .system.output_folder import what_is_saved
    from .system.processes import (
        LaunchError,
        end_process,
        final_barrier,
        is_one_of_several,
        on_main_process,
        print_error,
        print_once,
        print_unexpected_error,
    )
    from .system.signals import STOPPED, Stopped
    from .upload import upload_model

FINISHED = 0
FAILED = 1
WRONG_SETTINGS = 2
HELP_ALL = "--help-all"
MORE_HELP = f"{HELP_ALL} shows all settings, and the exit status."
HELP = {HELP_ALL: __doc__, "--help": MORE_HELP, "-h": MORE_HELP}
# Their messages say what is wrong and how to fix it.
ERRORS = (
    *(LaunchError, DataError, StreamError, NonFiniteError, MemoryShortageError, CheckpointError, ReportError),
    PublishingError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Train with the settings of the command line; return the exit status, as above. One of several processes exits
    instead."""
    arguments = sys.argv[1:] if argv is None else argv
    for flag, epilog in HELP.items():
        if flag in arguments:
            print_help(os.path.basename(sys.argv[0]), epilog, complete=flag == HELP_ALL)
            return 0
    status, settings = FINISHED, None
    try:
        try:
            settings = read_settings(arguments)
            if run(settings) is None:
                print_once(f"the run in {settings.run.output_dir} has finished")
            if settings.run.push_to_hub:
                address = on_main_process(PartialState(), lambda: upload_model(settings.run))
                print_once(f"Uploaded: {address}")
        except Stopped as stop:
            print_once(str(stop))
            status = STOPPED
        final_barrier()
    except RecipeError as error:
        print_error(f"error: {error}")
        status = WRONG_SETTINGS
    except ERRORS as error:
        print_error(f"error: {error}")
        status = FAILED
    except KeyboardInterrupt:  # before the first step, or after the last
        saved = "nothing was saved" if settings is None else what_is_saved(settings.run.folder)
        print_once(f"interrupted; {saved}")
        raise
    except Exception as error:
        if not is_one_of_several():
            raise
        print_unexpected_error(error)
        status = FAILED
    return end_process(status)


if __name__ == "__main__":
    sys.exit(run_command(main, clear_up=False))
