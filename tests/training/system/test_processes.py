"""What the main process of a run does for all of them."""

import pytest
from accelerate import Accelerator

from sineformer.training.system.files import CheckpointError
from sineformer.training.system.processes import on_main_process


def test_the_answer_and_the_error_of_the_main_process_are_those_of_all() -> None:
    accelerator = Accelerator(cpu=True)
    assert on_main_process(accelerator, lambda: 3) == 3

    def fail() -> None:
        raise CheckpointError("no")

    with pytest.raises(CheckpointError, match="no"):
        on_main_process(accelerator, fail)
