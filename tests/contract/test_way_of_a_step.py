"""Budgets that keep a training run readable: the composition root, and the calls between a command and a gradient."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from sineformer.training.train import main

ROOT = Path(__file__).resolve().parent.parent.parent
TRAINING = ROOT / "training"
RUN_LINES = 250
RUN_IMPORTS = 18
FRAMES = 8

SMALL = [
    *("--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2"),
    *("--decoder_attention_heads", "2", "--encoder_ffn_dim", "16", "--decoder_ffn_dim", "16", "--vocab_size", "400"),
    *("--dataset", "embedded"),
    *("--train_size", "50", "--validation_size", "5", "--test_size", "5", "--max_tokens", "400", "--max_steps", "1"),
]


class GradientReached(BaseException):
    """Ends a run at its first gradient."""


@pytest.mark.parametrize(
    "data", [[], ["--streaming", "true", "--tokenizer_sample", "50"]], ids=["mapped batches", "streamed batches"]
)
def test_few_calls_lie_between_the_command_and_a_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: list[str]
) -> None:
    calls: list[str] = []

    def backward(self: Accelerator, loss: Any, **options: Any) -> None:
        frames = [frame for frame in inspect.stack(0) if Path(frame.filename).is_relative_to(TRAINING)]
        calls.extend(frame.function for frame in frames)
        raise GradientReached

    monkeypatch.setattr(Accelerator, "backward", backward)
    with pytest.raises(GradientReached):
        main(["--output_dir", str(tmp_path / "run"), "--use_cpu", *SMALL, *data])
    assert calls[-1] == "main"
    assert len(calls) <= FRAMES, " <- ".join(calls)


def _source(file: str) -> str:
    return (TRAINING / file).read_text(encoding="utf-8")


def test_the_composition_root_of_a_run_is_short_and_knows_few_modules() -> None:
    source = _source("run.py")
    ours = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level]
    assert len(source.splitlines()) <= RUN_LINES
    assert len(ours) <= RUN_IMPORTS, [node.module for node in ours]


@pytest.mark.parametrize("file", ["run.py", "learning/loop.py"])
def test_neither_the_run_nor_its_loop_asks_which_kind_of_data_it_has(file: str) -> None:
    names = {node.id for node in ast.walk(ast.parse(_source(file))) if isinstance(node, ast.Name)}
    assert names.isdisjoint({"isinstance", "type", "MappedBatches", "StreamedBatches", "Corpus", "TextStream"})
