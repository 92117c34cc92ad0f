"""Ctrl-C ends training with one line at any moment: while it imports, loads data or measures the best model."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WAYS = {
    "script": [str(ROOT / "scripts" / "train.py")],
    "module": ["-m", "sineformer.training.train"],
    "command": [str(Path(sys.executable).with_name("sineformer-train"))],
}
# Prints a line where a run waits, in the place of a function of it.
WAIT_IN = """
import sys, time
from sineformer.training import run, train
from sineformer.training.checkpoints.selection import Selection
from sineformer.training.system.command_line import run_command
def wait(*_):
    print("waits", file=sys.stderr, flush=True)
    time.sleep(60)
{place} = wait
sys.exit(run_command(train.main, clear_up=False))
"""
SMALL = [
    *("--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2"),
    *("--decoder_attention_heads", "2", "--encoder_ffn_dim", "16", "--decoder_ffn_dim", "16", "--vocab_size", "400"),
    *("--dataset", "embedded", "--train_size", "50", "--validation_size", "5", "--test_size", "5", "--use_cpu"),
    *("--max_tokens", "400", "--max_steps", "1", "--report_to", "none", "--best_metric", "loss"),
]


def heed_interrupts() -> None:
    """Undo that a test run in the background ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(command: list[str], when: str) -> tuple[int, list[str]]:
    """Send SIGINT when a line of the error output contains `when`; return the status and the lines after that."""
    with subprocess.Popen(
        [sys.executable, *command], stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if when in line:
                break
        else:
            pytest.fail(f"no line contains {when!r}")
        process.send_signal(signal.SIGINT)
        rest = [line for line in process.stderr.read().splitlines() if not line.startswith("import time:")]
    return process.returncode, rest


@pytest.mark.parametrize("way", WAYS)
def test_while_starting(way: str) -> None:
    status, lines = interrupt(["-X", "importtime", *WAYS[way]], " transformers.utils")
    assert (status, lines) == (-signal.SIGINT, ["interrupted while starting; nothing was saved"])


def test_importing_the_package_leaves_ctrl_c_alone() -> None:
    program = "import signal, sineformer; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=heed_interrupts)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.slow
def test_while_data_are_loaded(tmp_path: Path) -> None:
    program = WAIT_IN.format(place="run.load_data")
    status, lines = interrupt(["-c", program, *SMALL, "--output_dir", str(tmp_path / "run")], "waits")
    assert (status, lines) == (-signal.SIGINT, ["interrupted; nothing was saved"])
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_while_the_best_model_is_measured(tmp_path: Path) -> None:
    program = WAIT_IN.format(place="Selection.finish")
    arguments = [*SMALL, "--output_dir", str(tmp_path / "run")]
    status, lines = interrupt(["-c", program, *arguments], "waits")
    assert (status, lines) == (-signal.SIGINT, ["interrupted; --resume continues from the latest checkpoint"])
    resumed = subprocess.run([sys.executable, *WAYS["module"], *arguments, "--resume"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from" in resumed.stderr

    program = WAIT_IN.format(place="run.report")
    arguments[-1] = str(tmp_path / "complete")
    status, lines = interrupt(["-c", program, *arguments], "waits")
    assert (status, lines) == (-signal.SIGINT, [f"interrupted; the model in {tmp_path / 'complete'} is complete"])
