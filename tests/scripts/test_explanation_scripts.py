"""Test the commands that draw and explain, as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"
SENTENCE = "the dog sleeps"
PICTURES = ["page-positions.svg", "page-heads.svg", "page-causal.svg", "page-alignment.svg"]
Capture = pytest.CaptureFixture[str]


def run(folder: Path, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_model_folder: Callable[..., Path]) -> Path:
    """Return a folder with a small model in `model`."""
    home = tmp_path_factory.mktemp("explanation")
    make_model_folder(home / "model")
    return home


def test_the_walk_through_is_printed(folder: Path) -> None:
    done = run(folder, "walkthrough", "--model", "model", SENTENCE, "--reference", "der der")
    assert (done.returncode, done.stderr) == (0, "")
    titles = re.findall(r"^(\d+)\. .*-- section [3-6]\.\d", done.stdout, re.MULTILINE)
    assert titles == [str(number) for number in range(1, 17)]
    losses = re.findall(r"^    (\S+) +\d+\.\d{3}$", done.stdout.split("16. The loss")[1], re.MULTILINE)
    assert "".join(losses).replace("\N{OPEN BOX}", " ") == " der der</s>"


def test_the_walk_through_is_written_with_its_pictures(folder: Path) -> None:
    done = run(folder, "walkthrough", "--model", "model", SENTENCE, "--markdown", "page.md")
    assert (done.returncode, done.stdout) == (0, "The walk-through is page.md.\n"), done.stderr
    page = (folder / "page.md").read_text(encoding="utf-8")
    pictures = re.findall(r"^!\[[^]]+\]\((.+)\)$", page, re.MULTILINE)
    assert pictures == PICTURES
    for picture in pictures:
        assert (folder / picture).read_text(encoding="utf-8").startswith("<?xml")


def test_attention_is_drawn_of_a_given_translation(folder: Path) -> None:
    done = run(folder, "plot_attention", "--model", "model", SENTENCE, "--translation", "der Hund", "--output", "a.svg")
    assert (done.returncode, done.stdout) == (0, "The picture is a.svg.\n"), done.stderr
    drawn = (folder / "a.svg").read_text(encoding="utf-8")
    assert all(f">{word}</text>" in drawn for word in ("dog", "sleeps", "der", "Hund", "Alignment"))


def test_positions_are_drawn_without_a_model(tmp_path: Path) -> None:
    done = run(tmp_path, "plot_positions", "--d_model", "8", "--length", "12")
    assert (done.returncode, done.stdout) == (0, "The picture is positions.png.\n"), done.stderr
    assert (tmp_path / "positions.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["plot_attention", SENTENCE, "--output", "a.gif"], 1, "end it in .png or .svg"),
        (["plot_attention", SENTENCE, "--word", "dog"], 2, "add --heads encoder, decoder or cross"),
        (["plot_attention", SENTENCE, "--model", "nowhere at all"], 1, "neither a folder nor the id of a model"),
        (["walkthrough"], 1, "run this in the root folder of a clone, or give --model"),
        (["plot_positions", "--d_model", "7"], 2, "it must be even"),
        (["walkthrough", SENTENCE, "--model", "model", "--markdown", "model"], 1, "model"),
        (["walkthrough", " ", "--model", "model"], 1, "no visible characters"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_bad_input_is_an_error_of_one_line(
    folder: Path, words: list[str], status: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", words)
    main = import_module(f"sineformer.scripts.{words[0]}").main
    with pytest.raises(SystemExit) as ended:
        sys.exit(main())
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (status, "")
    assert message in said.err.splitlines()[-1]
    assert {path.name for path in folder.iterdir()} <= {"model", "page.md", "a.svg", *PICTURES}
