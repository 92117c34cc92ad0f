"""Folders that survive a crash: each appears whole or not at all, and tells by checksums whether it still is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

WRITING = ".writing"
REMOVING = ".removing"
MANIFEST = "manifest.json"
CHUNK = 1 << 20

Result = TypeVar("Result")


class CheckpointError(RuntimeError):
    """A checkpoint, or another file of a run, cannot be written or cannot be used; the message names the mend."""


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise a `CheckpointError` that says what could not be written, and why, where the disk does not take it."""
    try:
        yield
    except Exception as error:
        if not is_of_the_system(error):
            raise
        raise CheckpointError(
            f"cannot write {what}: {error}. Earlier checkpoints are as they were; mend this and go on with --resume"
        ) from error


def is_of_the_system(error: Exception) -> bool:
    """Whether an error comes from the disk or the like. safetensors and tokenizers pass on what the system says as
    errors of their own, in this form."""
    return isinstance(error, OSError) or "(os error " in str(error)


def on_main_process(accelerator: Accelerator, call: Callable[[], Result]) -> Result:
    """What `call` returns on the main process, given to all of them; its `CheckpointError` is raised on all."""
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = call()
        except CheckpointError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: Result = outcome[0]
    return result


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make `folder` by writing beside it, flushing and renaming: whoever sees the name sees the whole content.

    Args:
        folder: replaced if it exists.
        write: writes the content into the empty folder that it is given.
    """
    aside = folder.with_name(folder.name + WRITING)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write(aside)
        _flush_tree(aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)  # the disk may be full
        raise
    remove_folder(folder)
    os.replace(aside, folder)
    flush(folder.parent)


def write_file(file: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, that is there as it was before or as a whole."""
    aside = file.with_name(file.name + WRITING)
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    flush(aside)
    os.replace(aside, file)


def remove_folder(folder: Path) -> None:
    """Remove a folder, or what a crash has left of it; whoever sees its name sees the whole content until then."""
    aside = folder.with_name(folder.name + REMOVING)
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        os.replace(folder, aside)
        flush(folder.parent)
        shutil.rmtree(aside)


def remove_leftovers(folder: Path) -> None:
    """Remove what a crash left in `folder` of folders being written or removed."""
    for suffix in (WRITING, REMOVING):
        for leftover in folder.glob(f"*{suffix}"):
            shutil.rmtree(leftover)


def flush(path: Path) -> None:
    """Have the system put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        flush(path)


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of every file of a folder into `manifest.json` there, to be called last."""
    checksums = {file.relative_to(folder).as_posix(): checksum(file) for file in sorted(_files(folder))}
    (folder / MANIFEST).write_text(json.dumps({"sha256": checksums}, indent=2) + "\n", encoding="utf-8")


def damage_of(folder: Path) -> str | None:
    """What is wrong with a folder that had a manifest, in words; None if it is whole."""
    try:
        checksums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        for name, expected in checksums.items():
            if checksum(folder / name) != expected:
                return f"{name} does not match its checksum"
    except FileNotFoundError as error:
        return f"{Path(error.filename).relative_to(folder)} is missing"
    except OSError as error:
        return f"{Path(error.filename).relative_to(folder)} cannot be read: {error.strerror}"
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{MANIFEST} is not a list of checksums"
    return None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def checksum(file: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
