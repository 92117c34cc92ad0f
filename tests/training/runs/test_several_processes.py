"""Test runs of several processes, started by `accelerate launch` and connected by gloo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TWO_PROCESSES = Path(__file__).parents[3] / "training" / "accelerate" / "multi_cpu.yaml"
FAILING_RUN = Path(__file__).with_name("failing_run.py")
NEVER_SECONDS = 120
ROOT_CAUSE = "Root Cause (first observed failure):\n"  # the last block of the launcher's report
SMALL = [
    *("--dataset", "embedded"),
    *("--train_size", "300", "--validation_size", "21", "--test_size", "13", "--vocab_size", "400"),
    *("--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2"),
    *("--decoder_attention_heads", "2", "--encoder_ffn_dim", "16", "--decoder_ffn_dim", "16", "--dropout", "0"),
    *("--max_tokens", "400", "--warmup_steps", "4", "--max_steps", "6", "--eval_steps", "3", "--logging_steps", "1"),
    *("--use_cpu", "--report_to", "none"),
]
pytestmark = pytest.mark.slow


def launch(*program: str) -> "subprocess.CompletedProcess[str]":
    """Start a program in two processes and wait until both have ended, or fail after a time limit."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(TWO_PROCESSES)]
    command = [*launcher, *program, *SMALL]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=NEVER_SECONDS)


def train(output_dir: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    return launch("-m", "sineformer.training.train", *flags, "--output_dir", str(output_dir))


def test_only_one_of_the_processes_prints(tmp_path: Path) -> None:
    done = train(tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train: 300 sentence pairs read") == 1
    assert done.stdout.count("Translate with it:") == 1
    assert done.stderr.count("step 1/6") == 1


def test_a_loss_that_is_not_finite_ends_all_processes_with_one_message(tmp_path: Path) -> None:
    done = train(tmp_path / "out", "--learning_rate", "1e38", "--max_skipped_steps", "0")
    assert done.returncode != 0
    of_processes, _, of_launcher = done.stderr.partition("Traceback (most recent call last)")
    assert of_processes.count("error: step 2: the loss is") == 1
    assert "error: step 2: the loss is" in of_launcher.rpartition(ROOT_CAUSE)[2]


@pytest.mark.parametrize(
    ("way", "exit_code", "message"),
    [
        ("raises", 1, "ValueError: a mistake of this process alone"),
        ("killed", -9, "Signal 9 (SIGKILL) received by PID"),
        ("no data", 1, "error: train.en: no such file on this machine"),
    ],
)
def test_a_process_that_fails_ends_the_run_and_the_launcher_shows_its_error_last(
    tmp_path: Path, way: str, exit_code: int, message: str
) -> None:
    """The block `Root Cause` is the last one of the launcher's report."""
    done = launch(str(FAILING_RUN), way, "1", "--output_dir", str(tmp_path / "run"))
    assert done.returncode != 0
    _, title, last = done.stderr.rpartition(ROOT_CAUSE)
    assert title, done.stderr
    assert "rank      : 1 (local_rank: 1)" in last
    assert f"exitcode  : {exit_code} " in last
    *report, rule = last.rstrip().splitlines()
    assert set(rule) == {"="}
    assert message in report[-1]
