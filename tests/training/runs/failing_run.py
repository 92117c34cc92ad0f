"""A program for tests: a training run, one process of which fails.

accelerate launch failing_run.py WAY RANK [--key value ...]
"""

import math
import os
import signal
import sys
from typing import Any

from sineformer.training import run as runs
from sineformer.training.checkpoints import selection
from sineformer.training.data.loading import Data, DataError, load_data
from sineformer.training.learning.learner import Learner
from sineformer.training.train import main


def fail(way: str) -> None:
    """Fail."""
    if way == "raises":
        raise ValueError("a mistake of this process alone")
    if way == "exits":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def overflow(model: Any, inputs: Any, output: Any) -> Any:
    """Have a loss be infinite."""
    output.loss = output.loss * math.inf
    return output


def no_data(*_: Any) -> Data:
    """Find the data unusable."""
    raise DataError("train.en: no such file on this machine")


def other_data(*arguments: Any) -> Data:
    """Read other data than the other processes."""
    data = load_data(*arguments)
    data.held_out["validation"].text.targets[0] += "?"
    return data


# Where a run is killed after its last step: before its best model is measured, with one of that model's files in the
# output folder, before the card, and when nothing is left to do but to remove the checkpoints.
ENDS: dict[str, tuple[Any, str]] = {
    "killed at finish": (selection.Selection, "finish"),
    "killed at publish": (selection, "_copy"),
    "killed at card": (selection, "write_model_card"),
    "killed at end": (selection, "remove_checkpoints"),
}


def arrange_end(way: str) -> None:
    """Kill this process after its last step."""
    place, name = ENDS[way]
    call = getattr(place, name)

    def killed(*arguments: Any) -> None:
        if way == "killed at publish":
            call(*arguments)
        fail("killed")

    setattr(place, name, killed)


def arrange_failure(way: str) -> None:
    """Make this process fail: with its data, in its second step, or after its last one."""
    if way in ("no data", "other data"):
        runs.load_data = {"no data": no_data, "other data": other_data}[way]
        return
    if way in ENDS:
        arrange_end(way)
        return
    update = Learner.update

    def failing_update(self: Learner, *arguments: Any) -> Any:
        if self.step != 1:
            return update(self, *arguments)
        if way != "overflows":
            fail(way)
        hook = self.model.register_forward_hook(overflow)
        report = update(self, *arguments)
        hook.remove()
        return report

    Learner.update = failing_update  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ["RANK"] == sys.argv[2]:
        arrange_failure(sys.argv[1])
    sys.exit(main(sys.argv[3:]))
