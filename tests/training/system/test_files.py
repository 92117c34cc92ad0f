"""Test that files and folders are written completely or not at all, also on a full disk."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sineformer.training.system.files import (
    CheckpointError,
    copy_file,
    damage_of,
    file_problem,
    folder_problem,
    remove_folder,
    remove_leftovers,
    write_file,
    write_folder,
    write_manifest,
    writing,
)


def write_text(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "file").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text(text)

    return write


def test_a_folder_that_cannot_be_written_leaves_the_earlier_one_unchanged(
    tmp_path: Path, small_files_only: None
) -> None:
    write_folder(tmp_path / "model", write_text("small"))
    with pytest.raises(OSError, match="File too large"):
        write_folder(tmp_path / "model", write_text("x" * 10_000))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "inner" / "file").read_text() == "small"


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    seen: list[bool] = []

    def write(aside: Path) -> None:
        write_text("new")(aside)
        seen.append((tmp_path / "model").exists())

    write_folder(tmp_path / "model", write)
    assert seen == [False]
    assert (tmp_path / "model" / "file").read_text() == "new"


def test_a_copy_is_complete_or_the_old_file_stays(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "small").write_bytes(b"\x00new\r\n")
    (tmp_path / "large").write_bytes(bytes(10_000))
    (tmp_path / "target").write_text("old")
    copy_file(tmp_path / "small", tmp_path / "target")
    request.getfixturevalue("small_files_only")
    with pytest.raises(OSError, match="File too large"):
        copy_file(tmp_path / "large", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"\x00new\r\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "small", "target"]


def test_a_copy_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    (tmp_path / "elsewhere").write_text("old")
    (tmp_path / "target").symlink_to(tmp_path / "elsewhere")
    copy_file(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "elsewhere").read_text() == "old"
    assert (tmp_path / "target").read_text() == "new"
    assert not (tmp_path / "target").is_symlink()


def test_a_file_that_cannot_be_written_is_unchanged(tmp_path: Path, small_files_only: None) -> None:
    write_file(tmp_path / "file", "small")
    with pytest.raises(OSError, match="File too large"):
        write_file(tmp_path / "file", "x" * 10_000)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "small"


def test_an_existing_folder_is_replaced_despite_leftovers_of_a_crash(tmp_path: Path) -> None:
    for name in ("model", "model.writing", "model.removing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").touch()
    write_folder(tmp_path / "model", write_text("new"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"file", "inner"}


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which names are flushed, and when something is renamed or a folder removed."""
    noted: list[str] = []
    names = {}

    def open_noted(path: Any, *rest: Any, **place: Any) -> int:
        descriptor = os_open(path, *rest, **place)
        if not place:  # of a folder that is being removed
            names[descriptor] = Path(path).relative_to(tmp_path.parent).as_posix()
        return descriptor

    os_open, replace, rmtree = os.open, os.replace, shutil.rmtree
    monkeypatch.setattr(os, "open", open_noted)
    monkeypatch.setattr(os, "fsync", lambda descriptor: noted.append(names[descriptor]))
    monkeypatch.setattr(os, "replace", lambda *paths: noted.append("rename") or replace(*paths))  # type: ignore
    monkeypatch.setattr(shutil, "rmtree", lambda *rest, **flags: noted.append("remove") or rmtree(*rest, **flags))  # type: ignore
    return noted


def test_a_file_is_flushed_before_its_name_appears(tmp_path: Path, events: list[str]) -> None:
    write_file(tmp_path / "file", "x")
    assert events == [f"{tmp_path.name}/file.writing", "rename"]


def test_a_folder_is_renamed_on_disk_before_its_content_is_removed(tmp_path: Path, events: list[str]) -> None:
    (tmp_path / "model").mkdir()
    remove_folder(tmp_path / "model")
    assert events[-3:] == ["rename", tmp_path.name, "remove"]


