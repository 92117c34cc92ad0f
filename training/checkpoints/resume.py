"""Going on with a run that was stopped: which checkpoint, and whether it is of this run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..settings.arguments import LATEST, Settings, keys_with
from ..settings.facts import Fact
from ..settings.schedules import SCHEDULES
from ..system.files import CheckpointError, damage_of, remove_folder
from ..system.output_folder import CHECKPOINTS, SETTINGS_FILE, state_folders
from .checkpoint import best_name
from .state import FORMAT, read_state

# They set the length of a run in steps.
_LENGTH = ("max_steps", "num_epochs")


def choose_checkpoint(settings: Settings, processes: int) -> Path | None:
    """The checkpoint to go on from; None if the run begins anew, since it had not come to one. Warns of damaged ones.

    Raises:
        CheckpointError: the checkpoint or the folder is of another run, or there are checkpoints and none is whole.
    """
    output_dir, wanted = Path(str(settings.run.output_dir)), settings.run.resume_from_checkpoint
    if wanted is None:
        return None
    folder = _latest(output_dir) if wanted == LATEST else _named(output_dir, Path(wanted))
    record = (folder or output_dir) / SETTINGS_FILE
    if record.exists():
        _check_settings(record, settings)
    elif output_dir.is_dir() and any(output_dir.iterdir()):
        raise CheckpointError(
            f"{output_dir} holds files, but no run to go on with; choose another output_dir, or leave out --resume and "
            "add --overwrite_output_dir"
        )
    if folder is not None:
        _check_format(folder)
        _check_processes(folder, settings, processes)
    return folder


def _check_format(folder: Path) -> None:
    if read_state(folder).get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} is of another version of this package, whose checkpoints hold something else; go on with that "
            "version, or begin with --model_name_or_path and the best model of the run, in another output_dir"
        )


def _latest(output_dir: Path) -> Path | None:
    damages = []
    for folder in state_folders(output_dir):
        damage = _damage(folder)
        if damage is None:
            return folder
        damages.append(f"{folder}: {damage}")
        print(f"warning: checkpoint {damages[-1]}; taking the one before", file=sys.stderr)
    if damages:
        raise CheckpointError(
            "no checkpoint is whole; remove them and start again, or restore one of them\n  " + "\n  ".join(damages)
        )
    return None


def _named(output_dir: Path, folder: Path) -> Path:
    if folder.resolve() not in [each.resolve() for each in state_folders(output_dir)]:
        known = ", ".join(each.name for each in state_folders(output_dir)) or "none"
        raise CheckpointError(
            f"{folder} is not a checkpoint of the run in {output_dir}; those in {output_dir / CHECKPOINTS}: {known}"
        )
    damage = _damage(folder)
    if damage is not None:
        raise CheckpointError(f"checkpoint {folder}: {damage}; --resume alone takes the latest one that is whole")
    return folder


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint or with the best model that belongs to it; None if both are whole."""
    damage = damage_of(folder)
    if damage is not None:
        return damage
    best = read_state(folder)["best"]
    if best["scores"] is None:
        return None
    best_folder = folder.with_name(best_name(best["step"]))
    damage = damage_of(best_folder)
    return None if damage is None else f"its best model, {best_folder.name}: {damage}"


def _check_settings(record: Path, settings: Settings) -> None:
    changes = list(_changes(yaml.safe_load(record.read_text(encoding="utf-8")), settings.as_dict()))
    if changes:
        raise CheckpointError(
            f"{record} is of a run with other settings; set these back, or choose another output_dir\n  "
            + "\n  ".join(changes)
        )


def _changes(earlier: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield the settings that have changed and may not, one line each."""
    may_change = keys_with(Fact.MAY_CHANGE)
    for key, value in now.items():
        before = earlier.get(key, value)  # a key that an earlier version did not have
        if before == value:
            continue
        if key not in may_change:
            yield f"{key}: was {before}, is {value}"
        elif key in _LENGTH and SCHEDULES[now["lr_scheduler_type"]].needs_length:
            yield f"{key}: was {before}, is {value}; the {now['lr_scheduler_type']} schedule depends on it"
        elif key == "eval_steps" and now["average_checkpoints"] > 1:
            yield f"{key}: was {before}, is {value}; it says which models average_checkpoints is over"


def _check_processes(folder: Path, settings: Settings, processes: int) -> None:
    """Any number of processes goes on with a checkpoint, as long as a step has as many batches in all of them."""
    origin = read_state(folder)["origin"]
    batches, accumulation = origin["batches_per_step"], settings.optimisation.gradient_accumulation_steps
    if processes * accumulation != batches:
        fitting = ", ".join(f"{n} x {batches // n}" for n in range(1, batches + 1) if batches % n == 0)
        raise CheckpointError(
            f"gradient_accumulation_steps: a step of this run has {batches} batches, but {processes} processes with "
            f"{accumulation} each make {processes * accumulation}; processes x gradient_accumulation_steps may be "
            f"{fitting}"
        )
    if processes != origin["processes"]:
        print(
            f"The checkpoint is of {origin['processes']} processes, this run has {processes}: batches, their order and "
            "the learning rates stay the same. Dropout is drawn per process and sums are rounded in another order, so "
            "losses are not the same bit for bit.",
            file=sys.stderr,
        )


def check_data(folder: Path, digests: dict[str, str]) -> None:
    """Make sure that a run goes on with the data and the vocabulary it began with.

    Raises:
        CheckpointError: naming the splits that differ.
    """
    earlier: dict[str, str] = read_state(folder)["origin"]["data"]
    changed = [name for name in earlier.keys() | digests.keys() if earlier.get(name) != digests.get(name)]
    if changed:
        raise CheckpointError(
            f"the data is not what {folder} was trained on; changed: {', '.join(sorted(changed))}. "
            "Restore it, or choose another output_dir"
        )


def has_finished(settings: Settings) -> bool:
    """Whether the run to go on with has come to its end, which leaves a model and no checkpoints.

    Raises:
        CheckpointError: it has, but with other settings.
    """
    output_dir = Path(str(settings.run.output_dir))
    written = all((output_dir / name).exists() for name in (SETTINGS_FILE, "config.json", "README.md"))
    if settings.run.resume_from_checkpoint is None or not written or (output_dir / CHECKPOINTS).exists():
        return False
    _check_settings(output_dir / SETTINGS_FILE, settings)
    earlier = yaml.safe_load((output_dir / SETTINGS_FILE).read_text(encoding="utf-8"))
    moved = [key for key in keys_with(Fact.ENDS_RUN) if earlier.get(key) != settings.as_dict()[key]]
    if moved:
        raise CheckpointError(
            f"{', '.join(moved)}: changed, but the run in {output_dir} has finished and its checkpoints are gone; "
            "choose another output_dir"
        )
    return True


def remove_later(folder: Path) -> None:
    """Remove the checkpoints after the one that a run goes on from, damaged or not: it will write its own."""
    states = state_folders(folder.parent.parent)
    for later in states[: [each.name for each in states].index(folder.name)]:
        remove_folder(later)
