"""Test signals to real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sineformer.training.system.signals import SAME_REQUEST_SECONDS, StopSignals

# Prints when it is ready and when a stop was requested, and continues.
PROGRAM = """
import sys, time
from sineformer.training.system.signals import StopSignals
with StopSignals() as signals:
    print("ready", flush=True)
    while not signals.asked():
        time.sleep(0.01)
    print("asked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def program() -> Iterator[Any]:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "ready\n"  # type: ignore[union-attr]
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_requests_a_stop_and_the_second_ends_at_once(program: Any, number: int) -> None:
    program.send_signal(number)
    assert program.stdout.readline() == "asked\n"
    program.send_signal(number)  # as when a launcher passes on what the terminal has sent
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(SAME_REQUEST_SECONDS + 0.2)
    program.send_signal(number)
    assert program.wait(30) == 128 + number
    assert program.stderr.read().startswith(f"{signal.Signals(number).name}: stops after this step")


def test_afterwards_signals_have_their_earlier_handlers() -> None:
    earlier = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        assert not signals.asked()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)  # lets Python call the handler
        assert signals.asked()
    assert signal.getsignal(signal.SIGTERM) is earlier
