"""Test runs with gradients and moments sharded by DeepSpeed."""

import importlib.util
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SHARES = {
    **{"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"},
    "ACCELERATE_CONFIG_DS_FIELDS": "zero_stage,offload_optimizer_device",  # as `accelerate launch` tells
}
IMPORTED = ("deepspeed", "deepspeed.runtime.zero.muon.muon_optimizer")
FLAGS = ["--max_steps", "7", "--dropout", "0", "--attention_dropout", "0", "--gradient_accumulation_steps"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"),
]


@pytest.fixture(scope="session")
def runs(runs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start runs, one at a time, in a process that has imported DeepSpeed: the import takes longer than the runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DS_ACCELERATOR", "cpu")
        imported = type(runs)(tmp_path_factory.mktemp("zero"), *IMPORTED)
    yield imported
    imported.close()


def kill_after_a_checkpoint(runs: Any, folder: Path, *flags: str, processes: int, **environment: str) -> None:
    runs.start(folder, *flags, processes=processes, **environment)
    runs.wait_until(lambda: (folder / "checkpoints" / "step-3").exists())
    runs.send(signal.SIGKILL)
    assert runs.end() == [-signal.SIGKILL] * processes, runs.log.read_text()


def assert_same_weights(folder: Path, other: Path) -> None:
    weights, others = (load_file(each / "model.safetensors") for each in (folder, other))
    # A bias of the keys cannot change a softmax. Its gradient is rounding, which Adam blows up to full steps.
    for name in [name for name in weights if not name.endswith("k_proj.bias")]:
        torch.testing.assert_close(others[name], weights[name], rtol=0, atol=1e-5)


def test_sharded_moments_train_as_unsharded_ones_and_survive_a_kill(runs: Any, tmp_path: Path) -> None:
    alone, shares, killed = (tmp_path / name for name in ("alone", "shares", "killed"))
    to_full, from_full = tmp_path / "to_full", tmp_path / "from_full"
    flags = ["--max_grad_norm", "0.5", "--logging_steps", "1", *FLAGS]
    runs.start(alone, *flags, "6")
    assert runs.end() == [0], runs.log.read_text()
    assert all(line["gradient_norm"] > 0.5 for line in runs.metrics(alone) if line["kind"] == "train")
    runs.start(shares, *flags, "3", processes=2, **SHARES)
    assert runs.end() == [0, 0], runs.log.read_text()
    assert "WARNING" not in runs.log.read_text()
    runs.assert_close(alone, shares)
    assert_same_weights(alone, shares)
    assert {path.name for path in shares.iterdir()} == {path.name for path in alone.iterdir()}
    kill_after_a_checkpoint(runs, killed, *flags, "3", processes=2, **SHARES)
    runs.start(killed, *flags, "3", "--resume", processes=2, **SHARES)
    assert runs.end() == [0, 0], runs.log.read_text()
    runs.assert_same(killed, shares)
    kill_after_a_checkpoint(runs, to_full, *flags, "3", processes=2, **SHARES)
    runs.start(to_full, *flags, "6", "--resume")
    assert runs.end() == [0], runs.log.read_text()
    kill_after_a_checkpoint(runs, from_full, *flags, "6", processes=1)
    runs.start(from_full, *flags, "3", "--resume", processes=2, **SHARES)
    assert runs.end() == [0, 0], runs.log.read_text()
    for folder in (to_full, from_full):
        runs.assert_close(alone, folder)
        assert_same_weights(alone, folder)


def test_a_step_whose_loss_is_infinite_in_one_process_is_skipped_by_all(runs: Any, tmp_path: Path) -> None:
    single, sharded = tmp_path / "single", tmp_path / "sharded"
    for folder, environment in ((single, {}), (sharded, SHARES)):
        averages = ["--average_checkpoints", "2", "--eval_steps", "3"]
        runs.start(folder, *averages, *FLAGS, "3", processes=2, failure=(1, "overflows"), **environment)
        assert runs.end() == [0, 0], runs.log.read_text()
    assert [line["step"] for line in runs.metrics(sharded) if line["kind"] == "skipped"] == [2]
    runs.assert_close(single, sharded)
    assert_same_weights(single, sharded)


def test_moments_of_adapters_are_sharded_in_bf16_too(runs: Any, base: Path, tmp_path: Path) -> None:
    alone, shares = tmp_path / "alone", tmp_path / "shares"
    adapters = ["--model_name_or_path", str(base), "--lora_r", "3", "--lora_target_modules", "all-linear"]
    adapters += ["--mixed_precision", "bf16", "--logging_steps", "1"]
    runs.start(alone, *adapters, *FLAGS, "2")
    assert runs.end() == [0], runs.log.read_text()
    kill_after_a_checkpoint(runs, shares, *adapters, *FLAGS, "1", processes=2, **SHARES)
    runs.start(shares, *adapters, *FLAGS, "1", "--resume", processes=2, **SHARES)
    assert runs.end() == [0, 0], runs.log.read_text()
    # Validation is in bf16 for the one and in fp32 for the other.
    losses = [[line["loss"] for line in runs.metrics(folder) if line["kind"] == "train"] for folder in (alone, shares)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert_same_weights(alone, shares)
