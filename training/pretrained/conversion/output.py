"""Write a converted model into a new folder, completely or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ...system.files import folder_problem, is_system_error, real_path, write_folder

NAMES_SHOWN = 5


class ConversionError(ValueError):
    """Raised if the model cannot be converted or written; the message names the field or weight, and the fix."""


def check_output(output_dir: Path) -> None:
    """Raise ConversionError unless `output_dir` is missing or empty, and can be written."""
    problem = folder_problem(output_dir)
    if problem is None and output_dir.is_dir() and any(output_dir.iterdir()):
        problem = f"{output_dir} already exists; choose another folder, or remove it first"
    if problem is not None:
        raise ConversionError(problem)


def write_output(output_dir: Path, write: Callable[[Path], None]) -> None:
    """Create `output_dir` with the files that `write` puts into the folder it receives.

    Raises:
        ConversionError: writing failed, for example because the disk is full.
    """
    try:
        write_folder(real_path(output_dir), write)
    except Exception as error:
        if not is_system_error(error):
            raise
        raise ConversionError(f"{output_dir} cannot be written: {error}; earlier files are unchanged") from error


def some_of(names: Iterable[str]) -> str:
    """Return the first names and the number of others, for an error message."""
    listed = sorted(names)
    more = len(listed) - NAMES_SHOWN
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
