"""Test `scripts/translate.py` on long texts, with real processes that are interrupted and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

# Small windows, so that a short text has several. A shell without job control has its background processes, such as a
# test run, ignore SIGINT.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sineformer.training.pretrained import text_translation
text_translation.WINDOW = 2
from sineformer.scripts import translate
sys.exit(translate.command())
"""
LINES = [f"the dog sleeps {'der Hund ' * (number % 5)}" if number % 7 else "" for number in range(40)]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


@pytest.fixture(scope="module")
def command(make_model_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = make_model_folder(tmp_path_factory.mktemp("model"))
    return [sys.executable, "-c", PROGRAM, "--model", str(folder), "--device", "cpu", "--num_beams", "2"]


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists() and " Z " not in Path(f"/proc/{process}/stat").read_text()


def interrupt_in_the_middle(command: list[str], output: Path, number: signal.Signals) -> tuple[int, bytes]:
    """Run a command that gets only a part of its input, and send a signal when it has written something.

    Returns the exit status and the errors. The workers of the command must end too.
    """
    record = output.with_name(output.name + ".partial.json")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(TEXT[: len(TEXT) * 3 // 4])
        process.stdin.flush()
        while not (record.exists() and json.loads(record.read_text())["lines"]):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        workers = children(process.pid)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        errors = process.stderr.read() if number != signal.SIGKILL else b""
    while any(map(is_alive, workers)):
        time.sleep(0.05)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("out.txt", "2"), ("out.txt.gz", "1"), ("out.tsv", "1")])
def test_a_killed_run_resumes_to_the_same_bytes(command: list[str], tmp_path: Path, name: str, workers: str) -> None:
    options = ["--workers", workers, *(["--scores", "--num_return_sequences", "2"] if name == "out.tsv" else [])]
    expected, output = tmp_path / f"undisturbed-{name}", tmp_path / name
    subprocess.run([*command, *options, "--output", str(expected)], input=TEXT, check=True)
    interrupted = [*command, *options, "--output", str(output)]
    assert interrupt_in_the_middle(interrupted, output, signal.SIGKILL)[0] == -signal.SIGKILL
    assert not output.exists()
    refused = subprocess.run(interrupted, input=TEXT, capture_output=True)
    assert refused.returncode == 1
    assert b"lines of an interrupted run; continue with --resume, or remove it" in refused.stderr
    done = subprocess.run([*interrupted, "--resume"], input=TEXT, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert output.read_bytes() == expected.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, expected.name])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_and_says_what_is_kept(
    command: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out.txt"
    arguments = [*command, "--workers", "2", "--output", str(output)]
    status, errors = interrupt_in_the_middle(arguments, output, number)
    assert status == -number
    assert errors.startswith(f"{output}.partial keeps ".encode())
    assert errors.count(b"\n") == 1


@pytest.mark.slow
def test_several_workers_and_a_file_give_the_same_as_one_and_a_pipe(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(TEXT)
    one = subprocess.run([*command, "--workers", "1"], input=TEXT, capture_output=True, check=True)
    several = [*command, "--workers", "3", "--input", str(tmp_path / "in.txt"), "--max_tokens", "100"]
    assert subprocess.run(several, capture_output=True, check=True).stdout == one.stdout
    assert one.stdout.count(b"\n") == len(LINES)


@pytest.mark.slow
def test_an_error_in_a_worker_is_named(command: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "model"
    broken.mkdir()
    for file in Path(command[4]).iterdir():
        (broken / file.name).write_bytes(
            file.read_bytes()[:100] if file.suffix == ".safetensors" else file.read_bytes()
        )
    done = subprocess.run(
        [*command, "--model", str(broken), "--workers", "2", "a", "b"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the model cannot be loaded: ")
    assert done.stderr.count("\n") == 1
