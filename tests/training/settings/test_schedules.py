"""Test the equations of learning-rate schedules, and the table that defines them."""

from pathlib import Path

import pytest
import torch

from sineformer.training.checkpoints.resume import _changes
from sineformer.training.learning.optimizer import build_optimizer, build_schedule
from sineformer.training.preflight import read_settings
from sineformer.training.settings.recipe import RecipeError, print_help
from sineformer.training.settings.schedules import SCHEDULES, Schedule, inverse_square_root, linear


def test_the_schedule_is_equation_3_of_the_paper() -> None:
    d_model, warmup_steps = 512, 4000
    peak = (d_model * warmup_steps) ** -0.5
    for step in (1, 2, 100, 3999, 4000, 4001, 16_000, 100_000):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)
        assert peak * inverse_square_root(step, warmup_steps) == pytest.approx(paper, rel=1e-12)


def test_the_linear_schedule_rises_to_the_peak_and_ends_one_step_before_zero() -> None:
    rates = [linear(step, warmup_steps=4, planned_steps=10) for step in range(1, 13)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4:10] == pytest.approx([6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7])
    assert rates[10:] == [0.0, 0.0]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_of_the_table_can_be_chosen_and_starts_with_a_warm_up(tmp_path: Path, kind: str) -> None:
    flags = [
        "--dataset",
        "embedded",
        "--output_dir",
        str(tmp_path),
        "--num_epochs",
        "2",
        "--learning_rate",
        "1",
        "--lr_scheduler_type",
        kind,
    ]
    assert read_settings(flags).optimisation.lr_scheduler_type == kind
    optimizer = build_optimizer(torch.nn.Linear(2, 2), learning_rate=1.0)
    schedule = build_schedule(optimizer, 4, kind, planned_steps=20, d_model=64)
    first = schedule.get_last_lr()[0]
    optimizer.step()
    schedule.step()
    assert 0 < first < schedule.get_last_lr()[0]


def test_a_new_entry_of_the_table_is_all_that_a_schedule_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def constant(step: int, warmup_steps: int, planned_steps: int) -> float:
        return min(step / warmup_steps, 1.0) if step <= planned_steps else 0.0

    monkeypatch.setitem(SCHEDULES, "linear", Schedule(constant, "", needs=("planned_steps",)))
    schedule = build_schedule(build_optimizer(torch.nn.Linear(2, 2), 0.5), 1, "linear", planned_steps=2)
    assert [schedule.lr_lambdas[0](step) for step in range(3)] == [1.0, 1.0, 0.0]
    monkeypatch.setitem(SCHEDULES, "noam", SCHEDULES["linear"])
    with pytest.raises(RecipeError, match="noam ends at the last step; set max_steps or num_epochs"):
        read_settings(
            [
                "--dataset",
                "embedded",
                "--output_dir",
                str(tmp_path),
                "--max_minutes",
                "5",
                "--lr_scheduler_type",
                "noam",
            ]
        )
    now = {"max_steps": 3, "lr_scheduler_type": "noam"}
    assert list(_changes(now | {"max_steps": 2}, now)) == ["max_steps: was 2, is 3; the noam schedule depends on it"]


def test_help_describes_each_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    print_help("train", "", complete=True)
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}, {schedule.text}" in shown for name, schedule in SCHEDULES.items())
