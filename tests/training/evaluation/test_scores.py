"""Test that one entry defines a metric, and that records of other versions can be read."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from sineformer.training.evaluation.model_card import RunRecord, write_model_card
from sineformer.training.evaluation.scores import (
    METRICS,
    Column,
    Example,
    Measured,
    Metric,
    Scores,
    is_better,
    is_record,
    log_line,
    score_table,
    score_translations,
)
from sineformer.training.monitoring.html_report import page, panels_of
from sineformer.training.monitoring.metrics_file import ReportError, read_run
from sineformer.training.monitoring.run_log import RunLog
from sineformer.training.preflight import read_settings
from sineformer.training.settings.recipe import RecipeError

TRANSLATIONS, REFERENCES = ["ein Hund", "zwei"], ["ein Hund", "drei Katzen"]


def count_word_errors(translations: Sequence[str], references: Sequence[str], tokenize: str) -> Measured:
    return Measured(7.125, "words:1")


@pytest.fixture
def new_metric(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a metric defined by its entry in the table alone."""
    column = Column("Word errors", "{:.1f} per 100")
    monkeypatch.setitem(METRICS, "word_errors", Metric(column, count_word_errors, less_is_better=True))
    return "word_errors"


def measured(loss: float = 1.0, **values: float) -> Scores:
    record = score_translations(TRANSLATIONS, REFERENCES) | values
    return Scores.from_record({"loss": loss, "sentences": 2, "num_beams": 1} | record)


def log_of(folder: Path, *found: Scores) -> list[str]:
    log = RunLog(Accelerator(cpu=True), folder, 1, None, 1.0)
    for step, scores in enumerate(found, start=1):
        log.evaluation("validation", step, scores, [Example("a", "b", "c")])
    return (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()


def test_a_new_metric_is_logged_recorded_and_reported(
    tmp_path: Path, new_metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = json.loads(log_of(tmp_path, measured())[0])
    assert (line["word_errors"], line["word_errors_signature"]) == (7.125, "words:1")
    assert ", Word errors 7.1 per 100\n" in capsys.readouterr().err
    run = read_run(tmp_path)
    curves = {curve.name: curve.values.tolist() for curve in panels_of(run)[1].curves}
    assert curves["Word errors"] == [7.125]
    shown = page(run, [])
    for part in ("<th>Word errors</th>", "<td>7.1 per 100</td>", "Word errors words:1"):
        assert part in shown
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line | {"word_errors": "many"}) + "\n")
    with pytest.raises(ReportError, match="word_errors is not a number but 'many'"):
        read_run(tmp_path)


def test_a_new_metric_chooses_the_best_checkpoint(tmp_path: Path, new_metric: str) -> None:
    flags = ["--dataset", "embedded", "--output_dir", str(tmp_path / "out"), "--max_steps", "7", "--best_metric"]
    assert read_settings([*flags, new_metric]).evaluation.best_metric == new_metric
    assert is_better(measured(word_errors=1.0), measured(word_errors=2.0), new_metric)
    assert not is_better(measured(word_errors=2.0), measured(word_errors=1.0), new_metric)
    with pytest.raises(
        RecipeError, match="best_metric: 'bleurt' is none of bleu, chrf, chrf_plus_plus, exact_match, word_errors, loss"
    ):
        read_settings([*flags, "bleurt"])


def test_a_new_metric_is_on_the_card(tmp_path: Path, new_metric: str, small_model: Any) -> None:
    record = RunRecord({"test": measured()}, [Example("a", "b", "c")], small_model.config, 7, 9, 4, 1.0, "1 x cpu")
    write_model_card(
        tmp_path,
        read_settings(["--dataset", "embedded", "--output_dir", str(tmp_path / "o"), "--max_steps", "7"]),
        record,
    )
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    for part in ("| Exact match | Word errors | Loss |", "| 50.0 % | 7.1 per 100 | 1.000 |", "Word errors `words:1`."):
        assert part in card
    assert "name: Word errors\n" in card


def test_scores_are_unchanged_when_read_again() -> None:
    scores = measured(0.1 + 0.2)
    assert Scores.from_record(json.loads(json.dumps(scores.as_record()))) == scores


def test_scores_of_another_version_are_read_without_metrics_unknown_to_either(new_metric: str) -> None:
    before = {"loss": 2.0, "bleu": 3.0, "bleu_signature": "b", "chrf": 4.0, "sentences": 5, "num_beams": 6}
    scores = Scores.from_record(before | {"comet": 0.5, "comet_signature": "c"})
    assert dataclasses.asdict(scores) == {
        "loss": 2.0,
        "values": {"bleu": 3.0, "chrf": 4.0},
        "signatures": {"bleu": "b"},
        "sentences": 5,
        "num_beams": 6,
    }
    assert log_line(scores) == "loss 2.000, perplexity 7.39, BLEU 3.00, chrF 4.00"
    assert score_table({"old": before}, ["bleu", new_metric])[1] == [["old", "3.00", ""]]
    assert is_better(measured(), scores, new_metric), "any value is better than none"
    assert not is_better(scores, measured(), new_metric)


def test_a_report_of_an_older_log_leaves_a_cell_empty(tmp_path: Path, new_metric: str) -> None:
    old = {key: value for key, value in measured().as_record().items() if not key.startswith(new_metric)}
    log_of(tmp_path, Scores.from_record(old))
    assert "<td>50.0 %</td><td></td><td>1.000</td>" in page(read_run(tmp_path), [])


def test_a_line_without_a_required_key_is_not_an_evaluation() -> None:
    record = measured().as_record()
    assert is_record(record)
    for key in ("loss", "sentences", "num_beams"):
        assert not is_record({name: value for name, value in record.items() if name != key})
