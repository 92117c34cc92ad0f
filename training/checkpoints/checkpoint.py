"""Checkpoints of a run, in `checkpoints` below its output folder:

    step-120    all it takes to go on after step 120: a complete model folder, and the state of the training beside it
    best-80     the best model so far, a complete model folder; best-80-mean if it is the mean of several up to step 80

They are whole or not there, have a manifest of checksums, and are gone when the run has ended and its best model has
been published into the output folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from ...modeling.tokenization_sineformer import TARGET_FOLDER
from ..data.tokenizer import Tokenizers, save_tokenizers
from ..evaluation.scores import Scores, is_better
from ..learning.adapter import has_adapter, load_adapter, merged_weights, save_adapter
from ..system.files import MANIFEST, copy_file, remove_folder, write_folder, write_manifest
from ..system.output_folder import ADAPTER_FOLDER, BEST, CHECKPOINTS, state_folders

WEIGHTS_FILE = "model.safetensors"


def save_model(folder: Path, model: Any, tokenizers: Tokenizers) -> None:
    """Write everything that loading the model anywhere takes: config, weights, code and tokenizers. Adapters are merged
    into the weights, and stand beside them for themselves."""
    if has_adapter(model):
        model.save_pretrained(folder, state_dict=merged_weights(model))
        save_adapter(model, folder / ADAPTER_FOLDER)
    else:
        model.save_pretrained(folder)
    save_tokenizers(tokenizers, folder)


def load_weights(model: Any, folder: Path) -> None:
    """Go on with the weights that `save_model` wrote; in a model with adapters, with these."""
    if has_adapter(model):
        load_adapter(model, folder / ADAPTER_FOLDER)
    else:
        # `load_model` of safetensors refuses weights that are parts of one tensor, as DeepSpeed makes them (zero.py).
        weights = load_file(folder / WEIGHTS_FILE)
        tied = {name: weights[source] for name, source in model.all_tied_weights_keys.items()}
        model.load_state_dict(weights | tied)


def best_name(step: int, is_mean: bool = False) -> str:
    """The folder of a best model. That of a mean, which no checkpoint comes after, is another than that of its last
    model, which a checkpoint of the same step may go on with."""
    return f"{BEST}{step}-mean" if is_mean else f"{BEST}{step}"


@dataclass
class BestCheckpoint:
    """The best model so far, in a folder of its own below the output folder.

    Attributes:
        output_dir: folder of the run.
        metric: one of `best_metrics` on the validation set.
        step: the step of the best model.
        is_mean: whether it is the mean of several models, the last of them that of the step.
        scores: its scores; None before the first evaluation.
        evaluations_since: evaluations in a row after it, none of them better.
    """

    output_dir: Path
    metric: str
    step: int = 0
    is_mean: bool = False
    scores: Scores | None = None
    evaluations_since: int = 0

    @property
    def folder(self) -> Path:
        """Where the best model is."""
        return self.output_dir / CHECKPOINTS / best_name(self.step, self.is_mean)

    def judge(self, step: int, scores: Scores, is_mean: bool = False) -> bool:
        """Note an evaluation; returns whether it is the best so far, so that the model has to be saved."""
        if self.scores is not None and not is_better(scores, self.scores, self.metric):
            self.evaluations_since += 1
            return False
        self.step, self.is_mean, self.scores, self.evaluations_since = step, is_mean, scores, 0
        return True

    def save(self, model: Any, tokenizers: Tokenizers) -> None:
        """Write the model that was just judged the best."""

        def write(aside: Path) -> None:
            save_model(aside, model, tokenizers)
            write_manifest(aside)

        write_folder(self.folder, write)

    def publish(self) -> None:
        """Copy the best model into the output folder itself. It stays where it is: until the run has ended, going on
        from a checkpoint needs it."""
        for entry in self.folder.iterdir():
            if entry.name != MANIFEST:
                _copy(entry, self.output_dir / entry.name)


def _copy(entry: Path, target: Path) -> None:
    """Copy a file or folder, over an earlier one of that name if need be."""
    if entry.is_dir():

        def write(aside: Path) -> None:
            shutil.copytree(entry, aside, dirs_exist_ok=True)

        write_folder(target, write)
    else:
        copy_file(entry, target)


def remove_old_checkpoints(best: BestCheckpoint, keep: int, best_of: Callable[[Path], str | None]) -> None:
    """Remove all but the last `keep` checkpoints, and the best models that neither these nor the run go on with.

    Args:
        best: the best model of the run now.
        keep: how many stay.
        best_of: gives the folder name of the best model as of a checkpoint; None for none.
    """
    states = state_folders(best.output_dir)
    for folder in states[keep:]:
        remove_folder(folder)
    needed = {best.folder.name, *map(best_of, states[:keep])}
    for folder in (best.output_dir / CHECKPOINTS).glob(f"{BEST}*"):
        if folder.name not in needed:
            remove_folder(folder)


def end_checkpoints(output_dir: Path) -> None:
    """Remove the checkpoints of a run that has ended."""
    remove_folder(output_dir / CHECKPOINTS)


def prepare_output_dir(output_dir: Path, leftovers: tuple[str, ...]) -> None:
    """Make the folder, without what an earlier run left there that would mix with this one, and with a folder for
    checkpoints: while it is there, the run has not ended."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for name in (CHECKPOINTS, TARGET_FOLDER, ADAPTER_FOLDER, *leftovers):
        path = output_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (output_dir / CHECKPOINTS).mkdir()
