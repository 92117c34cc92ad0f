"""Test that one and several processes give the same numbers, in training and evaluation."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

NO_DROPOUT = ["--dropout", "0", "--attention_dropout", "0"]


@pytest.fixture
def learn(runs: Any, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that trains with n processes, four batches per step in total; it returns the folder."""

    def learn_together(processes: int, *flags: str) -> Path:
        folder = tmp_path / f"processes-{processes}"
        accumulation = str(4 // processes)
        runs.start(folder, *NO_DROPOUT, "--gradient_accumulation_steps", accumulation, *flags, processes=processes)
        assert runs.end() == [0] * processes, runs.log.read_text()
        return folder

    return learn_together


@pytest.mark.slow
def test_two_and_four_processes_take_the_same_steps_as_one(runs: Any, learn: Callable[..., Path]) -> None:
    flags = ["--validation_size", "21", "--test_size", "13", "--max_steps", "12", "--eval_steps", "6"]
    alone, two, four = (learn(processes, *flags, "--logging_steps", "1") for processes in (1, 2, 4))
    assert [line["kind"] for line in runs.metrics(alone)].count("train") == 12
    assert [line["sentences"] for line in runs.metrics(alone) if line["kind"] != "train"] == [21, 21, 13]
    weights = load_file(alone / "model.safetensors")
    for together in (two, four):
        runs.assert_close(alone, together)
        others = load_file(together / "model.safetensors")
        # A bias of the keys cannot change a softmax. Its gradient is rounding, which Adam blows up to full steps.
        for name in [name for name in weights if not name.endswith("k_proj.bias")]:
            torch.testing.assert_close(others[name], weights[name], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_any_number_of_processes_gives_exactly_the_same_scores(runs: Any, tmp_path: Path) -> None:
    """Sets of 21, 13, 3 and 1 sentences; the last two leave some processes without work."""
    enough = ["--max_steps", "150", "--d_model", "32", "--encoder_ffn_dim", "64", "--learning_rate", "0.01"]
    runs.start(tmp_path / "model", *enough, "--dropout", "0", "--eval_steps", "75", "--save_steps", "150")
    assert runs.end() == [0], runs.log.read_text()
    (alone,) = runs.measure(tmp_path / "model", 1)
    assert [scores["sentences"] for scores, _ in alone] == [21, 21, 13, 13, 3, 3, 1, 1]
    scores, translations = alone[0]
    assert scores["bleu"] > 0
    assert len(set(translations)) > 10
    for processes in (2, 4):
        assert runs.measure(tmp_path / "model", processes) == [alone] * processes


@pytest.mark.slow
def test_another_number_of_processes_takes_the_same_batches(runs: Any, tmp_path: Path) -> None:
    undisturbed, changed = tmp_path / "undisturbed", tmp_path / "changed"
    flags = ["--max_steps", "20", *NO_DROPOUT, "--gradient_accumulation_steps"]
    runs.start(undisturbed, *flags, "4")
    assert runs.end() == [0]
    runs.start(changed, *flags, "4")
    runs.wait_until(lambda: (changed / "checkpoints" / "step-6").exists())
    runs.send(signal.SIGKILL)
    assert runs.end() == [-signal.SIGKILL]
    runs.start(changed, *flags, "2", "--resume", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    assert "The checkpoint is of 1 processes, this run has 2: batches, their order and" in runs.log.read_text()
    alone, both = runs.examples(undisturbed), runs.examples(changed)
    for step in range(1, 21):
        ranks = [both[step, rank] for rank in (0, 1) if (step, rank) in both]
        shares = [alone[step, 0]] if len(ranks) == 1 else [alone[step, 0][0::2], alone[step, 0][1::2]]
        assert ranks == shares
    assert (20, 1) in both
    runs.assert_close(undisturbed, changed)


@pytest.mark.slow
def test_two_processes_fine_tune_as_one_does(runs: Any, fine_tuning: list[str], learn: Callable[..., Path]) -> None:
    flags = [{"0.1": "0"}.get(word, word) for word in fine_tuning]
    runs.assert_close(learn(1, *flags, "--max_steps", "10"), learn(2, *flags, "--max_steps", "10"))


@pytest.mark.slow
def test_two_processes_equal_one_with_every_option(
    runs: Any, every_option: list[str], learn: Callable[..., Path]
) -> None:
    runs.assert_close(learn(1, *every_option), learn(2, *every_option))


SHARES = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.mark.slow
def test_sharded_weights_train_as_unsharded_ones_and_survive_a_kill(runs: Any, tmp_path: Path) -> None:
    alone, shares, killed, taken_over = (tmp_path / name for name in ("alone", "shares", "killed", "taken_over"))
    flags = ["--max_steps", "7", *NO_DROPOUT, "--gradient_accumulation_steps"]
    runs.start(alone, *flags, "4")
    assert runs.end() == [0], runs.log.read_text()
    runs.start(shares, *flags, "2", processes=2, **SHARES)
    assert runs.end() == [0, 0], runs.log.read_text()
    runs.assert_close(alone, shares)
    assert {path.name for path in shares.iterdir()} == {path.name for path in alone.iterdir()}
    for folder in (killed, taken_over):
        runs.start(folder, *flags, "2", processes=2, **SHARES)
        runs.wait_until(lambda folder=folder: (folder / "checkpoints" / "step-3").exists())
        runs.send(signal.SIGKILL)
        assert runs.end() == [-signal.SIGKILL] * 2, runs.log.read_text()
    runs.start(killed, *flags, "2", "--resume", processes=2, **SHARES)
    assert runs.end() == [0, 0], runs.log.read_text()
    runs.assert_same(killed, shares)
    runs.start(taken_over, *flags, "4", "--resume")
    assert runs.end() == [0], runs.log.read_text()
    runs.assert_close(alone, taken_over)
