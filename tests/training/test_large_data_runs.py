"""Runs whose training data are in files or come as a stream, stopped and resumed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from sineformer.training.interruption import STOPPED
from sineformer.training.progress import RunLog
from sineformer.training.train import main

SETTINGS = {
    **{"train_size": "203", "validation_size": "6", "test_size": "5", "vocab_size": "400", "d_model": "16"},
    **{"encoder_layers": "1", "decoder_layers": "1", "encoder_attention_heads": "2", "decoder_attention_heads": "2"},
    **{"encoder_ffn_dim": "16", "decoder_ffn_dim": "16", "max_position_embeddings": "32", "max_length": "32"},
    **{"max_tokens": "200", "gradient_accumulation_steps": "2", "warmup_steps": "4", "num_epochs": "2"},
    **{"best_metric": "loss", "logging_steps": "2", "save_steps": "3", "num_beams": "1"},
    **{"use_cpu": "true", "report_to": "none"},
}
STREAM = ["--streaming", "true", "--tokenizer_sample", "150", "--shuffle_buffer", "40"]


def arguments_of(folder: Path, *flags: str) -> list[str]:
    given = {flag.removeprefix("--") for flag in flags}
    kept = [word for key, value in SETTINGS.items() if key not in given for word in (f"--{key}", value)]
    return [*kept, "--output_dir", str(folder), *flags]


def stop_at(step: int, arguments: list[str]) -> int:
    """Send SIGTERM to this process in the middle of a step."""
    log_step = RunLog.step

    def step_with_signal(self: RunLog, number: int, *rest: Any) -> None:
        if number == step:
            signal.raise_signal(signal.SIGTERM)
        log_step(self, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLog, "step", step_with_signal)
        return main(arguments)


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timing = ("seconds", "tokens_per_second")
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


@pytest.mark.parametrize(
    "way",
    [pytest.param("cache", marks=pytest.mark.slow), "stream", pytest.param("stream_workers", marks=pytest.mark.slow)],
)
def test_a_run_that_is_stopped_twice_ends_as_if_it_had_not_been(tmp_path: Path, way: str) -> None:
    flags = ["--cache_dir", str(tmp_path / "cache")] if way == "cache" else STREAM
    flags = [*flags, "--stream_workers", "1"] if way == "stream_workers" else flags
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    assert main(arguments_of(undisturbed, *flags)) == 0
    lines = metrics(undisturbed)
    in_epoch = next(line["step"] for line in lines if line["kind"] == "validation")
    assert [line["step"] for line in lines if line["kind"] == "validation"][1] > in_epoch > 5
    assert stop_at(4, arguments_of(stopped, *flags)) == STOPPED
    assert stop_at(in_epoch, arguments_of(stopped, *flags, "--resume")) == STOPPED
    assert main(arguments_of(stopped, *flags, "--resume")) == 0
    assert metrics(stopped) == lines
    assert (stopped / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
