"""Choose the checkpoint of a stopped run to resume from, and refuse one of another run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..data.tokenizer import Tokenizers, load_tokenizers
from ..learning.initial_model import BaseModel
from ..monitoring.run_log import report
from ..settings.arguments import LATEST, Settings, keys_with, without_folders
from ..settings.facts import Fact
from ..settings.record import recorded_settings, write_settings, write_versions
from ..settings.schedules import SCHEDULES
from ..system.files import CheckpointError, damage_of, remove_folder, remove_leftovers, writing
from ..system.output_folder import (
    CHECKPOINTS,
    METRICS_FILE,
    PROFILE_FOLDER,
    REPORT_FILES,
    SETTINGS_FILE,
    TRACKERS,
    is_finished,
    state_folders,
)
from ..system.processes import check_same_disk, on_main_process
from .checkpoint import Checkpoint, prepare_output_dir, remove_checkpoints
from .state import FORMAT

# They set the length of a run in steps.
_LENGTH = ("max_steps", "num_epochs")


def choose_checkpoint(settings: Settings, processes: int) -> Checkpoint | None:
    """Return the checkpoint to resume from; None if there is none yet. Warn of damaged ones.

    Raises:
        CheckpointError: the checkpoint or the folder is of another run, or there are checkpoints and none is complete.
    """
    output_dir, wanted = settings.run.folder, settings.run.resume_from_checkpoint
    if wanted is None:
        return None
    checkpoint = _latest(output_dir) if wanted == LATEST else _named(output_dir, Path(wanted))
    earlier = _check_settings(output_dir if checkpoint is None else checkpoint.folder, settings)
    if earlier is None and output_dir.is_dir() and any(output_dir.iterdir()):
        raise CheckpointError(
            f"{output_dir} holds files, but no run to resume; choose another output_dir, or remove --resume and "
            "add --overwrite_output_dir"
        )
    if checkpoint is not None:
        _check_format(checkpoint)
        _check_processes(checkpoint, settings, processes)
    return checkpoint


def _check_format(checkpoint: Checkpoint) -> None:
    if checkpoint.format != FORMAT:
        raise CheckpointError(
            f"{checkpoint.folder} was written by another version of this package, in another format; resume with that "
            "version, or fine-tune the best model of the run with --model_name_or_path, in another output_dir"
        )


def _latest(output_dir: Path) -> Checkpoint | None:
    damages = []
    for folder in state_folders(output_dir):
        try:
            return _read_complete(folder)
        except CheckpointError as error:
            damages.append(str(error))
            print(f"warning: checkpoint {error}; using the one before", file=sys.stderr)
    if damages:
        raise CheckpointError(
            "no checkpoint is complete; remove them and start again, or restore one of them\n  " + "\n  ".join(damages)
        )
    return None


def _named(output_dir: Path, wanted: Path) -> Checkpoint:
    folders = state_folders(output_dir)
    found = [folder for folder in folders if folder.resolve() == wanted.resolve()]
    if not found:
        known = ", ".join(folder.name for folder in folders) or "none"
        raise CheckpointError(
            f"{wanted} is not a checkpoint of the run in {output_dir}; those in {output_dir / CHECKPOINTS}: {known}"
        )
    try:
        return _read_complete(found[0])
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {error}; --resume alone takes the latest complete one") from error


def _read_complete(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: it, or the best model that belongs to it, is damaged.
    """
    damage = damage_of(folder)
    if damage is not None:
        raise CheckpointError(f"{folder}: {damage}")
    checkpoint = Checkpoint.read(folder)
    best = checkpoint.best_folder
    damage = None if best is None else damage_of(best)
    if best is not None and damage is not None:
        raise CheckpointError(f"{folder}: its best model, {best.name}: {damage}")
    return checkpoint


