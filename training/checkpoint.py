"""The model on disk: folders that appear whole or not at all, and the best checkpoint of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .evaluation import Scores
from .tokenizer import TARGET_FOLDER, Tokenizers, save_tokenizers

CHECKPOINTS = "checkpoints"
WRITING = ".writing"


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make `folder` by writing beside it and renaming: whoever sees the name sees the whole content.

    Args:
        folder: must not exist yet.
        write: writes the content into the empty folder that it is given.
    """
    aside = folder.with_name(folder.name + WRITING)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    write(aside)
    os.replace(aside, folder)


def save_model(folder: Path, model: Any, tokenizers: Tokenizers) -> None:
    """Write everything that loading the model anywhere takes: config, weights, code and tokenizers."""
    model.save_pretrained(folder)
    save_tokenizers(tokenizers, folder)


def is_better(candidate: Scores, best: Scores, metric: str) -> bool:
    """Whether the candidate beats the best in `metric`: the lower loss, or the higher BLEU or chrF.

    The loss decides between equals, such as two early checkpoints with a BLEU of zero.
    """

    def merit(scores: Scores) -> tuple[float, float]:
        return (-scores.loss if metric == "loss" else getattr(scores, metric), -scores.loss)

    return merit(candidate) > merit(best)


@dataclass
class BestCheckpoint:
    """The best model so far, in a folder of its own below the output folder.

    Attributes:
        output_dir: folder of the run.
        metric: "bleu", "chrf" or "loss" on the validation set.
        step: the step of the best model.
        scores: its scores; None before the first evaluation.
        evaluations_since: evaluations in a row after it, none of them better.
    """

    output_dir: Path
    metric: str
    step: int = 0
    scores: Scores | None = None
    evaluations_since: int = 0

    @property
    def folder(self) -> Path:
        """Where the best model is."""
        return self.output_dir / CHECKPOINTS / f"step-{self.step}"

    def judge(self, step: int, scores: Scores) -> bool:
        """Note an evaluation; returns whether it is the best so far, so that the model has to be saved."""
        if self.scores is not None and not is_better(scores, self.scores, self.metric):
            self.evaluations_since += 1
            return False
        self.step, self.scores, self.evaluations_since = step, scores, 0
        return True

    def save(self, model: Any, tokenizers: Tokenizers) -> None:
        """Write the model that was just judged the best, then remove the one it replaces."""
        write_folder(self.folder, lambda aside: save_model(aside, model, tokenizers))
        for other in self.folder.parent.iterdir():
            if other != self.folder:
                shutil.rmtree(other)

    def publish(self) -> None:
        """Move the best model into the output folder itself."""
        for entry in self.folder.iterdir():
            replace_entry(entry, self.output_dir / entry.name)
        shutil.rmtree(self.output_dir / CHECKPOINTS)


def replace_entry(entry: Path, target: Path) -> None:
    """Rename a file or folder, over an earlier one of that name if need be."""
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(entry, target)


def prepare_output_dir(output_dir: Path, leftovers: tuple[str, ...]) -> None:
    """Make the folder, without what an earlier run left there that would mix with this one."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for name in (CHECKPOINTS, TARGET_FOLDER, *leftovers):
        path = output_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
