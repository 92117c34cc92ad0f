import pytest
import torch

from sineformer.training.optimizer import build_optimizer, build_schedule, inverse_square_root, linear


def test_the_schedule_is_equation_3_of_the_paper() -> None:
    d_model, warmup_steps = 512, 4000
    peak = (d_model * warmup_steps) ** -0.5
    for step in (1, 2, 100, 3999, 4000, 4001, 16_000, 100_000):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)
        assert peak * inverse_square_root(step, warmup_steps) == pytest.approx(paper, rel=1e-12)


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


def test_the_linear_schedule_rises_to_the_peak_and_ends_one_step_before_zero() -> None:
    rates = [linear(step, warmup_steps=4, planned_steps=10) for step in range(1, 13)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4:10] == pytest.approx([6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7])
    assert rates[10:] == [0.0, 0.0]


def test_the_number_of_steps_chooses_the_linear_schedule() -> None:
    optimizer = build_optimizer(torch.nn.Linear(2, 2), learning_rate=0.5)
    build_schedule(optimizer, warmup_steps=2, planned_steps=2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.25)


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
