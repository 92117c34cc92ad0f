import json
from pathlib import Path

import pytest

from sineformer.training.checkpoints.checkpoint import Checkpoint, prepare_output_dir, remove_old_checkpoints
from sineformer.training.evaluation.scores import Scores, is_better
from sineformer.training.system.files import CheckpointError
from sineformer.training.system.output_folder import best_folder, state_folder, state_folders


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


def test_only_files_that_would_mix_with_the_new_run_are_removed(tmp_path: Path) -> None:
    for name in ("checkpoints/step-3", "target_tokenizer", "tensorboard"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("metrics.jsonl", "thesis.txt"):
        (tmp_path / name).write_text("x")
    prepare_output_dir(tmp_path, ("metrics.jsonl", "tensorboard"))
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "checkpoints"}
    assert not list((tmp_path / "checkpoints").iterdir())


def test_checkpoints_are_listed_from_the_latest_without_incomplete_ones(tmp_path: Path) -> None:
    for name in ("step-9", "step-100", "step-20", "step-200.writing", "step-1.removing", "best-300"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert state_folders(tmp_path) == [state_folder(tmp_path, step) for step in (100, 20, 9)]


def make_checkpoint(output_dir: Path, step: int, best: int) -> None:
    """Write a checkpoint with only the state of its best model."""
    folder = state_folder(output_dir, step)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"best": {"step": best, "scores": {"bleu": 1.0}}}))


def test_the_last_checkpoints_are_kept_with_their_best_models(tmp_path: Path) -> None:
    for step, best in ((10, 5), (20, 15), (30, 28)):
        make_checkpoint(tmp_path, step, best)
    for name in ("best-5", "best-15", "best-25", "best-28"):
        (tmp_path / "checkpoints" / name).mkdir()
    remove_old_checkpoints(tmp_path, 2, best_folder(tmp_path, 28))
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step-20", "step-30", "best-15", "best-28"}


def test_the_mean_does_not_replace_the_best_model_of_its_last_step(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 30, 30)
    for is_mean in (False, True):
        best_folder(tmp_path, 30, is_mean).mkdir()
    remove_old_checkpoints(tmp_path, 1, best_folder(tmp_path, 30, is_mean=True))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-30", "best-30", "best-30-mean"}


@pytest.mark.parametrize("content", [None, "{", "{}", "[]", '{"best": {"step": 0, "scores": null}}'])
def test_a_damaged_checkpoint_and_one_before_the_first_evaluation_have_no_best_model(
    tmp_path: Path, content: str | None
) -> None:
    make_checkpoint(tmp_path, 10, 0)
    file = state_folder(tmp_path, 10) / "trainer_state.json"
    file.unlink() if content is None else file.write_text(content)
    for step in (0, 5):
        best_folder(tmp_path, step).mkdir()
    remove_old_checkpoints(tmp_path, 2, best_folder(tmp_path, 5))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-10", "best-5"}
    if content in (None, "{", "[]"):
        with pytest.raises(CheckpointError, match=r"step-10: trainer_state\.json .*; remove this checkpoint"):
            Checkpoint.read(state_folder(tmp_path, 10))
