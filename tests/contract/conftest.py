"""Provide the files of the project and its wheel to the contract tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OFFLINE = ["--quiet", "--no-deps", "--no-index"]

Pip = Callable[..., None]


@pytest.fixture(scope="session")
def project_files() -> list[str]:
    """Return the files of the project, those not yet added to git included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def pip() -> Pip:
    """Return a function that runs pip without a registry, and shows its output if it fails."""

    def run(*arguments: str) -> None:
        done = subprocess.run([sys.executable, "-m", "pip", *arguments, *OFFLINE], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="session")
def build_wheel(pip: Pip) -> Callable[[Path, Path], Path]:
    """Return a function that builds the wheel of a source tree in a folder."""

    def build(source: Path, folder: Path) -> Path:
        pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
        (wheel,) = folder.glob("*.whl")
        return wheel

    return build


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, project_files: list[str]) -> Path:
    """Copy the files of the project into a folder of another name, like a clone."""
    copy = tmp_path_factory.mktemp("clone") / "any-name"
    for name in project_files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory, build_wheel: Callable[[Path, Path], Path]) -> Path:
    """Build the wheel of that copy."""
    return build_wheel(tree, tmp_path_factory.mktemp("wheel"))
