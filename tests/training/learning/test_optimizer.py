from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_inverse_sqrt_schedule, get_linear_schedule_with_warmup

from sineformer.training.learning.optimizer import build_optimizer, build_schedule
from sineformer.training.train import main


def test_the_first_step_already_learns_and_the_peak_is_at_the_end_of_warm_up() -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(model, learning_rate=0.5)
    schedule = build_schedule(optimizer, warmup_steps=4)
    rates = []
    for _ in range(16):
        rates.append(optimizer.param_groups[0]["lr"])
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
    assert rates[:4] == pytest.approx([0.125, 0.25, 0.375, 0.5])
    assert rates[15] == pytest.approx(0.25)


def rates_of(schedule: Any, steps: int) -> list[float]:
    """Return the learning rate before each of n steps, and after the last."""
    rates = []
    for _ in range(steps + 1):
        rates.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return rates


def adam() -> torch.optim.Optimizer:
    return build_optimizer(torch.nn.Linear(2, 2), learning_rate=0.5)


def test_schedules_are_those_of_transformers_with_the_first_step_counted_as_one() -> None:
    theirs = {
        "inverse_sqrt": get_inverse_sqrt_schedule(adam(), 5),
        "linear": get_linear_schedule_with_warmup(adam(), 5, 21),
        "cosine": get_cosine_schedule_with_warmup(adam(), 5, 21),
    }
    for kind, schedule in theirs.items():
        ours = rates_of(build_schedule(adam(), 5, kind, planned_steps=20), 20)
        assert ours == pytest.approx(rates_of(schedule, 21)[1:], abs=1e-12), kind
        assert max(ours) == ours[4] == 0.5
        assert (ours[20] == pytest.approx(0, abs=1e-12)) == (kind != "inverse_sqrt")


def test_the_second_half_of_a_cosine_is_the_annealing_of_torch() -> None:
    torchs = rates_of(torch.optim.lr_scheduler.CosineAnnealingLR(adam(), T_max=16), 16)
    ours = rates_of(build_schedule(adam(), 5, "cosine", planned_steps=20), 20)
    assert ours[4:] == pytest.approx(torchs, abs=1e-12)


def test_noam_is_equation_3_times_the_learning_rate() -> None:
    rates = rates_of(build_schedule(adam(), 4, "noam", d_model=64), 16)
    expected = [0.5 * 64**-0.5 * min(step**-0.5, step * 4**-1.5) for step in range(1, 18)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_a_warm_up_longer_than_the_run_rises_to_its_end() -> None:
    for kind in ("linear", "cosine"):
        rates = rates_of(build_schedule(adam(), 10, kind, planned_steps=4), 3)
        assert rates == pytest.approx([0.05, 0.1, 0.15, 0.2]), kind


@pytest.mark.parametrize("kind", ["linear", "cosine", "noam", "exponential"])
def test_an_unknown_schedule_or_one_without_its_arguments_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"no schedule '{kind}' for planned_steps None and d_model None"):
        build_schedule(adam(), 5, kind)


def test_adam_has_the_parameters_of_section_5_3_and_updates_as_written_there() -> None:
    model = torch.nn.Linear(3, 1, bias=False)
    before = model.weight.detach().clone()
    optimizer = build_optimizer(model, learning_rate=0.1)
    model.weight.grad = torch.tensor([[0.5, -2.0, 1e-10]])
    optimizer.step()
    # After one step both moments are unbiased: the update is lr * g / (|g| + epsilon).
    expected = before - 0.1 * torch.tensor([[1.0, -1.0, 1e-10 / (1e-10 + 1e-9)]])
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-5, atol=1e-6)
    assert optimizer.defaults["betas"] == (0.9, 0.98)


def test_weight_decay_is_decoupled_and_betas_are_settings() -> None:
    model = torch.nn.Linear(3, 1, bias=False)
    before = model.weight.detach().clone()
    optimizer = build_optimizer(model, learning_rate=0.1, betas=(0.5, 0.9), weight_decay=0.2)
    model.weight.grad = torch.tensor([[0.5, -2.0, 3.0]])
    optimizer.step()
    expected = before * (1 - 0.1 * 0.2) - 0.1 * torch.tensor([[1.0, -1.0, 1.0]])
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-5, atol=1e-6)
    assert optimizer.defaults["betas"] == (0.5, 0.9)


def test_the_settings_reach_the_optimiser_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built: list[tuple[Any, ...]] = []

    def build(model: torch.nn.Module, *given: Any) -> torch.optim.Optimizer:
        built.append(given)
        raise RuntimeError("stop here")

    monkeypatch.setattr("sineformer.training.learning.learner.build_optimizer", build)
    flags = "--dataset embedded --train_size 40 --validation_size 3 --test_size 3 --vocab_size 320 --use_cpu"
    flags += " --report_to none --d_model 16 --max_tokens 400 --max_steps 2 --adam_beta1 0.8 --adam_beta2 0.95"
    flags += " --weight_decay 0.01 --learning_rate 0.1"
    with pytest.raises(RuntimeError, match="stop here"):
        main([*flags.split(), "--output_dir", str(tmp_path / "out")])
    assert built == [(0.1, (0.8, 0.95), 0.01)]
