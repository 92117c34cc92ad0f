"""Stop training by a signal: after the first, training ends after its step; the second ends the process at once."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

from .command_line import SAME_REQUEST_SECONDS

STOPPED = 75  # exit status "try again" (EX_TEMPFAIL of sysexits.h)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A signal stopped the run; the checkpoint of its last step is saved."""


class StopSignals:
    """While this context is open, SIGTERM and SIGINT request a stop instead of ending the process.

    Attributes:
        asked_at: when the first signal came, in monotonic seconds; None before it.
    """

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self._earlier = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Return whether training should stop."""
        return self.asked_at is not None

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked_at is None:
            self.asked_at = now
            text = f"{signal.Signals(number).name}: stops after this step, with a checkpoint; once more ends at once\n"
            # Not `print`: the signal may come in the middle of one.
            os.write(2, text.encode())
        elif now - self.asked_at > SAME_REQUEST_SECONDS:
            os._exit(128 + number)
