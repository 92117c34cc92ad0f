"""Test calls on the main process whose results all processes need."""

from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import Accelerator

from sineformer.training.system.files import CheckpointError
from sineformer.training.system.processes import on_main_process


def test_results_and_errors_of_the_main_process_reach_all() -> None:
    accelerator = Accelerator(cpu=True)
    assert on_main_process(accelerator, lambda: 3) == 3

    def fail() -> None:
        raise CheckpointError("no")

    with pytest.raises(CheckpointError, match="no"):
        on_main_process(accelerator, fail)


def test_a_data_error_of_the_main_process_is_raised_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def send(outcome: list[Any]) -> None:
        sent.extend(outcome)

    def receive(outcome: list[Any]) -> None:
        outcome[:] = sent

    def fail() -> None:
        raise ValueError("train data: no usable sentence pair")

    for is_main_process, broadcast in ((True, send), (False, receive)):
        monkeypatch.setattr("sineformer.training.system.processes.broadcast_object_list", broadcast)
        accelerator: Any = SimpleNamespace(is_main_process=is_main_process)
        with pytest.raises(ValueError, match="no usable sentence pair"):
            on_main_process(accelerator, fail if is_main_process else pytest.fail)
