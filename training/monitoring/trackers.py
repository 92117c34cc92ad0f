"""TensorBoard and Weights & Biases, through Accelerate's trackers: where a run is shown while it goes on.

Both are told what `metrics.jsonl` holds. A network may not end a run: where Weights & Biases cannot be reached, its
files stay in the output folder, and `wandb sync` uploads them later.
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
from ..settings.arguments import Settings
from ..system.output_folder import TENSORBOARD, WANDB

PROJECT = "sineformer"
LOGIN_SECONDS = 60  # to answer the question for a key on a terminal; without a terminal there is none
FINISH_SECONDS = 30  # to upload the rest at the end, which may have come by a signal
SAMPLE_COLUMNS = ("Source", "Reference", "Translation")


class PatientWandBTracker(WandBTracker):
    """Goes on without the server if it is not there or does not let the run in, and is quiet once wandb has failed."""

    failed = False

    def start(self) -> None:
        """Begin the run, or go on with it."""
        wandb = importlib.import_module(WANDB)
        try:
            super().start()
        except wandb.errors.Error as error:
            self._warn(error, f"the run is recorded in {self.init_kwargs['dir']}; upload it with `wandb sync`")
            wandb.teardown()  # it would take the run for one under way
            self.init_kwargs["mode"] = "offline"
            super().start()

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Tell of numbers and texts; not again of steps that the server was told of before the run went on from a
        checkpoint, for it would refuse each with a warning."""

        def tell() -> None:
            if step is None or step >= self.tracker.starting_step:
                super(PatientWandBTracker, self).log(values, step, **kwargs)

        self._try(tell)

    def finish(self) -> None:
        """End the run."""
        self._try(super().finish)

    def _try(self, call: Callable[[], None]) -> None:
        """What is wrong with a program beside the training, in whatever form it shows, is none of the training."""
        if self.failed:
            return
        try:
            call()
        except Exception as error:
            self.failed = True
            self._warn(error, "it is told nothing more of this run; metrics.jsonl holds everything")

    def _warn(self, error: Exception, consequence: str) -> None:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"warning: Weights & Biases cannot be used ({text}): {consequence}", file=sys.stderr)


def start_trackers(accelerator: Accelerator, settings: Settings, state: dict[str, Any] | None) -> None:
    """Tell the trackers that the settings name about the run.

    Args:
        accelerator: of the run; it logs to these trackers from now on.
        settings: of the run.
        state: what a checkpoint knows of the log, with its step; None: the run begins anew.
    """
    folder = settings.run.folder
    trackers: list[Any] = []
    if TENSORBOARD in settings.run.trackers:
        # What it was told after the checkpoint is told again.
        purge = {} if state is None else {"purge_step": state["step"] + 1}
        trackers.append(TensorBoardTracker(TENSORBOARD, folder, **purge))
    if WANDB in settings.run.trackers:
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        trackers.append(PatientWandBTracker(project, **_wandb_run(folder, state)))
    accelerator.log_with = trackers
    # TensorBoard takes no lists.
    config = {key: " ".join(value) if isinstance(value, list) else value for key, value in settings.as_dict().items()}
    accelerator.init_trackers(PROJECT, config=config)


def _wandb_run(folder: Path, state: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments of `wandb.init`: a new run, or the one of the checkpoint."""
    earlier = None if state is None else state["log"].get("wandb_id")
    return {
        "id": earlier or secrets.token_hex(4),
        "name": folder.resolve().name,
        "resume": "allow",
        "dir": str(folder),
        "settings": {"login_timeout": LOGIN_SECONDS, "finish_timeout": FINISH_SECONDS},
    }


def wandb_id(accelerator: Accelerator) -> str | None:
    """The run's id on Weights & Biases, to go on with it; None if it is not recorded there. For the main process."""
    found = [tracker.tracker.id for tracker in accelerator.trackers if tracker.name == WANDB]
    return found[0] if found else None


def track_samples(accelerator: Accelerator, name: str, step: int, samples: Sequence[Example]) -> None:
    """Show translations: as Markdown in TensorBoard, as HTML in Weights & Biases, whose tables ask the server for leave
    each time and end the run where there is no answer."""
    rows = [(each.source, each.reference, each.translation) for each in samples]
    for tracker in accelerator.trackers:
        shown: Any = table(SAMPLE_COLUMNS, rows)
        if tracker.name == WANDB:
            lines = (f"<p>{'<br>'.join(map(html.escape, row))}</p>" for row in rows)
            shown = importlib.import_module(WANDB).Html("".join(lines))
        tracker.log({f"{name}/samples": shown}, step=step)


def close_trackers(accelerator: Accelerator) -> None:
    """End the report to all trackers. `Accelerator.end_training` would take down the connections between processes too,
    which their end does better."""
    for tracker in accelerator.trackers:
        tracker.finish()