def _check_settings(folder: Path, settings: Settings) -> dict[str, Any] | None:
    """Return the settings recorded in a folder, after checking that these may resume them; None if there are none."""
    try:
        earlier = recorded_settings(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(str(error)) from error
    now = without_folders(settings.as_dict())  # as recorded; `check_data` compares the content of files
    changes = [] if earlier is None else list(_changes(without_folders(earlier), now))
    if changes:
        raise CheckpointError(
            f"{folder / SETTINGS_FILE} is of a run with other settings; change them back, or choose another output_dir"
            + "".join(f"\n  {change}" for change in changes)
        )
    return earlier


def _changes(earlier: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield the settings that have changed and may not, one line each."""
    may_change = keys_with(Fact.MAY_CHANGE)
    for key, value in now.items():
        before = earlier.get(key, value)  # an earlier version did not have the key
        if before == value:
            continue
        if key not in may_change:
            yield f"{key}: was {before}, is {value}"
        elif key in _LENGTH and SCHEDULES[now["lr_scheduler_type"]].needs_length:
            yield f"{key}: was {before}, is {value}; the {now['lr_scheduler_type']} schedule depends on it"
        elif key in _LENGTH and now["warmup_steps"] is None:
            yield f"{key}: was {before}, is {value}; the warm-up depends on it, as warmup_steps is not set"
        elif key == "eval_steps" and now["average_checkpoints"] > 1:
            yield f"{key}: was {before}, is {value}; it selects the models of average_checkpoints"


def _check_processes(checkpoint: Checkpoint, settings: Settings, processes: int) -> None:
    """Check that a step has as many batches as before, over all processes."""
    origin = checkpoint.origin
    batches, accumulation = origin.batches_per_step, settings.optimisation.gradient_accumulation_steps
    if processes * accumulation != batches:
        fitting = ", ".join(f"{n} x {batches // n}" for n in range(1, batches + 1) if batches % n == 0)
        raise CheckpointError(
            f"gradient_accumulation_steps: a step of this run has {batches} batches, but {processes} processes with "
            f"{accumulation} each make {processes * accumulation}; processes x gradient_accumulation_steps may be "
            f"{fitting}"
        )
    if processes != origin.processes:
        print(
            f"The checkpoint is of {origin.processes} processes, this run has {processes}: batches, their order and "
            "the learning rates stay the same. Dropout and the order of summation differ, so losses are not the same "
            "bit for bit.",
            file=sys.stderr,
        )


def check_data(checkpoint: Checkpoint, digests: dict[str, str]) -> None:
    """Check that a run resumes with the same data, vocabulary and base model.

    Raises:
        CheckpointError: naming the splits that differ.
    """
    earlier = checkpoint.origin.data
    changed = [name for name in earlier.keys() | digests.keys() if earlier.get(name) != digests.get(name)]
    if changed:
        raise CheckpointError(
            f"the data differ from those of {checkpoint.folder}; changed: {', '.join(sorted(changed))}. "
            "Restore them, or choose another output_dir"
        )


def has_finished(settings: Settings) -> bool:
    """Return whether the run to resume has finished.

    Raises:
        CheckpointError: it has, but with other settings.
    """
    output_dir = settings.run.folder
    if settings.run.resume_from_checkpoint is None or not is_finished(output_dir):
        return False
    earlier = _check_settings(output_dir, settings) or {}
    moved = [key for key in keys_with(Fact.ENDS_RUN) if earlier.get(key) != settings.as_dict()[key]]
    if moved:
        raise CheckpointError(
            f"{', '.join(moved)}: changed, but the run in {output_dir} has finished and its checkpoints are gone; "
            f"to train it further, use --model_name_or_path {output_dir} and another output_dir"
        )
    return True


def remove_later(checkpoint: Checkpoint) -> None:
    """Remove the checkpoints after the one that a run resumes from, damaged or not: the run writes new ones."""
    folders = state_folders(checkpoint.folder.parent.parent)
    for later in folders[: folders.index(checkpoint.folder)]:
        remove_folder(later)


def known_tokenizers(
    accelerator: Accelerator, base: BaseModel | None, checkpoint: Checkpoint | None
) -> Tokenizers | None:
    """Return the tokenizers of the base model or of the checkpoint to resume from; None to train new ones."""
    if base is not None:
        return base.tokenizers
    if checkpoint is None:
        return None
    return on_main_process(accelerator, lambda: load_tokenizers(checkpoint.folder))


def begin(accelerator: Accelerator, settings: Settings, checkpoint: Checkpoint | None, digests: dict[str, str]) -> None:
    """Prepare the output folder for a new run, or for one that resumes from a checkpoint; every process calls it.

    Args:
        accelerator: of the run.
        settings: of the run.
        checkpoint: to resume from; None for a new run.
        digests: of the data and of the base model.

    Raises:
        CheckpointError: the checkpoint is of other data, or the folder cannot be written, or a process does not see it.
    """
    on_main_process(accelerator, lambda: _prepare(settings, checkpoint, digests))
    check_same_disk(accelerator, settings.run.folder / SETTINGS_FILE)


def _prepare(settings: Settings, checkpoint: Checkpoint | None, digests: dict[str, str]) -> None:
    output_dir = settings.run.folder
    if checkpoint is not None:
        check_data(checkpoint, digests)
    with writing(str(output_dir)):
        if checkpoint is None:
            prepare_output_dir(output_dir, (METRICS_FILE, *REPORT_FILES, *TRACKERS, PROFILE_FOLDER))
        else:
            remove_later(checkpoint)
            remove_leftovers(checkpoint.folder.parent)
        write_settings(output_dir, settings)
        write_versions(output_dir, digests)


def clear_up(accelerator: Accelerator, folder: Path) -> None:
    """Finish the clean-up of a run that was killed after its last step."""
    on_main_process(accelerator, lambda: remove_checkpoints(folder))
    report(accelerator, folder)
