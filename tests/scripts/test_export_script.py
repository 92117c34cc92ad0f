"""Test the script that exports models: its output and exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sineformer.scripts import export, translate


def call(main: Callable[[], int], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
    return main()


def test_an_exported_model_translates_from_the_command_line(
    make_model_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed; `make test-slow` does it")
    folder, output = make_model_folder(tmp_path / "model"), tmp_path / "export"
    assert call(export.main, monkeypatch, folder, output, "--format", "ctranslate2") == 0
    assert capsys.readouterr().out.startswith(f"{output}: ")
    said = []
    for name in (folder, output):
        options = ["--num_beams", "2", "--num_return_sequences", "2", "--scores", "--device", "cpu"]
        assert call(translate.main, monkeypatch, "--model", name, *options, "the dog sleeps", "", "der Hund") == 0
        said.append(capsys.readouterr().out.splitlines())
    assert [row.split("\t")[3:] for row in said[0]] == [row.split("\t")[3:] for row in said[1]]
    assert len(said[0]) == 6


def test_a_model_that_cannot_be_exported_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(export.main, monkeypatch, tmp_path, tmp_path / "out", "--format", "onnx") == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds no config.json")
    (tmp_path / "file").touch()
    assert call(export.main, monkeypatch, "any", tmp_path, "--format", "onnx") == 1
    assert capsys.readouterr().err == f"error: {tmp_path} already exists; choose another folder, or remove it first\n"
