"""Run the scripts as shell commands: paths, exit by a signal or a closed pipe, missing extras."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

FAILED = 1
STANDARD_OUTPUT = 1  # its file descriptor
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
ENDING = (signal.SIGTERM, signal.SIGHUP)
# A launcher forwards Ctrl-C to processes that got it from the terminal already: within this time it is one request.
SAME_REQUEST_SECONDS = 1.0


class _EndedBySignal(BaseException):
    """Raised by a signal, so that open contexts close and temporary files are removed."""

    def __init__(self, number: int) -> None:
        self.number = number


def run_command(main: Callable[[], int | None], clear_up: bool = True) -> int:
    """Run the `main` of a script and return its exit status.

    A signal such as Ctrl-C and a closed pipe (`| head`) end this process without output, by the signal itself, as with
    other commands. A full disk is an error.

    Args:
        main: returns the exit status; None for success.
        clear_up: whether SIGTERM and SIGHUP first remove temporary files. Python does that only between two of its
            own instructions, so it does not work for processes that wait for each other.
    """
    if sys.stderr is None:  # closed by the caller; `print` would take standard output in its place
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGINT, _interrupt)
    for number in ENDING if clear_up else ():
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores one
            signal.signal(number, _end)
    try:
        try:
            return main() or 0
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # an error can be reported here, but not when Python exits
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


def _interrupt(_: int, __: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`; a second Ctrl-C, at least a second later, ends the process at once."""
    first = time.monotonic()

    def again(number: int, _: FrameType | None) -> None:
        if time.monotonic() - first > SAME_REQUEST_SECONDS:
            _end_by(number)

    signal.signal(signal.SIGINT, again)
    raise KeyboardInterrupt


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise _EndedBySignal(number)


def _end_by(number: int) -> int:
    """End this process by a signal, so that the shell sees the cause and stops a loop after Ctrl-C."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number  # if the signal is blocked


def _is_reader_gone() -> bool:
    """Return whether the other end of standard output or standard error is closed."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard_output() -> None:
    """Redirect standard output to /dev/null: Python writes its buffer at exit, and would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_OUTPUT)
    os.close(nowhere)


@contextlib.contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Exit with one line that names the extra of Sineformer if a library is missing in this context."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        if library == "sineformer":
            raise
        print(f"error: this needs {library}: pip install 'sineformer[{name}]'", file=sys.stderr)
        sys.exit(FAILED)


def path(text: str) -> Path:
    """Return the path that a flag names, for argparse; expands `~` where the shell did not."""
    return Path(path_or_name(text))


def path_or_name(text: str) -> str:
    """Return the path that a flag names, as `path` does, or a Hub id, which has no `~`."""
    return os.path.expanduser(text)


def positive(text: str) -> int:
    """Return a positive integer, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number
