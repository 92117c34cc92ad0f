from pathlib import Path
from typing import Any

import pytest

from sineformer.training.checkpoint import BestCheckpoint, is_better, prepare_output_dir, write_folder
from sineformer.training.evaluation import Scores
from sineformer.training.tokenizer import load_tokenizers


def scores(loss: float = 1.0, bleu: float = 10.0, chrf: float = 20.0) -> Scores:
    return Scores(loss, bleu, chrf, 0.0, "", "", 1, 1)


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"

    def write_half(aside: Path) -> None:
        (aside / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_folder(folder, write_half)
    assert not folder.exists()
    write_folder(folder, lambda aside: (aside / "whole").write_text("x") and None)
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [
        ("loss", scores(loss=1.0, bleu=1.0), scores(loss=2.0, bleu=9.0)),
        ("bleu", scores(bleu=9.0, loss=3.0), scores(bleu=1.0, loss=1.0)),
        ("chrf", scores(chrf=9.0, loss=3.0), scores(chrf=1.0, loss=1.0)),
        ("bleu", scores(bleu=0.0, loss=1.0), scores(bleu=0.0, loss=2.0)),
    ],
)
def test_the_metric_decides_and_between_equals_the_loss(metric: str, better: Scores, worse: Scores) -> None:
    assert is_better(better, worse, metric)
    assert not is_better(worse, better, metric)
    assert not is_better(better, better, metric)


def test_evaluations_without_improvement_are_counted_in_a_row(tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path, "bleu")
    seen = [(best.judge(step, scores(bleu=bleu)), best.evaluations_since) for step, bleu in enumerate([5, 4, 3, 6, 6])]
    assert seen == [(True, 0), (False, 1), (False, 2), (True, 0), (False, 1)]
    assert best.step == 3


def test_only_the_best_checkpoint_stays_and_ends_in_the_output_folder(
    tmp_path: Path, small_model: Any, small_tokenizers: Any
) -> None:
    best = BestCheckpoint(tmp_path, "bleu")
    for step, bleu in ((10, 5.0), (20, 7.0)):
        assert best.judge(step, scores(bleu=bleu))
        best.save(small_model, small_tokenizers)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-20"]
    (tmp_path / "config.json").write_text("of an earlier run")
    best.publish()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert {"modeling_sineformer.py", "configuration_sineformer.py"} <= names
    assert "checkpoints" not in names
    assert type(small_model).from_pretrained(tmp_path).config.d_model == small_model.config.d_model
    assert load_tokenizers(tmp_path).joint


def test_an_output_folder_loses_only_what_would_mix_with_the_new_run(tmp_path: Path) -> None:
    for name in ("checkpoints/step-3", "target_tokenizer", "tensorboard"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("metrics.jsonl", "thesis.txt"):
        (tmp_path / name).write_text("x")
    prepare_output_dir(tmp_path, ("metrics.jsonl", "tensorboard"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
