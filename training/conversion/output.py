"""Where a converted model goes: a new folder, whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..durable import CheckpointError, write_folder

NAMES_SHOWN = 5


class ConversionError(ValueError):
    """The model cannot be converted, or not to that place; the message names the field or weight, and the mend."""


def check_output(output_dir: Path) -> None:
    """Raise ConversionError unless `output_dir` is free: not there yet, or an empty folder."""
    if output_dir.exists() and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise ConversionError(f"{output_dir} already exists; choose another folder, or remove it first")


def write_output(output_dir: Path, write: Callable[[Path], None]) -> None:
    """Make `output_dir` with what `write` puts into the folder that it is given.

    Raises:
        ConversionError: the disk does not take it.
    """
    try:
        write_folder(output_dir, write)
    except (OSError, CheckpointError) as error:
        raise ConversionError(f"{output_dir} cannot be written: {error}") from error


def some_of(names: Iterable[str]) -> str:
    """The first of many names, for an error."""
    listed = sorted(names)
    more = len(listed) - NAMES_SHOWN
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
