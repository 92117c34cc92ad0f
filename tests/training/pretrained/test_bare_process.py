"""Test loading a folder in a process that cannot import Sineformer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sineformer.training.pretrained import bare_process
from sineformer.training.pretrained.bare_process import BareProcessError, digest_in_bare_process


def test_the_package_is_hidden_wherever_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "sineformer").mkdir()
    (tmp_path / "sineformer" / "__init__.py").touch()
    (tmp_path / "transformers.py").write_text("import sineformer")
    command = [sys.executable, "-I", "-S", bare_process.__file__, "translate", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, input="")
    assert done.returncode != 0
    assert "import of sineformer halted" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_folder_that_does_not_load_gives_an_error_of_one_line(
    tmp_path: Path, make_model_folder: Callable[..., Path]
) -> None:
    folder = make_model_folder(tmp_path / "model")
    (folder / "layers.py").write_text("raise ValueError('broken on purpose')")
    with pytest.raises(BareProcessError, match=r"^ValueError: broken on purpose$"):
        digest_in_bare_process(folder, ["A dog."])
