"""Test what a resumed run reads, and what it does not repeat."""

import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sineformer.training.evaluation.scores import Scores
from sineformer.training.monitoring.run_log import RunLog
from sineformer.training.train import main

FLAGS = [
    *("--dataset", "embedded"),
    *("--train_size", "120", "--validation_size", "4", "--test_size", "3", "--vocab_size", "400", "--d_model", "16"),
    *("--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2", "--encoder_ffn_dim", "16"),
    *("--decoder_attention_heads", "2", "--decoder_ffn_dim", "16", "--max_tokens", "200", "--warmup_steps", "2"),
    *("--max_length", "32", "--max_position_embeddings", "32"),
    *("--max_steps", "6", "--eval_steps", "2", "--best_metric", "loss", "--logging_steps", "1", "--num_beams", "1"),
    *("--save_steps", "1", "--use_cpu", "true", "--report_to", "none", "--max_unusable_share", "0.6"),
]
STREAM = ["--streaming", "true", "--tokenizer_sample", "90", "--shuffle_buffer", "40"]


def train(folder: Path, *flags: str) -> int:
    return main([*FLAGS, "--output_dir", str(folder), *flags])


def train_and_stop(folder: Path, *flags: str) -> None:
    """Train until a signal comes in the third step."""
    log_step = RunLog.step

    def step_with_signal(self: RunLog, number: int, *rest: Any) -> None:
        if number == 3:
            signal.raise_signal(signal.SIGTERM)
        log_step(self, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLog, "step", step_with_signal)
        assert train(folder, *flags) == 75


def count_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each file is read as text, by the names of folder and file."""
    reads: Counter[str] = Counter()
    read_text = Path.read_text

    def counting(self: Path, *arguments: Any, **options: Any) -> str:
        reads[f"{self.parent.name}/{self.name}"] += 1
        return read_text(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", counting)
    return reads


@pytest.mark.parametrize(
    "flags",
    [["--bpe_dropout", "0.1"], [*STREAM, "--target_vocab_size", "380"], ["--cache_dir", "cache"]],
    ids=["mapped", "streamed", "cached"],
)
def test_a_resumed_run_loads_its_vocabulary_and_ends_with_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(tmp_path / "undisturbed", *flags) == 0
    train_and_stop(tmp_path / "stopped", *flags)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)

    def trained_again(*_: Any, **__: Any) -> None:
        raise AssertionError("the vocabulary is trained again")

    monkeypatch.setattr("tokenizers.trainers.BpeTrainer", trained_again)
    # Of one checkpoint: that with the vocabulary is removed before the end.
    assert train(tmp_path / "stopped", *flags, "--resume", "--save_total_limit", "1") == 0
    of_the_run = {"README.md", "metrics.jsonl", "training_args.yaml"}  # with the name of the folder, or times
    ends = [
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in of_the_run
        }
        for folder in (tmp_path / "undisturbed", tmp_path / "stopped")
    ]
    assert ends[0] == ends[1]


def test_the_state_of_a_checkpoint_and_its_settings_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_and_stop(tmp_path / "run")
    reads = count_reads(monkeypatch)
    monkeypatch.setattr("sineformer.training.run.Trainer.run", lambda self, *_: None)
    scores = Scores(1.0, {}, {}, 1, 1)
    monkeypatch.setattr("sineformer.training.run.Selection.finish", lambda self, *_: scores)
    assert train(tmp_path / "run", "--resume") == 0
    assert reads["step-3/trainer_state.json"] == 1
    assert reads["step-3/training_args.yaml"] == 1
    assert reads["step-2/trainer_state.json"] == 0


def test_a_checkpoint_can_be_named_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_and_stop(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run" / "checkpoints")
    assert train(tmp_path / "run", "--resume", "step-2") == 0


@pytest.mark.parametrize("content", ["a: [", "", "- a list"])
def test_damaged_settings_are_an_error_that_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "training_args.yaml").write_text(content)
    assert train(tmp_path, "--resume") == 1
    error = capsys.readouterr().err
    assert f"error: {tmp_path / 'training_args.yaml'} " in error
    assert "; restore or remove it" in error


def test_another_validation_size_is_found_by_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_and_stop(tmp_path / "run")
    flags = ["5" if before == "--validation_size" else flag for before, flag in zip(["", *FLAGS], FLAGS, strict=False)]
    assert main([*flags, "--output_dir", str(tmp_path / "run"), "--resume"]) == 1
    assert "changed: validation" in capsys.readouterr().err
