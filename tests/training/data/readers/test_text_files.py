"""Every file that cannot be read completely is an error; every readable line is read, whatever the others are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow
import pytest

from sineformer.training.data.cleaning import CleaningReport, Limits, usable_rows
from sineformer.training.data.readers.rows import LONGEST_LINE, ColumnNames
from sineformer.training.data.readers.sources import read_files
from sineformer.training.data.readers.text_files import raw_lines

SKIPPABLE_FRAME = b"\x50\x2a\x4d\x18\x05\0\0\0notes"  # RFC 8878, section 3.1.2
LINES = [b"line %d" % number for number in range(20_000)]
TEXT = b"\n".join(LINES) + b"\n"


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": partial(pyarrow.compress, codec="zstd", asbytes=True),
}
each_compression = pytest.mark.parametrize("suffix", COMPRESS)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def counted(files: list[Path]) -> tuple[list[tuple[str | None, str | None]], dict[str, list[str]]]:
    """Return the usable pairs of parallel files, and the lines of the others by reason."""
    report = CleaningReport()
    pairs = [(row.source, row.target) for row in usable_rows(read_files(files), Limits(), report)]
    return pairs, {
        reason: [location.rpartition(":")[2] for location in found.places] for reason, found in report.reasons.items()
    }


@each_compression
def test_a_compressed_file_has_the_lines_of_the_plain_one(tmp_path: Path, suffix: str) -> None:
    assert list(raw_lines(write(tmp_path / f"a.en{suffix}", COMPRESS[suffix](TEXT)))) == LINES


@each_compression
def test_concatenated_streams_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    parts = [COMPRESS[suffix](part) for part in (TEXT[:100_001], TEXT[100_001:], b"", b"last\n")]
    assert list(raw_lines(write(tmp_path / f"a.en{suffix}", b"".join(parts)))) == [*LINES, b"last"]


@pytest.mark.parametrize(("suffix", "between"), [(".xz", b"\0" * 8), (".zst", SKIPPABLE_FRAME)])
def test_what_a_format_allows_between_streams_is_no_fault(tmp_path: Path, suffix: str, between: bytes) -> None:
    part = COMPRESS[suffix](b"one\n")
    assert list(raw_lines(write(tmp_path / f"a{suffix}", part + between + part + between))) == [b"one", b"one"]


@each_compression
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: content[: len(content) // 2],
        lambda content: content[:3],
        lambda content: content + content[:-5],
        lambda content: content + b"no archive",
        lambda content: content + b"\xff" + content[1:],
        lambda content: b"plain text\n" * 9,
    ],
    ids=["end", "half", "beginning", "second part truncated", "text behind", "second part damaged", "other content"],
)
def test_a_damaged_archive_is_an_error_and_never_a_shorter_file(
    tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    file = write(tmp_path / f"a.en{suffix}", damage(COMPRESS[suffix](TEXT)))
    with pytest.raises(ValueError, match=rf"a\.en{suffix} cannot be read \(.+\); check the file"):
        list(raw_lines(file))


def test_a_line_may_be_as_long_as_the_limit_and_no_longer(tmp_path: Path) -> None:
    longest = b"\xef\xbb\xbf" + b"x" * LONGEST_LINE + b"\r\n"
    sources = write(tmp_path / "a.en", b"one\n" + longest + b"x" + longest[3:] + b"four\n")
    targets = write(tmp_path / "a.de", b"1\n2\n3\n4\n")
    rows = list(read_files([sources, targets]))
    assert [row.target for row in rows] == ["1", "2", "3", "4"]
    assert [row.problem for row in rows] == [None, None, "longer than 1,000,000 bytes", None]
    assert [len(row.source or "") for row in rows] == [3, LONGEST_LINE, 0, 4]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_a_line_that_is_too_long_affects_only_that_line_of_a_table(tmp_path: Path, name: str) -> None:
    rows = {
        "a.tsv": [b"en\tde", b"a\tb", b"%s\tb", b"c\td"],
        "a.csv": [b"en,de", b"a,b", b"%s,b", b"c,d"],
        "a.jsonl": [b'{"en": "a", "de": "b"}', b'{"en": "%s", "de": "b"}', b'{"en": "c", "de": "d"}'],
    }[name]
    file = write(tmp_path / name, b"\n".join(rows) % (b"x" * 2_000_000))
    found = list(read_files([file], ColumnNames("en", "de")))
    assert [(row.source, row.target) for row in found] == [("a", "b"), (None, None), ("c", "d")]


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_a_file_without_line_ends_is_not_read_into_memory(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.en{suffix}"
    size = 30_000_000
    file.write_bytes(COMPRESS[suffix](b"\0" * size) if suffix else b"")
    if not suffix:
        os.truncate(file, size)
    tracemalloc.start()
    try:
        assert [len(line) > LONGEST_LINE for line in raw_lines(file)] == [True]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 2


def test_byte_order_marks_at_the_joints_of_a_file_are_no_text(tmp_path: Path) -> None:
    part = "\ufeffone\ntwo\n".encode()
    files = [write(tmp_path / "a.en", part + part), write(tmp_path / "a.de", b"1\n2\n3\n4\n")]
    pairs, bad = counted(files)
    assert (pairs, bad) == ([("one", "1"), ("two", "2"), ("one", "3"), ("two", "4")], {})


def test_mixed_line_ends_are_all_taken_off(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.en", b"one\r\ntwo\nthree\r\r\nfour"), write(tmp_path / "a.de", b"1\n2\r\n3\n4\r")]
    pairs, bad = counted(files)
    assert (pairs, bad) == ([("one", "1"), ("two", "2"), ("three", "3"), ("four", "4")], {})


def test_control_characters_and_line_ends_of_old_macs_are_counted(tmp_path: Path) -> None:
    sources = write(tmp_path / "a.en", b"one\nt\0wo\nthree\nfo\rur\nfi\tve\x0b\x85\n".replace(b"\x85", b"\xc2\x85"))
    targets = write(tmp_path / "a.de", b"1\n2\n3\x1b[0m\n4\n5\n")
    pairs, bad = counted([sources, targets])
    assert pairs == [("one", "1"), ("fi\tve\x0b\x85", "5")]
    assert bad == {
        "control character U+0000": ["2"],
        "control character U+001B": ["3"],
        "control character U+000D, the line end of old Macs": ["4"],
    }


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"\n\n", b"\xef\xbb\xbf\r\n\r\n"])
def test_files_with_nothing_but_marks_and_line_ends_have_empty_sides(tmp_path: Path, content: bytes) -> None:
    pairs, bad = counted([write(tmp_path / "a.en", content), write(tmp_path / "a.de", content)])
    assert pairs == []
    assert list(bad) == ["empty source side"]


def test_archives_of_nothing_are_named(tmp_path: Path) -> None:
    files = [write(tmp_path / f"a.{side}.gz", gzip.compress(b"")) for side in ("en", "de")]
    with pytest.raises(ValueError, match=r"a\.en\.gz and .*a\.de\.gz have no lines"):
        list(read_files(files))


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (folder, "a folder, a pipe or a device"),
        (pipe, "a folder, a pipe or a device"),
        (device, "a folder, a pipe or a device"),
        (loop, "cannot be accessed"),
        (dangling, "no such file"),
        (Path.touch, "empty, 0 bytes"),
    ],
)
def test_what_is_no_file_with_content_is_refused_before_reading(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "a.en")
    write(tmp_path / "a.de", b"x\n")
    with pytest.raises(ValueError, match=rf"a\.en: {message}"):
        read_files([tmp_path / "a.en", tmp_path / "a.de"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (os.fsdecode(b"gr\xfc\xdfe.tsv"), r"gr\\udcfc\\udcdfe\.tsv': this name is not UTF-8; rename"),
        ("n" * 300 + ".tsv", "cannot be accessed"),
        ("a\0b.tsv", "cannot be accessed"),
        ("a.de/b.tsv", "no such file"),
    ],
)
def test_names_that_cannot_be_looked_up_are_refused(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path / "a.de", b"x\n")
    with pytest.raises(ValueError, match=message):
        read_files([tmp_path / name])


@pytest.fixture
def nobody() -> Iterator[None]:
    """Run without the rights of the superuser, who may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_file_or_folder_without_permission_is_named(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "closed").mkdir()
    files = [write(tmp_path / "a.tsv", b"x\ty\n"), write(tmp_path / "closed" / "b.tsv", b"x\ty\n")]
    files[0].chmod(0)
    files[1].parent.chmod(0)
    request.getfixturevalue("nobody")
    with pytest.raises(ValueError, match=r"tsv.*Permission denied.*check"):
        list(read_files([files[0]]))
    with pytest.raises(ValueError, match=r"b\.tsv: cannot be accessed .*Permission denied.*permissions"):
        read_files([files[1]])


@pytest.mark.parametrize("size", [70_000, 2_000_000])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, size: int) -> None:
    sources, targets = write(tmp_path / "a.en", b"x\n" * 200_000), write(tmp_path / "a.de", b"y\n" * 200_000)
    rows = read_files([sources, targets])
    next(rows)
    os.truncate(sources, size)
    with pytest.raises(ValueError, match=rf"a\.en changed while it was read, from 400,000 to {size:,} bytes"):
        list(rows)


@each_compression
def test_an_archive_that_changes_while_it_is_read_is_an_error(tmp_path: Path, suffix: str) -> None:
    content = os.urandom(200_000).hex().encode() + b"\n"
    file = write(tmp_path / f"a.en{suffix}", COMPRESS[suffix](b"first\n" + content * 2))
    lines = raw_lines(file)
    assert next(lines) == b"first"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"a\.en.* (cannot be read|changed while)"):
        list(lines)
