"""Log a run to TensorBoard and Weights & Biases, through Accelerate's trackers.

Both receive the content of `metrics.jsonl`. Network errors must not stop a run: if Weights & Biases cannot be reached,
its files stay in the output folder, and `wandb sync` uploads them later.
"""

from __future__ import annotations

import html
import importlib
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker, WandBTracker

from ..evaluation.scores import Example, table
from ..settings.arguments import Settings, without_folders
from ..system.output_folder import TENSORBOARD, WANDB

PROJECT = "sineformer"
LOGIN_SECONDS = 60  # to enter an API key on a terminal; without a terminal there is no prompt
FINISH_SECONDS = 30  # to upload the rest at the end of the run, or after a signal
SAMPLE_COLUMNS = ("Source", "Reference", "Translation")


class ResilientWandBTracker(WandBTracker):
    """Log offline if the server cannot be reached or rejects the run, and stop logging after the first later error."""

    failed = False

    def start(self) -> None:
        """Start or resume the run."""
        wandb = importlib.import_module(WANDB)
        try:
            super().start()
        except wandb.errors.Error as error:
            self._warn(error, f"the run is recorded in {self.init_kwargs['dir']}; upload it with `wandb sync`")
            wandb.teardown()  # otherwise wandb would consider the run active
            self.init_kwargs["mode"] = "offline"
            super().start()

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log numbers and texts, except of steps that a resumed run has logged before: the server rejects each with a
        warning."""

        def log() -> None:
            if step is None or step >= self.tracker.starting_step:
                super(ResilientWandBTracker, self).log(values, step, **kwargs)

        self._try(log)

    def finish(self) -> None:
        """Finish the run."""
        self._try(super().finish)

    def _try(self, call: Callable[[], None]) -> None:
        """Call, and warn of any error: one in Weights & Biases must not stop the training."""
        if self.failed:
            return
        try:
            call()
        except Exception as error:
            self.failed = True
            self._warn(error, "it logs nothing more of this run; metrics.jsonl is complete")

    def _warn(self, error: Exception, consequence: str) -> None:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"warning: Weights & Biases cannot be used ({text}): {consequence}", file=sys.stderr)


def start_trackers(accelerator: Accelerator, settings: Settings, state: dict[str, Any] | None) -> None:
    """Start the trackers that the settings name.

    Args:
        accelerator: of the run; it logs to these trackers from now on.
        settings: of the run.
        state: of the checkpoint to resume from, with `step` and `log`; None for a new run.
    """
    folder = settings.run.folder
    trackers: list[Any] = []
    if TENSORBOARD in settings.run.trackers:
        # Steps after the checkpoint are logged again.
        purge = {} if state is None else {"purge_step": state["step"] + 1}
        trackers.append(TensorBoardTracker(TENSORBOARD, folder, **purge))
    if WANDB in settings.run.trackers:
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        trackers.append(ResilientWandBTracker(project, **_wandb_run(folder, state)))
    accelerator.log_with = trackers
    # TensorBoard does not accept lists.
    values = without_folders(settings.as_dict())
    config = {key: " ".join(value) if isinstance(value, list) else value for key, value in values.items()}
    accelerator.init_trackers(PROJECT, config=config)


def _wandb_run(folder: Path, state: dict[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of `wandb.init`, for a new run or that of the checkpoint."""
    earlier = None if state is None else state["log"].get("wandb_id")
    return {
        "id": earlier or secrets.token_hex(4),
        "name": folder.resolve().name,
        "resume": "allow",
        "dir": str(folder),
        "settings": {"login_timeout": LOGIN_SECONDS, "finish_timeout": FINISH_SECONDS},
    }


def wandb_id(accelerator: Accelerator) -> str | None:
    """Return the run's id on Weights & Biases, for resuming; None if it does not log there. For the main process."""
    found = [tracker.tracker.id for tracker in accelerator.trackers if tracker.name == WANDB]
    return found[0] if found else None


def track_samples(accelerator: Accelerator, name: str, step: int, samples: Sequence[Example]) -> None:
    """Log translations: as Markdown in TensorBoard, as HTML in Weights & Biases, whose tables query the server and fail
    without a connection."""
    rows = [(each.source, each.reference, each.translation) for each in samples]
    for tracker in accelerator.trackers:
        shown: Any = table(SAMPLE_COLUMNS, rows)
        if tracker.name == WANDB:
            lines = (f"<p>{'<br>'.join(map(html.escape, row))}</p>" for row in rows)
            shown = importlib.import_module(WANDB).Html("".join(lines))
        tracker.log({f"{name}/samples": shown}, step=step)


def close_trackers(accelerator: Accelerator) -> None:
    """Finish all trackers. `Accelerator.end_training` would close the process group too, which is left to the end of
    the processes."""
    for tracker in accelerator.trackers:
        tracker.finish()
