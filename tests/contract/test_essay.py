"""Test the essay in docs/: its Python runs, its commands draw its pictures, and the code that it names exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sineformer.training.explanation.pages import PICTURES, picture_path
from sineformer.training.pretrained.loading import SHIPPED_MODEL

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
ESSAY = (DOCS / "attention.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
LARGEST_PICTURE = 150_000  # bytes


def blocks(language: str) -> list[str]:
    """Return the code blocks of the essay in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", ESSAY, re.MULTILINE | re.DOTALL)


def pictures() -> set[str]:
    """Return the pictures of the essay, and those that the README takes from docs/."""
    return {*re.findall(r"!\[[^]]*\]\(([^)]+)\)", ESSAY), *re.findall(r"!\[[^]]*\]\(docs/([^)]+)\)", README)}


def table() -> list[tuple[str, str, str]]:
    """Return section, file and name of each row of the table from the paper to the code."""
    rows = re.findall(r"^\| ([3-6]\.\d.*?) \|.*\| `(\S+\.py)` \| (.+) \|$", ESSAY, re.MULTILINE)
    return [(section, file, name) for section, file, names in rows for name in re.findall(r"`([^`]+)`", names)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a copy of the shipped model."""
    home = tmp_path_factory.mktemp("essay")
    shutil.copytree(ROOT / SHIPPED_MODEL, home / SHIPPED_MODEL)
    (home / "docs").mkdir()
    return home


def test_the_python_blocks_run_in_order(folder: Path) -> None:
    program = "\n".join(blocks("python"))
    assert program.count("assert") >= 10
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_commands_draw_every_picture(folder: Path) -> None:
    for block in blocks("sh"):
        for line in block.splitlines():
            words = shlex.split(line)
            command = [sys.executable, str(ROOT / words[1]), *words[2:]]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, (line, done.stderr)
    drawn = {path.name for path in (folder / "docs").iterdir()}
    assert pictures() | {"walkthrough.md"} <= drawn


def test_the_pictures_are_there_and_small() -> None:
    walkthrough = {picture_path(DOCS / "walkthrough.md", name).name for name in PICTURES}
    assert walkthrough <= pictures()
    sizes = {name: (DOCS / name).stat().st_size for name in pictures()}
    assert {name: size for name, size in sizes.items() if size > LARGEST_PICTURE} == {}


def test_links_lead_to_files() -> None:
    targets = [link for link in re.findall(r"\]\(([^)]+)\)", ESSAY) if "://" not in link]
    assert [link for link in targets if not (DOCS / link).exists()] == []


@pytest.mark.parametrize(("section", "file", "name"), table())
def test_the_table_names_code_that_exists(
    section: str, file: str, name: str, is_defined: Callable[[str, str], bool]
) -> None:
    assert is_defined(file, name)


def test_the_table_has_every_section_of_the_architecture() -> None:
    sections = {section.split(",")[0] for section, _, _ in table()}
    assert sections >= {"3.1", "3.2.1", "3.2.2", "3.2.3", "3.3", "3.4", "3.5", "5.1", "5.3", "5.4", "6.1"}
