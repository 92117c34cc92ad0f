"""Test the options of `scripts/translate.py`: n-best lists, interactive use, compressed output, split sentences."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow
import pytest


def unzstd(content: bytes) -> bytes:
    return bytes(pyarrow.CompressedInputStream(io.BytesIO(content), "zstd").read())


DECOMPRESS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress, ".zst": unzstd}


@pytest.fixture(scope="module")
def model_dir(make_model_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("sineformer.scripts.translate")


@pytest.fixture
def translate(script: ModuleType, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs the script with some arguments."""

    def run(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["translate.py", "--model", str(model_dir), *map(str, arguments)])
        return int(script.main())

    return run


class Typist(io.RawIOBase):
    """Type one line after another, and record how many lines have been answered before each."""

    def __init__(self, lines: list[bytes], answers: io.BytesIO, is_terminal: bool) -> None:
        self.lines, self.answers, self.is_terminal = iter(lines), answers, is_terminal
        self.answered: list[int] = []

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.is_terminal

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self.answered.append(self.answers.getvalue().count(b"\n"))
        line = next(self.lines, b"")
        buffer[: len(line)] = line
        return len(line)


@pytest.mark.parametrize("flags", [[], ["--interactive"]], ids=["in a terminal", "with the flag"])
def test_each_line_is_answered_before_the_next_is_read(
    translate: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
) -> None:
    answers = io.BytesIO()
    typist = Typist([b"the dog\n", b"\n", b"der Hund\n"], answers, is_terminal=not flags)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(typist)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(answers))
    assert translate(*flags) == 0
    assert typist.answered == [0, 1, 2, 3]
    assert capsys.readouterr().err == ("" if flags else "Type a sentence and press Enter; Ctrl-D ends.\n")


def test_the_best_translations_are_rows_or_objects(
    translate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert translate("--num_return_sequences", "2", "--scores", "the dog", "") == 0
    head, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert head == ["line", "rank", "score", "translation"]
    assert [row[:2] for row in rows] == [["1", "1"], ["1", "2"], ["2", "1"]]
    assert translate("--num_return_sequences", "2", "--scores", "--format", "jsonl", "the dog", "") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert [each["text"] for each in first["translations"]] == [row[3] for row in rows[:2]]
    assert [f"{each['score']:.4f}" for each in first["translations"]] == [row[2] for row in rows[:2]]
    assert second == {"line": 2, "source": "", "translations": [{"text": "", "score": 0.0}]}


@pytest.mark.parametrize("suffix", DECOMPRESS)
def test_output_is_compressed_by_its_suffix(translate: Callable[..., int], tmp_path: Path, suffix: str) -> None:
    for name in ("out.txt", f"out.txt{suffix}"):
        assert translate("the dog", "der Hund", "--output", tmp_path / name) == 0
    content = (tmp_path / f"out.txt{suffix}").read_bytes()
    assert DECOMPRESS[suffix](content) == (tmp_path / "out.txt").read_bytes()


def test_output_that_needs_a_missing_library_is_refused_before_the_work(
    translate: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert translate("--model", "not searched for", "x", "--output", tmp_path / "out.zst") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'out.zst'} cannot be written: Zstandard needs pyarrow: pip install")
    assert not list(tmp_path.iterdir())


def test_lines_of_several_sentences_are_warned_of_once_unless_they_are_split(
    translate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["the dog", "The dog sleeps. The cat too.", "Really? Yes."]
    assert translate(*lines) == 0
    output, error = capsys.readouterr()
    assert error.startswith("warning: line 2 seems to have several sentences")
    assert (output.count("\n"), error.count("\n")) == (3, 1)
    assert translate(*lines, "--split_sentences", "en") == 0
    output, error = capsys.readouterr()
    assert (output.count("\n"), error) == (3, "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--interactive", "--output", "x"], "leave out the others"),
        (["--num_beams", "2", "--num_return_sequences", "3"], "3 translations need as many beams"),
        (["--scores", "--format", "text"], "use --format tsv or jsonl"),
        (["--scores", "--split_sentences", "en"], "one translation per line without a score"),
    ],
)
def test_flags_that_cannot_be_combined_are_refused(
    translate: Callable[..., int], capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        translate(*flags)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