def test_every_file_and_folder_is_flushed_before_the_name_appears(tmp_path: Path, events: list[str]) -> None:
    write_folder(tmp_path / "model", write_text("x"))
    top = tmp_path.name
    aside = f"{top}/model.writing"
    before, after = events[: events.index("rename")], events[events.index("rename") + 1 :]
    assert set(before) - {"remove"} == {aside, f"{aside}/file", f"{aside}/inner", f"{aside}/inner/file"}
    assert after == [top]


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    for name in ("step-1.writing", "step-2.removing", "step-3"):
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path)
    remove_folder(tmp_path / "step-3")
    assert not list(tmp_path.iterdir())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "name", "expected"),
    [
        (cut, "file", "file does not match its checksum"),
        (flip, "inner/file", "inner/file does not match its checksum"),
        (Path.unlink, "inner/file", "inner/file is missing"),
        (Path.unlink, "manifest.json", "manifest.json is missing"),
        (lambda file: file.write_text("{"), "manifest.json", "manifest.json is not a list of checksums"),
        (lambda file: file.write_text("[]"), "manifest.json", "manifest.json is not a list of checksums"),
        (lambda file: file.write_text("{}"), "manifest.json", "manifest.json is not a list of checksums"),
        (lambda file: file.write_text('{"sha256": []}'), "manifest.json", "manifest.json is not a list of checksums"),
        (lambda file: (file.unlink(), file.mkdir()), "inner/file", "inner/file cannot be read: Is a directory"),
        (lambda file: file.write_bytes(b"\xff"), "manifest.json", "manifest.json is not a list of checksums"),
    ],
)
def test_damage_is_recognised(tmp_path: Path, harm: Callable[[Path], object], name: str, expected: str) -> None:
    write_text("content")(tmp_path)
    write_manifest(tmp_path)
    assert damage_of(tmp_path) is None
    harm(tmp_path / name)
    assert damage_of(tmp_path) == expected


def test_a_missing_folder_is_damaged(tmp_path: Path) -> None:
    write_text("content")(tmp_path / ".")
    write_manifest(tmp_path)
    shutil.rmtree(tmp_path)
    assert damage_of(tmp_path) == "manifest.json is missing"


def test_a_full_disk_is_one_message_with_every_library(tmp_path: Path, small_files_only: None) -> None:
    tensors = {"a": torch.zeros(1_000)}
    for write in (lambda: save_file(tensors, tmp_path / "a"), lambda: (tmp_path / "b").write_bytes(bytes(2_000))):
        with (
            pytest.raises(CheckpointError, match=r"^cannot write step-3: .*File too large.* --resume$"),
            writing("step-3"),
        ):
            write()


def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("old")
    (tmp_path / "there" / "file").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "new"
    assert (tmp_path / "there" / "file").stat().st_mode & 0o777 == 0o640


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert file_problem(tmp_path / "pipe") is None
    write_file(tmp_path / "pipe", "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("new", None),
        ("file", None),
        ("folder", "folder is a folder; name a file in it"),
        ("none/new", "there is no folder {tmp}/none; make it"),
        ("file/new", "there is no folder {tmp}/file; make it"),
        ("x" * 255, "File name too long; name another file"),
        ("/proc/new", "/proc/new cannot be written: No such file or directory; name another file"),
    ],
)
def test_a_file_that_cannot_be_written_is_known_beforehand(tmp_path: Path, name: str, problem: str | None) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    found = file_problem(tmp_path / name)
    assert found is None if problem is None else problem.format(tmp=tmp_path) in str(found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("new", None),
        ("a/b/new", None),
        ("folder", None),
        ("file", "/file is a file; name another folder"),
        ("file/new", "/file is a file; name another folder"),
        (".", ". is the working directory, which cannot be replaced; name a folder in it"),
        ("/", "/ is a mount point, which cannot be replaced; name a folder in it"),
        ("x" * 255, "File name too long; name another folder"),
        ("/proc/new", "/proc/new cannot be written: No such file or directory; name another folder"),
    ],
)
def test_a_folder_that_cannot_be_written_is_known_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    found = folder_problem(Path(name))
    assert found is None if problem is None else problem in str(found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permissions_are_checked(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o444)
    assert "change its permissions" in str(file_problem(tmp_path / "file"))
    tmp_path.chmod(0o555)
    assert "Permission denied" in str(file_problem(tmp_path / "new"))
    assert "Permission denied" in str(folder_problem(tmp_path / "new"))


def test_other_errors_are_raised_unchanged() -> None:
    with pytest.raises(TypeError), writing("step-3"):
        raise TypeError("a fault of the program")
