"""Fixtures that several test files share: interpreters that have torch and transformers, and nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
WHAT_A_USER_INSTALLS = ("torch", "transformers")


@dataclass(frozen=True)
class BarePython:
    """An interpreter that can import torch and transformers and cannot import sineformer, accelerate or datasets.

    Attributes:
        executable: the interpreter.
        home: an empty folder: where programs run, and where Hugging Face libraries keep their caches.
    """

    executable: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment that programs run in: offline, caches of its own, none of the caller's settings of these."""
        foreign = ("PYTHON", "HF_", "TRANSFORMERS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return kept | {"HF_HOME": str(self.home / "hf"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run Python source with `sys.argv[1:]` given; returns what it printed, or fails with its error output."""
        command = [str(self.executable), "-I", "-c", program, *map(str, arguments)]
        done = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"the program exited with {done.returncode}:\n{done.stderr}"
        return done.stdout


def _needed_distributions(names: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """Every installed distribution that `names` need without extras, each once, themselves included."""
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        yield distribution
        requirements = map(Requirement, distribution.requires or [])
        waiting += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]


def _link_distribution(distribution: metadata.Distribution, site_packages: Path) -> None:
    """Link the top-level files and folders of an installed distribution into another site-packages."""
    for name in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        link = site_packages / name
        if not link.exists():  # namespace packages such as `nvidia` belong to several distributions
            link.symlink_to(Path(str(distribution.locate_file(name))))


def _interpreter(environment: Path) -> Path:
    return environment / "bin" / "python"


def _link_environment(home: Path) -> BarePython:
    venv.create(home / "venv", symlinks=True, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for distribution in _needed_distributions(WHAT_A_USER_INSTALLS):
        _link_distribution(distribution, home / "venv" / "lib" / version / "site-packages")
    return BarePython(_interpreter(home / "venv"), home)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> BarePython:
    """A virtual environment whose packages are links to the installed torch, transformers and what they need: no more.

    Links instead of an installation make it ready in a second. Nothing else of the running environment is visible
    there, however Sineformer itself is installed.
    """
    return _link_environment(tmp_path_factory.mktemp("bare"))


@pytest.fixture
def own_bare_python(tmp_path: Path) -> BarePython:
    """Like `bare_python`, for this test alone: it may install something there."""
    return _link_environment(tmp_path)


@pytest.fixture(scope="session")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> BarePython:
    """A new virtual environment into which pip installed torch and transformers. For slow tests: it takes a minute."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home / "venv", symlinks=True, with_pip=True)
    python = str(_interpreter(home / "venv"))
    install = ["install", "-qq", "-c", str(ROOT / "constraints.txt"), *WHAT_A_USER_INSTALLS]
    subprocess.run([python, "-m", "pip", *install], cwd=home, check=True)
    return BarePython(Path(python), home)
