"""Read, list and remove the checkpoints of a run, in `checkpoints` below its output folder:

    step-120    a complete model folder, and the state that a run needs to resume after step 120 (state.py)
    best-80     the best model so far, a complete model folder; best-80-mean if it is the mean of several up to step 80

Both are written atomically, have a manifest of checksums, and are removed when the run has ended and its best model is
in the output folder.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from ...modeling.tokenization_sineformer import TARGET_FOLDER
from ..data.tokenizer import Tokenizers, save_tokenizers
from ..learning.adapter import has_adapter, load_adapter, merged_weights, save_adapter
from ..system.files import CheckpointError, remove_folder
from ..system.output_folder import ADAPTER_FOLDER, BEST, CHECKPOINTS, best_folder, state_folders

WEIGHTS_FILE = "model.safetensors"
STATE_FILE = "trainer_state.json"


@dataclass(frozen=True)
class Origin:
    """The origin of a checkpoint, which a resumed run compares with its own.

    Attributes:
        processes: number of processes.
        batches_per_step: over all processes.
        data: SHA-256 of every split, of the vocabulary, and of the base model if there is one.
    """

    processes: int
    batches_per_step: int
    data: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk, and its `trainer_state.json`, which is read once.

    Attributes:
        folder: of the checkpoint.
        state: what `TrainingState.save` wrote as JSON.
    """

    folder: Path
    state: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Read the state of a checkpoint.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        try:
            state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: {STATE_FILE} cannot be read ({error}); remove this checkpoint") from error
        if not isinstance(state, dict):
            raise CheckpointError(f"{folder}: {STATE_FILE} is not the state of a training; remove this checkpoint")
        return cls(folder, state)

    @property
    def format(self) -> int | None:
        """Return the version of the format; None for the first version."""
        return self.state.get("format")

    @property
    def origin(self) -> Origin:
        """Return the origin of the checkpoint."""
        return Origin(**self.state["origin"])

    @property
    def best_folder(self) -> Path | None:
        """Return the folder of the best model up to this checkpoint; None before the first evaluation."""
        best = self.state.get("best", {})
        return None if best.get("scores") is None else best_folder(self.folder.parent.parent, best["step"])


def save_model(folder: Path, model: Any, tokenizers: Tokenizers) -> None:
    """Write a complete model folder: config, weights, code and tokenizers. Adapters are merged into the weights, and
    also written to a separate folder."""
    if has_adapter(model):
        model.save_pretrained(folder, state_dict=merged_weights(model))
        save_adapter(model, folder / ADAPTER_FOLDER)
    else:
        model.save_pretrained(folder)
    save_tokenizers(tokenizers, folder)


def load_weights(model: Any, folder: Path) -> None:
    """Load the weights that `save_model` wrote; into a model with adapters, only these."""
    if has_adapter(model):
        load_adapter(model, folder / ADAPTER_FOLDER)
    else:
        # `load_model` of safetensors refuses weights that are views of one tensor, as under DeepSpeed (zero.py).
        weights = load_file(folder / WEIGHTS_FILE)
        tied = {name: weights[source] for name, source in model.all_tied_weights_keys.items()}
        model.load_state_dict(weights | tied)


def remove_old_checkpoints(output_dir: Path, keep: int, best: Path) -> None:
    """Remove all but the last `keep` checkpoints, and the best models that neither they nor the run need.

    Args:
        output_dir: of the run.
        keep: number of checkpoints to keep.
        best: folder of the current best model.
    """
    folders = state_folders(output_dir)
    for folder in folders[keep:]:
        remove_folder(folder)
    needed = {best, *map(_best_of, folders[:keep])}
    for folder in (output_dir / CHECKPOINTS).glob(f"{BEST}*"):
        if folder not in needed:
            remove_folder(folder)


def _best_of(folder: Path) -> Path | None:
    """Return the best model of a checkpoint; None for a damaged checkpoint, which no run resumes from."""
    try:
        return Checkpoint.read(folder).best_folder
    except CheckpointError:
        return None


def remove_checkpoints(output_dir: Path) -> None:
    """Remove the checkpoints and best models of a run that has ended."""
    remove_folder(output_dir / CHECKPOINTS)


def prepare_output_dir(output_dir: Path, leftovers: tuple[str, ...]) -> None:
    """Make the output folder and the folder of checkpoints, which exists until the run has ended. Remove files of an
    earlier run that would mix with those of this run."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for name in (CHECKPOINTS, TARGET_FOLDER, ADAPTER_FOLDER, *leftovers):
        path = output_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (output_dir / CHECKPOINTS).mkdir()
