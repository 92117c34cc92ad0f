"""Write files and folders atomically, so that a crash leaves none incomplete; write and verify checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

WRITING = ".writing"
REMOVING = ".removing"
MANIFEST = "manifest.json"
CHUNK = 1 << 20


class CheckpointError(RuntimeError):
    """A checkpoint, or another file of a run, cannot be written or cannot be used; the message names the fix."""


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise a `CheckpointError` that says what could not be written, and why, after an error of the disk."""
    try:
        yield
    except Exception as error:
        if not is_system_error(error):
            raise
        raise CheckpointError(
            f"cannot write {what}: {error}. Earlier checkpoints are unchanged; fix this and continue with --resume"
        ) from error


def is_system_error(error: Exception) -> bool:
    """Return whether an error comes from the operating system. safetensors and tokenizers raise it as an error of their
    own, with this text."""
    return isinstance(error, OSError) or "(os error " in str(error)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make `folder` by writing beside it, flushing and renaming, so that it is complete as soon as it exists.

    Args:
        folder: replaced if it exists.
        write: receives an empty folder, and writes the content there.
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
    """Write a file, text as UTF-8; after a crash it is unchanged or complete."""
    with open_atomic(file) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; `target` appears complete or not at all, and a link there is replaced, not followed."""
    with source.open("rb") as content, _replacing(target) as stream:
        shutil.copyfileobj(content, stream)


@contextlib.contextmanager
def open_atomic(file: Path, mark: str = "") -> Iterator[BinaryIO]:
    """Yield a stream into a file that appears or changes only when this context ends without an error.

    A link is followed. A device or a pipe is written to directly.

    Args:
        file: to write.
        mark: distinguishes this process from others that may write the same file. Without it, the next write replaces
            the temporary file that a crash left.

    Raises:
        OSError: the file cannot be written; `file_problem` finds it beforehand, except for a full disk.
    """
    if file.exists() and not file.is_file():
        with file.open("wb") as stream:
            yield stream
        return
    with _replacing(real_path(file), mark) as stream:
        yield stream


@contextlib.contextmanager
def _replacing(file: Path, mark: str = "") -> Iterator[BinaryIO]:
    aside = file.with_name(file.name + mark + WRITING)
    try:
        with aside.open("wb") as stream:
            yield stream
        replace_file(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def replace_file(aside: Path, file: Path) -> None:
    """Give a written file beside `file` its name, in place of an earlier one, whose permissions it gets."""
    if file.exists():
        shutil.copymode(file, aside)
    flush(aside)
    os.replace(aside, file)


def real_path(path: Path) -> Path:
    """Return the absolute path without links."""
    return Path(os.path.realpath(path))


def file_problem(file: Path) -> str | None:
    """Return why a file cannot be written, with the fix; None if it can.

    Tries it: permissions do not show a read-only file system or a name that is too long.
    """
    place = real_path(file)
    if file.is_dir():
        return f"{file} is a folder; name a file in it"
    if file.exists() and not os.access(file, os.W_OK):
        return f"{file} cannot be written; change its permissions, or name another file"
    if file.exists() and not file.is_file():
        return None
    if not place.parent.is_dir():
        return f"{file} cannot be written: there is no folder {place.parent}; make it, or name another file"
    probe = place.with_name(f"{place.name}.{os.getpid()}{WRITING}")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"{file} cannot be written: {error.strerror}; name another file"
    return None


def folder_problem(folder: Path) -> str | None:
    """Return why `write_folder` cannot make or replace a folder, with the fix, found by trying; None if it can."""
    place = real_path(folder)
    if os.path.ismount(place) or place == Path.cwd():
        kind = "the working directory" if place == Path.cwd() else "a mount point"
        return f"{folder} is {kind}, which cannot be replaced; name a folder in it"
    aside = place.with_name(place.name + WRITING)
    missing = [each for each in (aside, *aside.parents) if not os.path.isdir(each)]
    for each in (place, *missing):
        if os.path.lexists(each) and not os.path.isdir(each):
            return f"{each} is a file; name another folder"
    made: list[Path] = []
    try:
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            made.append(each)
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}; name another folder, or change the permissions"
    finally:
        for each in reversed(made):
            with contextlib.suppress(OSError):  # another process has written something there
                each.rmdir()
    return None


def remove_folder(folder: Path) -> None:
    """Remove a folder, or what a crash has left of it; it is complete as long as it has its name."""
    aside = folder.with_name(folder.name + REMOVING)
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        os.replace(folder, aside)
        flush(folder.parent)
        shutil.rmtree(aside)


def remove_leftovers(folder: Path) -> None:
    """Remove folders in `folder` that a crash left partly written or removed."""
    for suffix in (WRITING, REMOVING):
        for leftover in folder.glob(f"*{suffix}"):
            shutil.rmtree(leftover)


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        flush(path)


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of every file of a folder into `manifest.json` there; call it last."""
    checksums = {file.relative_to(folder).as_posix(): checksum(file) for file in sorted(_files(folder))}
    (folder / MANIFEST).write_text(json.dumps({"sha256": checksums}, indent=2) + "\n", encoding="utf-8")


def damage_of(folder: Path) -> str | None:
    """Return what is wrong with a folder that has a manifest, in words; None if it is complete."""
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
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
