"""Test R-Drop (Liang et al., 2021) against the plain computation: the loss of two passes and their divergence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, kl_divergence

from sineformer.modeling import loss as loss_module
from sineformer.modeling.loss import IGNORED, translation_loss

LABELS = torch.tensor([[5, 1, 3, 0], [2, 6, IGNORED, IGNORED], [4, IGNORED, IGNORED, IGNORED]])


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(8, 7)


@pytest.fixture
def hidden() -> torch.Tensor:
    """Return two different passes, `[2 * 3, 4, 8]`."""
    return torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(3), requires_grad=True)


def plain(hidden: torch.Tensor, head: nn.Linear, smoothing: float, weight: float) -> torch.Tensor:
    """Return the loss of the paper, over all targets at once."""
    first, second = (head(half)[LABELS != IGNORED] for half in hidden.chunk(2))
    targets = LABELS[LABELS != IGNORED]
    options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": "sum"}
    entropies = [nn.functional.cross_entropy(logits, targets, **options) for logits in (first, second)]
    p, q = Categorical(logits=first), Categorical(logits=second)
    divergence = (kl_divergence(p, q) + kl_divergence(q, p)).sum()
    return (sum(entropies) + weight * divergence) / 2 / len(targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("per_chunk", [1, 30, 10**6])
def test_loss_and_gradients_are_those_of_the_plain_computation(
    head: nn.Linear, hidden: torch.Tensor, smoothing: float, per_chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loss_module.LOGITS_PER_CHUNK, "cpu", per_chunk)
    expected = plain(hidden, head, smoothing, 3.0)
    ours = translation_loss(hidden, head, LABELS.repeat(2, 1), None, smoothing, r_drop=3.0)
    torch.testing.assert_close(ours, expected)
    parameters = [hidden, head.weight, head.bias]
    torch.testing.assert_close(torch.autograd.grad(ours, parameters), torch.autograd.grad(expected, parameters))


def test_two_equal_passes_have_the_loss_of_one(head: nn.Linear, hidden: torch.Tensor) -> None:
    once = hidden[:3]
    twice = translation_loss(once.repeat(2, 1, 1), head, LABELS.repeat(2, 1), None, 0.1, r_drop=5.0)
    torch.testing.assert_close(twice, translation_loss(once, head, LABELS, None, 0.1))


def test_losses_of_micro_batches_add_up(head: nn.Linear, hidden: torch.Tensor) -> None:
    def loss_of(rows: list[int]) -> torch.Tensor:
        both = [*rows, *(row + 3 for row in rows)]
        return translation_loss(hidden[both], head, LABELS[rows].repeat(2, 1), 7, 0.1, r_drop=3.0)

    whole, parts = loss_of([0, 1, 2]), loss_of([0, 2]) + loss_of([1])
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, hidden), torch.autograd.grad(whole, hidden))


def test_a_batch_without_targets_has_loss_zero(head: nn.Linear, hidden: torch.Tensor) -> None:
    loss = translation_loss(hidden, head, torch.full((6, 4), IGNORED), 7, 0.1, r_drop=3.0)
    assert loss == 0
    assert not torch.autograd.grad(loss, head.weight)[0].any()


def test_different_halves_are_refused(head: nn.Linear, hidden: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="every example twice"):
        translation_loss(hidden, head, LABELS.repeat_interleave(2, 0), 7, 0.1, r_drop=3.0)
    with pytest.raises(ValueError, match="every example twice"):
        translation_loss(hidden[:3], head, LABELS, 7, 0.1, r_drop=3.0)


def test_dropout_makes_the_passes_of_the_model_differ(make_model, source, target) -> None:
    both = {"input_ids": source.repeat(2, 1), "labels": target.repeat(2, 1)}

    def loss_of(dropout: float, weight: float) -> float:
        model = make_model(dropout=dropout).train()
        torch.manual_seed(4)
        return model(**both, r_drop=weight).loss.item()

    assert loss_of(0.0, 9.0) == pytest.approx(loss_of(0.0, 1.0), rel=1e-5)
    assert loss_of(0.3, 9.0) > 1.1 * loss_of(0.3, 1.0)
