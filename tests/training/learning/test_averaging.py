"""Test averages of weights: their equations, and that the model's own weights are restored."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from sineformer.training.learning.averaging import AVERAGES_FILE, Averages


class Walk:
    """A linear model where every step adds 1 to each weight."""

    def __init__(self, **settings: Any) -> None:
        self.model = torch.nn.Linear(2, 2)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.zero_()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.averages = Averages(self.model, **settings)
        self.averages.follow(self.optimizer)

    def step(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = -torch.ones_like(parameter)
        self.optimizer.step()

    def weight(self) -> float:
        """Return the value that all weights have."""
        (value,) = {value.item() for parameter in self.model.parameters() for value in parameter.flatten()}
        return value


def test_the_moving_average_follows_its_recurrence() -> None:
    walk, expected = Walk(ema_decay=0.8), 0.0
    for step in range(60):
        walk.step()
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1)
    with walk.averages.evaluated_weights():
        assert walk.weight() == pytest.approx(expected, rel=1e-6)
    assert walk.weight() == 60
    assert expected == pytest.approx(56, abs=0.02), "weights that rise by 1 are followed at a distance of d / (1 - d)"


def test_the_first_weights_are_soon_forgotten() -> None:
    walk = Walk(ema_decay=0.9999)
    for _ in range(100):
        walk.step()
    with walk.averages.evaluated_weights():
        assert walk.weight() > 80


def test_without_averages_the_weights_themselves_are_evaluated_and_nothing_is_saved(tmp_path: Path) -> None:
    walk = Walk()
    walk.step()
    with walk.averages.evaluated_weights():
        assert walk.weight() == 1
    with walk.averages.mean() as is_mean:
        assert not is_mean
    walk.averages.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_mean_is_over_the_last_evaluated_models(tmp_path: Path) -> None:
    walk = Walk(last=3)
    for step in range(1, 11):
        walk.step()
        if step in (2, 3, 5, 9):
            with walk.averages.evaluated_weights():
                assert walk.weight() == step
    with walk.averages.mean() as is_mean:
        assert is_mean
        assert walk.weight() == pytest.approx((3 + 5 + 9) / 3)
    assert walk.weight() == 10


@pytest.mark.parametrize("last", [2, 5])
def test_the_mean_of_fewer_models_is_over_those_there_are(last: int) -> None:
    walk = Walk(last=last)
    for step in (1, 2):
        walk.step()
        with walk.averages.mean() as is_mean:
            assert not is_mean
            assert walk.weight() == step
        with walk.averages.evaluated_weights():
            pass
    with walk.averages.mean():
        assert walk.weight() == 1.5


def test_the_mean_is_over_the_moving_averages_where_there_are_both() -> None:
    walk, evaluated = Walk(ema_decay=0.9, last=2), []
    for _ in range(2):
        walk.step()
        with walk.averages.evaluated_weights():
            evaluated.append(walk.weight())
    with walk.averages.mean():
        assert walk.weight() == pytest.approx(sum(evaluated) / 2) != 1.5


def test_averages_are_kept_in_fp32_whatever_the_weights_are_in() -> None:
    averages = Averages(torch.nn.Linear(2, 2, dtype=torch.bfloat16), ema_decay=0.9, last=2)
    with averages.evaluated_weights():
        pass
    for weights in (averages.shadow, *averages.evaluated):
        assert {each.dtype for each in weights.values()} == {torch.float32}


def test_the_weights_come_back_bit_for_bit_even_after_a_fault(small_model: Any) -> None:
    averages = Averages(small_model, ema_decay=0.9)
    own = copy.deepcopy(small_model.state_dict())
    for shadow in averages.shadow.values():
        shadow.zero_()

    def interrupted_evaluation() -> None:
        with averages.evaluated_weights():
            assert not any(parameter.any() for parameter in small_model.parameters())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_evaluation()
    assert all(torch.equal(value, own[name]) for name, value in small_model.state_dict().items())


def test_frozen_weights_are_left_alone(small_model: Any) -> None:
    small_model.model.encoder.requires_grad_(False)
    names = Averages(small_model, ema_decay=0.9).shadow
    assert names
    assert not any(name.startswith("model.encoder.layers") for name in names)


def test_saved_averages_resume_bit_for_bit(tmp_path: Path) -> None:
    def walk_on(walk: Walk, steps: range) -> None:
        for step in steps:
            walk.step()
            if step % 3 == 0:
                with walk.averages.evaluated_weights():
                    pass

    settings = {"ema_decay": 0.7, "last": 12}  # as many as have numbers of one digit and of two
    first, second = Walk(**settings), Walk(**settings)
    walk_on(first, range(1, 40))
    first.averages.save(tmp_path)
    second.averages.restore(tmp_path)
    second.model.load_state_dict(first.model.state_dict())
    (tmp_path / AVERAGES_FILE).unlink()
    for walk in (first, second):
        walk_on(walk, range(40, 50))
    assert first.averages.updates == second.averages.updates == 49
    for enter in (Averages.mean, Averages.evaluated_weights):  # in this order: the second forgets a model
        values = []
        for walk in (first, second):
            with enter(walk.averages):
                values.append(copy.deepcopy(walk.model.state_dict()))
        assert all(torch.equal(value, values[1][name]) for name, value in values[0].items())


def test_a_step_skipped_by_the_scaler_of_fp16_does_not_update_averages() -> None:
    walk = Walk(ema_decay=0.5)
    fused = torch.optim.Adam(walk.model.parameters(), lr=1.0, fused=True)
    walk.averages.follow(fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for factor, updates in ((torch.inf, 0), (1.0, 1)):
        fused.zero_grad()
        scaler.scale(factor * walk.model(torch.ones(1, 2)).sum()).backward()
        scaler.step(fused)
        scaler.update()
        assert walk.averages.updates == updates
