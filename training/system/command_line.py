"""Behave as a shell expects of a command: its paths, its end by a signal or a closed pipe, and what it lacks."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

FAILED = 1
STANDARD_OUTPUT = 1  # its file descriptor
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
ENDING = (signal.SIGTERM, signal.SIGHUP)


class _EndedBySignal(BaseException):
    """A signal asks for the end; what is open is closed and cleared away on the way."""

    def __init__(self, number: int) -> None:
        self.number = number


def run_command(main: Callable[[], int | None], clear_up: bool = True) -> int:
    """Run the `main` of a script and return its exit status; end as other commands do when they are told to.

    A signal, Ctrl-C among them, and a reader that is gone (`| head`) end this process without a word, by the signal
    that ends any command then. Output that finds no room on its disk is an error.

    Args:
        main: returns the exit status; None for success.
        clear_up: whether temporary files are removed first if a signal ends the process. Python does that between two
            of its own steps only, so not for processes that wait for each other.
    """
    if sys.stderr is None:  # closed by the caller; `print` would take standard output in its place
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for number in ENDING if clear_up else ():
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores one
            signal.signal(number, _end)
    try:
        try:
            return main() or 0
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where an error can be told, and not when Python ends
    except KeyboardInterrupt:
        return _end_by(signal.SIGINT)
    except _EndedBySignal as ended:
        return _end_by(ended.number)
    except BrokenPipeError:
        if not _is_reader_gone():
            raise
        return _end_by(signal.SIGPIPE)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _discard_output()
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends at once
    raise _EndedBySignal(number)


def _end_by(number: int) -> int:
    """End this process by a signal, so that the shell sees what ended it and stops a loop after Ctrl-C."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number  # where the signal is blocked


def _is_reader_gone() -> bool:
    """Return whether the other end of standard output or standard error is closed."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard_output() -> None:
    """Send what is left of standard output to nowhere: Python writes it at its end, and would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_OUTPUT)
    os.close(nowhere)


@contextlib.contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """End with one line that names an extra of Sineformer if an import in this context finds a library missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        if library == "sineformer":
            raise
        print(f"error: this needs {library}: pip install 'sineformer[{name}]'", file=sys.stderr)
        sys.exit(FAILED)


def path(text: str) -> Path:
    """Return the path that a flag names, for argparse. `~` is the home folder also where the shell leaves it alone."""
    return Path(path_or_name(text))


def path_or_name(text: str) -> str:
    """Return the path that a flag names, as `path` does, or the id of something on the Hub, which has no `~`."""
    return os.path.expanduser(text)


def positive(text: str) -> int:
    """Return an integer from 1 up, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number
