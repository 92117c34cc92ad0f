from pathlib import Path
from typing import Any

import pytest

from sineformer.training.checkpoints.checkpoint import (
    BestCheckpoint,
    end_checkpoints,
    prepare_output_dir,
    remove_old_checkpoints,
)
from sineformer.training.data.tokenizer import load_tokenizers
from sineformer.training.evaluation.scores import Scores, is_better
from sineformer.training.system.files import damage_of
from sineformer.training.system.output_folder import state_folder, state_folders


def scores(loss: float = 1.0, bleu: float = 10.0, chrf: float = 20.0) -> Scores:
    return Scores(loss, {"bleu": bleu, "chrf": chrf}, {}, 1, 1)


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


def test_the_best_model_is_copied_into_the_output_folder_and_all_checkpoints_end(
    tmp_path: Path, small_model: Any, small_tokenizers: Any
) -> None:
    best = BestCheckpoint(tmp_path, "bleu")
    for step, bleu in ((10, 5.0), (20, 7.0)):
        assert best.judge(step, scores(bleu=bleu))
        best.save(small_model, small_tokenizers)
        remove_old_checkpoints(best, 2, lambda _: None)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best-20"]
    (tmp_path / "config.json").write_text("of an earlier run")
    best.publish()
    assert damage_of(best.folder) is None, "until the run has ended, going on from a checkpoint needs it"
    end_checkpoints(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert {"modeling_sineformer.py", "configuration_sineformer.py"} <= names
    assert not {"checkpoints", "manifest.json"} & names
    assert type(small_model).from_pretrained(tmp_path).config.d_model == small_model.config.d_model
    assert load_tokenizers(tmp_path).joint


def test_an_output_folder_loses_only_what_would_mix_with_the_new_run(tmp_path: Path) -> None:
    for name in ("checkpoints/step-3", "target_tokenizer", "tensorboard"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("metrics.jsonl", "thesis.txt"):
        (tmp_path / name).write_text("x")
    prepare_output_dir(tmp_path, ("metrics.jsonl", "tensorboard"))
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "checkpoints"}
    assert not list((tmp_path / "checkpoints").iterdir())


def test_checkpoints_are_listed_from_the_latest_and_half_written_ones_are_none(tmp_path: Path) -> None:
    for name in ("step-9", "step-100", "step-20", "step-200.writing", "step-1.removing", "best-300"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert state_folders(tmp_path) == [state_folder(tmp_path, step) for step in (100, 20, 9)]


def test_the_last_checkpoints_stay_with_the_best_models_they_need(tmp_path: Path) -> None:
    for name in ("step-10", "step-20", "step-30", "best-5", "best-15", "best-25", "best-28"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    best_of = {"step-10": "best-5", "step-20": "best-15", "step-30": "best-28"}
    remove_old_checkpoints(BestCheckpoint(tmp_path, "bleu", step=28), 2, lambda folder: best_of[folder.name])
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step-20", "step-30", "best-15", "best-28"}


def test_the_mean_leaves_alone_the_best_model_of_its_last_step(tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path, "bleu")
    assert best.judge(30, scores(bleu=10.0))
    single = best.folder
    assert best.judge(30, scores(bleu=11.0), is_mean=True)
    for folder in (single, best.folder, state_folder(tmp_path, 30)):
        folder.mkdir(parents=True)
    remove_old_checkpoints(best, 1, lambda _: single.name)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-30", "best-30", "best-30-mean"}
    assert best.judge(40, scores(bleu=12.0))
    assert best.folder.name == "best-40"
