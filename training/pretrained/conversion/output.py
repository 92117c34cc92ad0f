"""Where a converted model goes: a new folder, complete or not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ...system.files import folder_problem, is_of_the_system, real_path, write_folder

NAMES_SHOWN = 5


class ConversionError(ValueError):
    """The model cannot be converted, or not to that place; the message names the field or weight, and the mend."""


def check_output(output_dir: Path) -> None:
    """Raise ConversionError unless `output_dir` is free, not there yet or an empty folder, and can be written."""
    problem = folder_problem(output_dir)
    if problem is None and output_dir.is_dir() and any(output_dir.iterdir()):
        problem = f"{output_dir} already exists; choose another folder, or remove it first"
    if problem is not None:
        raise ConversionError(problem)


def write_output(output_dir: Path, write: Callable[[Path], None]) -> None:
    """Make `output_dir` with what `write` puts into the folder that it is given.

    Raises:
        ConversionError: the disk does not take it.
    """
    try:
        write_folder(real_path(output_dir), write)
    except Exception as error:
        if not is_of_the_system(error):
            raise
        raise ConversionError(f"{output_dir} cannot be written: {error}; earlier files are as they were") from error


def some_of(names: Iterable[str]) -> str:
    """Return the first of many names, for an error."""
    listed = sorted(names)
    more = len(listed) - NAMES_SHOWN
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
