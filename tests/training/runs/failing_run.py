"""A program for tests: a training run, one process of which fails.

accelerate launch failing_run.py WAY RANK [--key value ...]
"""

import os
import signal
import sys
from typing import Any

from sineformer.training import run as runs
from sineformer.training.data import Data, DataError, load_data
from sineformer.training.loop import Learner
from sineformer.training.train import main


def fail(way: str) -> None:
    """Fail."""
    if way == "raises":
        raise ValueError("a mistake of this process alone")
    if way == "exits":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def no_data(*_: Any) -> Data:
    """Find the data unusable."""
    raise DataError("train.en: no such file on this machine")


def other_data(*arguments: Any) -> Data:
    """Read what the other processes do not."""
    data = load_data(*arguments)
    data.held_out["validation"].text.targets[0] += "?"
    return data


def arrange_failure(way: str) -> None:
    """Have this process fail: with its data, or in its second step."""
    if way in ("no data", "other data"):
        runs.load_data = {"no data": no_data, "other data": other_data}[way]
        return
    update = Learner.update

    def failing_update(self: Learner, *arguments: Any) -> Any:
        if self.step == 1:
            fail(way)
        return update(self, *arguments)

    Learner.update = failing_update  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ["RANK"] == sys.argv[2]:
        arrange_failure(sys.argv[1])
    sys.exit(main(sys.argv[3:]))
