"""End a command on Ctrl-C without a traceback while it imports its libraries, which takes seconds.

The package itself calls this before anything else, so only modules that every system has are imported here.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
MESSAGE = "interrupted while starting; nothing was saved\n"


def end_quietly_while_starting() -> None:
    """If this process runs one of our commands, let SIGINT end it with one line until `run_command` takes over.

    Elsewhere, as in a notebook that imports the package, SIGINT keeps its meaning; an ignored one stays ignored.
    """
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _is_command() -> bool:
    """Return whether this process runs an installed command, a script of ours, or `python -m sineformer...`."""
    program = Path(next(iter(sys.argv), ""))
    if program.name == "-m":  # of a module whose package is being imported
        return any(word.removeprefix("-m").startswith("sineformer.") for word in sys.orig_argv)
    return program.name.startswith("sineformer-") or program.resolve().parent == SCRIPTS


def _end(number: int, _: FrameType | None) -> None:
    if os.environ.get("RANK", "0") == "0":
        os.write(2, MESSAGE.encode())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)  # so that the shell sees the cause
