"""Test what `scripts/app.py` says of a model and an address that it cannot use; the page has its tests beside it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra app, which `make test-slow` installs")
pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "scripts" / "app.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_a_model_that_does_not_load_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = run("--model", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"error: {tmp_path} holds no config.json")


def test_a_port_that_is_not_free_is_one_line_and_status_1(
    tmp_path: Path, make_model_folder: Callable[..., Path]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("--model", make_model_folder(tmp_path / "model"), "--port", port)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"error: the page cannot be served at 127.0.0.1, port {port}: ")


def test_a_space_of_a_folder_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = run("--model", tmp_path, "--write_space", tmp_path / "space")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert not (tmp_path / "space").exists()
