"""Test the choice of the best model, its folder, and patience."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sineformer.training.checkpoints.checkpoint import remove_checkpoints
from sineformer.training.checkpoints.selection import Best, Selection
from sineformer.training.data.tokenizer import load_tokenizers
from sineformer.training.evaluation.evaluator import Scores
from sineformer.training.learning.averaging import Averages
from sineformer.training.monitoring.run_log import RunLog
from sineformer.training.preflight import read_settings
from sineformer.training.system.files import damage_of
from sineformer.training.system.sharding import FullModel


def scores(bleu: float) -> Scores:
    return Scores(1.0, {"bleu": bleu, "chrf": 20.0}, {}, 1, 1)


def test_evaluations_without_improvement_are_counted_in_a_row() -> None:
    best = Best()
    bleus = [5, 4, 3, 6, 6]
    seen = [(best.judge(step, scores(bleu), "bleu"), best.evaluations_since) for step, bleu in enumerate(bleus)]
    assert seen == [(True, 0), (False, 1), (False, 2), (True, 0), (False, 1)]
    assert best.step == 3


class Choice:
    """Return a selection among models with given BLEU."""

    def __init__(self, folder: Path, model: Any, tokenizers: Any, *flags: str) -> None:
        accelerator, self.bleu, self.measured = Accelerator(cpu=True), 0.0, []
        evaluator: Any = SimpleNamespace(accelerator=accelerator, tokenizers=tokenizers, measure=self._measure)
        validation: Any = SimpleNamespace(text=SimpleNamespace(sources=["A dog."], targets=["Ein Hund."]))
        settings = read_settings(
            ["--dataset", "embedded", "--output_dir", str(folder), "--max_steps", "9", "--best_metric", "bleu", *flags]
        )
        folder.mkdir(exist_ok=True)
        self.selection = Selection(settings, evaluator, validation, RunLog(accelerator, folder, 1, 9, None))
        self.model, self.averages = FullModel(model, accelerator), Averages(model, last=2)

    def _measure(self, model: Any, *_: Any) -> tuple[Scores, list[str]]:
        self.measured.append(model.model.shared.weight.detach().clone())
        return scores(self.bleu), ["Ein Hund."]

    def validate(self, step: int, bleu: float) -> bool:
        self.bleu = bleu
        return self.selection.validate(step, self.model, self.averages)


def names_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


def test_the_best_model_is_copied_into_the_output_folder_and_checkpoints_are_removed(
    tmp_path: Path, small_model: Any, small_tokenizers: Any
) -> None:
    choice = Choice(tmp_path, small_model, small_tokenizers)
    for step, bleu in ((10, 5.0), (20, 7.0), (30, 6.0)):
        assert choice.validate(step, bleu)
    assert names_of(tmp_path) == {"best-20"}
    (tmp_path / "config.json").write_text("of an earlier run")
    choice.selection.publish()
    assert damage_of(choice.selection.folder) is None, "until the run has ended, resuming from a checkpoint needs it"
    remove_checkpoints(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert {"modeling_sineformer.py", "configuration_sineformer.py"} <= names
    assert not {"checkpoints", "manifest.json"} & names
    assert type(small_model).from_pretrained(tmp_path).config.d_model == small_model.config.d_model
    assert load_tokenizers(tmp_path).joint


@pytest.mark.parametrize(("flags", "expected"), [(["--patience", "2"], [True, True, True, False]), ([], [True] * 4)])
def test_training_stops_after_patience_evaluations(
    tmp_path: Path, small_model: Any, small_tokenizers: Any, flags: list[str], expected: list[bool]
) -> None:
    choice = Choice(tmp_path, small_model, small_tokenizers, *flags)
    seen = [choice.validate(step, bleu) for step, bleu in enumerate([5.0, 6.0, 4.0, 6.0])]
    assert seen == expected
    assert choice.selection.is_patient is expected[-1]


def test_the_mean_of_several_models_has_a_separate_folder(
    tmp_path: Path, small_model: Any, small_tokenizers: Any
) -> None:
    choice = Choice(tmp_path, small_model, small_tokenizers)
    choice.validate(10, 5.0)
    choice.selection.validate_mean(10, choice.model, choice.averages)
    assert len(choice.measured) == 1, "of one model there is no mean"
    with torch.no_grad():
        small_model.model.shared.weight.add_(2.0)
    choice.validate(20, 6.0)
    assert names_of(tmp_path) == {"best-20"}
    choice.bleu = 7.0
    choice.selection.validate_mean(20, choice.model, choice.averages)
    assert names_of(tmp_path) == {"best-20-mean"}
    torch.testing.assert_close(choice.measured[2], (choice.measured[0] + choice.measured[1]) / 2)
    choice.validate(30, 8.0)
    assert names_of(tmp_path) == {"best-30"}
