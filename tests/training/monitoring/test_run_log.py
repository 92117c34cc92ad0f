import json
import re
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from sineformer.training.evaluation.scores import Example, Scores
from sineformer.training.monitoring.run_log import Fill, RunLog, StepReport

SCORES = Scores(1.0, {"bleu": 50.0, "chrf": 60.0, "exact_match": 25.0}, {"bleu": "b", "chrf": "c"}, 4, 1)
SAMPLES = [Example("A dog.", "Ein Hund.", "Ein Hündchen.\u2028")]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_report_sums_up_its_steps_by_their_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(Accelerator(cpu=True), tmp_path, logging_steps=2, planned_steps=4, max_minutes=None)
    log.step(1, 0.25, StepReport(4.0, 1.0, 100), Fill(90, 100), 0.1, seconds=1.0)
    assert not (tmp_path / "metrics.jsonl").exists()
    log.step(2, 0.5, StepReport(2.0, 3.0, 300), Fill(30, 100), 0.2, seconds=1.0)
    log.step(3, 0.75, StepReport(9.0, 9.0, 100), Fill(9, 9), 0.3, seconds=1.0)
    (line,) = lines_of(tmp_path)
    assert line.pop("seconds") >= 0
    assert line == {
        "kind": "train",
        "step": 2,
        "loss": 2.5,
        "learning_rate": 0.2,
        "gradient_norm": 3.0,
        "tokens_per_second": 200.0,
        "padding_share": pytest.approx(0.4),
        "epoch": 0.5,
    }
    shown = capsys.readouterr().err
    assert shown.startswith("step 2/4, epoch 0.50: loss 2.500, lr 2.00e-01, 200 tokens/s, 00:04 per epoch, 00:0")
    assert shown.count("\n") == 1, "without a terminal there are plain lines, no bar"


def test_an_evaluation_is_recorded_with_signatures_and_perplexity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunLog(Accelerator(cpu=True), tmp_path, 50, None, 1.0)
    log.evaluation("validation", 7, SCORES, SAMPLES, is_best=True)
    (line,) = lines_of(tmp_path)
    assert (line["kind"], line["step"], line["bleu"], line["bleu_signature"]) == ("validation", 7, 50.0, "b")
    assert line["samples"] == [{"source": "A dog.", "reference": "Ein Hund.", "translation": "Ein Hündchen.\u2028"}]
    assert line["perplexity"] == pytest.approx(2.71828, rel=1e-5)
    expected = (
        "validation at step 7: loss 1.000, perplexity 2.72, BLEU 50.00, chrF 60.00, exact 25.0 %, the best so far\n"
    )
    assert capsys.readouterr().err == expected


def test_the_best_model_at_the_end_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(Accelerator(cpu=True), tmp_path, 50, None, 1.0)
    log.evaluation("validation", 7, SCORES, SAMPLES)
    assert capsys.readouterr().err.startswith("final validation, best model (step 7): loss 1.000,")


def test_progress_is_shown_by_time_too_and_recorded_by_steps_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    log = RunLog(Accelerator(cpu=True), tmp_path, logging_steps=50, planned_steps=100, max_minutes=None)
    for number in range(1, 51):
        now += 3.0
        log.step(number, number / 20, StepReport(4.0, 1.0, 100), Fill(9, 10), 0.1, seconds=2.0)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "step 2/100, epoch 0.10: loss 4.000, lr 1.00e-01, 50 tokens/s, 00:40 per epoch, 04:54 left"
    assert [line.partition("/")[0] for line in shown] == ["step 2", "step 22", "step 42", "step 50"]
    assert [line["step"] for line in lines_of(tmp_path)] == [50]
    assert lines_of(tmp_path)[0]["loss"] == 4.0


def test_the_time_left_is_that_of_the_nearer_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    log = RunLog(Accelerator(cpu=True), tmp_path, 1, planned_steps=100, max_minutes=2.0)
    monkeypatch.setattr("time.monotonic", lambda: 60.0)
    assert log._time_left(50) == "01:00"
    assert log._time_left(10) == "01:00"  # the steps would take nine more minutes, the time limit leaves one
    assert log._time_left(80) == "00:15"


def test_other_processes_print_and_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Second:
        is_main_process = False
        trackers: tuple[()] = ()

        def log(self, values: dict[str, float], step: int) -> None:
            """Do nothing, like Accelerate's trackers on other processes."""

    log = RunLog(Second(), tmp_path, 1, 10, None)  # type: ignore[arg-type]
    log.step(1, 0.1, StepReport(4.0, 1.0, 100), Fill(90, 100), 0.1, seconds=1.0)
    log.evaluation("validation", 1, SCORES, SAMPLES)
    log.message("hello")
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.iterdir())


def test_the_trackers_get_the_numbers(tmp_path: Path) -> None:
    seen: list[tuple[dict[str, float], int]] = []

    class Tracked:
        is_main_process = True
        trackers: tuple[()] = ()

        def log(self, values: dict[str, float], step: int) -> None:
            seen.append((values, step))

    log = RunLog(Tracked(), tmp_path, 1, 10, None)  # type: ignore[arg-type]
    log.step(1, 0.1, StepReport(4.0, 1.0, 100), Fill(90, 100), 0.1, seconds=1.0)
    log.evaluation("validation", 1, SCORES, SAMPLES)
    assert seen[0][0]["train/loss"] == 4.0
    assert seen[1][0]["validation/bleu"] == 50.0
    assert "validation/bleu_signature" not in seen[1][0]


def test_a_bar_resumes_at_the_step_of_the_checkpoint_with_the_time_left_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    stopped = RunLog(Accelerator(cpu=True), tmp_path, 1, planned_steps=40, max_minutes=None)
    log = RunLog(Accelerator(cpu=True), tmp_path, 1, planned_steps=40, max_minutes=None)
    log.restore(stopped.state(), step=10)
    assert "10/40" in capsys.readouterr().err.split("\r")[-1]
    log.step(20, 0.5, StepReport(2.0, 1.0, 100), Fill(9, 10), 0.1, seconds=1.0)
    log.bar.refresh()
    assert re.search(
        r"20/40 \[00:0\d, 00:02 per epoch, 00:0\d left, loss 2\.000, lr", capsys.readouterr().err.split("\r")[-1]
    )
    assert log.bar.initial == 10, "steps before the stop do not count for the speed of this process"
    log.close()
