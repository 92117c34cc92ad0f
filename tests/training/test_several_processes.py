"""Runs of several processes, started by `accelerate launch` and joined by gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

CPU = Path(__file__).parents[2] / "training" / "accelerate"
SMALL = [
    *("--train_size", "300", "--validation_size", "21", "--test_size", "13", "--vocab_size", "400"),
    *("--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2"),
    *("--decoder_attention_heads", "2", "--encoder_ffn_dim", "16", "--decoder_ffn_dim", "16", "--dropout", "0"),
    *("--max_tokens", "400", "--warmup_steps", "4", "--max_steps", "6", "--eval_steps", "3", "--logging_steps", "1"),
    *("--use_cpu", "--report_to", "none"),
]
pytestmark = pytest.mark.slow


def train(accelerate_config: str, output_dir: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CPU / accelerate_config)]
    program = ["-m", "sineformer.training.train", *SMALL, *flags, "--output_dir", str(output_dir)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *program], env=environment, capture_output=True, text=True, check=False)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_take_the_steps_of_one_on_the_same_global_batch(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for config, folder, accumulation in (("cpu.yaml", one, "4"), ("multi_cpu.yaml", two, "2")):
        done = train(config, folder, "--gradient_accumulation_steps", accumulation)
        assert done.returncode == 0, done.stderr
    assert len(metrics(one)) == len(metrics(two)) == 6 + 2 + 1
    for alone, together in zip(metrics(one), metrics(two), strict=True):
        assert (alone["kind"], alone["step"]) == (together["kind"], together["step"])
        assert together["loss"] == pytest.approx(alone["loss"], abs=1e-5)
        if alone["kind"] == "train":
            assert together["gradient_norm"] == pytest.approx(alone["gradient_norm"], abs=1e-5)
        else:
            assert (together["bleu"], together["chrf"]) == (alone["bleu"], alone["chrf"])
            assert together["sentences"] == {"validation": 21, "test": 13}[alone["kind"]]
    weights = [load_file(folder / "model.safetensors") for folder in (one, two)]
    # A bias of the keys cannot change a softmax. Its gradient is rounding, which Adam blows up to steps of full size.
    for name in [name for name in weights[0] if not name.endswith("k_proj.bias")]:
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=0, atol=1e-5)


def test_only_one_of_the_processes_speaks(tmp_path: Path) -> None:
    done = train("multi_cpu.yaml", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train: 300 sentence pairs read") == 1
    assert done.stderr.count("step 1/6") == 1


def test_a_loss_that_is_not_finite_ends_all_processes_with_one_message(tmp_path: Path) -> None:
    done = train("multi_cpu.yaml", tmp_path / "out", "--learning_rate", "1e38", "--max_skipped_steps", "0")
    assert done.returncode != 0
    assert done.stderr.count("error: step 2: the loss is") == 1
