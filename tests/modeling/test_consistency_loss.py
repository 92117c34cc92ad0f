"""Test R-Drop and SimCut against the plain computation: the loss of two passes and the divergence between them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, kl_divergence

from sineformer.modeling import loss as loss_module
from sineformer.modeling.consistency import Weights, consistency_loss, pop_weights
from sineformer.modeling.loss import IGNORED, translation_loss

LABELS = torch.tensor([[5, 1, 3, 0], [2, 6, IGNORED, IGNORED], [4, IGNORED, IGNORED, IGNORED]])
METHODS = ["r_drop", "simcut"]

each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(8, 7)


@pytest.fixture
def hidden() -> torch.Tensor:
    """Return two different passes, `[2 * 3, 4, 8]`."""
    return torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(3), requires_grad=True)


def loss_of(
    method: str, hidden: torch.Tensor, head: nn.Module, labels: torch.Tensor = LABELS, weight: float = 3.0
) -> torch.Tensor:
    weights = pop_weights({method: weight})
    assert weights is not None
    return consistency_loss(hidden, head, labels.repeat(2, 1), None, 0.1, weights)


def plain(method: str, hidden: torch.Tensor, head: nn.Module, smoothing: float, weight: float) -> torch.Tensor:
    """Return the loss of the papers, over all targets at once."""
    first, second = (head(half)[LABELS != IGNORED] for half in hidden.chunk(2))
    targets = LABELS[LABELS != IGNORED]
    options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": "sum"}
    entropies = [nn.functional.cross_entropy(logits, targets, **options) for logits in (first, second)]
    p, q = Categorical(logits=first), Categorical(logits=second)
    if method == "simcut":
        return (entropies[0] + weight * kl_divergence(p, q).sum()) / len(targets)
    divergence = (kl_divergence(p, q) + kl_divergence(q, p)).sum()
    return (sum(entropies) + weight * divergence) / 2 / len(targets)


@each_method
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tokens_per_chunk", [1, 4, 10**4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
def test_loss_and_gradients_are_those_of_the_plain_computation(
    method: str, smoothing: float, tokens_per_chunk: int, dtype: Any, tolerance: float, monkeypatch: Any
) -> None:
    monkeypatch.setattr(loss_module, "TOKENS_PER_CHUNK", tokens_per_chunk)
    torch.manual_seed(4)
    head = nn.Linear(8, 7, dtype=dtype)
    hidden = torch.randn(6, 4, 8, dtype=dtype, requires_grad=True)
    expected = plain(method, hidden, head, smoothing, 3.0)
    weights = pop_weights({method: 3.0})
    assert weights is not None
    ours = consistency_loss(hidden, head, LABELS.repeat(2, 1), None, smoothing, weights)
    tolerances = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(ours, expected, **tolerances)
    parameters = [hidden, *head.parameters()]
    found, wanted = (torch.autograd.grad(5 * each, parameters) for each in (ours, expected))
    torch.testing.assert_close(found, wanted, **tolerances)


def test_the_gradient_is_the_derivative_for_any_weights(head: nn.Linear, hidden: torch.Tensor) -> None:
    weights = Weights((0.3, 0.9), (1.7, 0.4))
    states = hidden.detach().double().requires_grad_()
    head.double()
    assert torch.autograd.gradcheck(
        lambda each: consistency_loss(each, head, LABELS.repeat(2, 1), None, 0.1, weights), states
    )


class CalledLinear(nn.Linear):
    """A head that the fused loss must call, like one with an adapter."""


@each_method
def test_a_head_that_does_more_than_multiply_is_called(method: str, head: nn.Linear, hidden: torch.Tensor) -> None:
    called = CalledLinear(8, 7)
    called.load_state_dict(head.state_dict())
    fused, unfused = loss_of(method, hidden, head), loss_of(method, hidden, called)
    torch.testing.assert_close(unfused, fused)
    found = torch.autograd.grad(fused, [hidden, head.weight, head.bias])
    torch.testing.assert_close(found, torch.autograd.grad(unfused, [hidden, called.weight, called.bias]))
    called.register_forward_hook(lambda module, inputs, output: output + torch.arange(7.0))
    assert not torch.allclose(loss_of(method, hidden, called), fused)


@each_method
def test_logits_of_a_chunk_are_all_that_is_stored(
    method: str, head: nn.Linear, hidden: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "TOKENS_PER_CHUNK", 2 * 3)
    shapes: list[int] = []
    linear = nn.functional.linear

    def watched(states: torch.Tensor, *parameters: Any) -> torch.Tensor:
        product = linear(states, *parameters)
        if product.shape[-1] == 7:  # logits; the gradient of the states has 8
            shapes.append(product.numel())
        return product

    monkeypatch.setattr(nn.functional, "linear", watched)
    loss = loss_of(method, hidden, head)
    assert shapes == [2 * 3 * 7, 2 * 3 * 7, 2 * 1 * 7]  # 3 + 3 + 1 targets
    function: Any = loss.grad_fn.next_functions[0][0]
    assert sorted(tensor.shape for tensor in function.saved_tensors) == [(2, 7, 8), (7,), (7, 8)]


def test_two_equal_passes_have_the_loss_of_one(head: nn.Linear, hidden: torch.Tensor) -> None:
    once = hidden[:3]
    expected = translation_loss(once, head, LABELS, None, 0.1)
    for method in METHODS:
        torch.testing.assert_close(loss_of(method, once.repeat(2, 1, 1), head), expected)


@each_method
def test_losses_of_micro_batches_add_up(method: str, head: nn.Linear, hidden: torch.Tensor) -> None:
    weights = pop_weights({method: 3.0})
    assert weights is not None

    def of_rows(rows: list[int]) -> torch.Tensor:
        both = [*rows, *(row + 3 for row in rows)]
        return consistency_loss(hidden[both], head, LABELS[rows].repeat(2, 1), 7, 0.1, weights)

    whole, parts = of_rows([0, 1, 2]), of_rows([0, 2]) + of_rows([1])
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, hidden), torch.autograd.grad(whole, hidden))


@each_method
@pytest.mark.parametrize("make_head", [nn.Linear, CalledLinear])
def test_a_batch_without_targets_has_loss_zero(method: str, make_head: Any, hidden: torch.Tensor) -> None:
    head = make_head(8, 7)
    loss = loss_of(method, hidden, head, torch.full((3, 4), IGNORED))
    assert loss == 0
    assert not torch.autograd.grad(loss, head.weight)[0].any()


def test_different_halves_are_refused(head: nn.Linear, hidden: torch.Tensor) -> None:
    weights = Weights((0.5, 0.5), (0.5, 0.5))
    for states, labels in ((hidden, LABELS.repeat_interleave(2, 0)), (hidden[:3], LABELS)):
        with pytest.raises(ValueError, match="every example twice"):
            consistency_loss(states, head, labels, 7, 0.1, weights)


def test_both_methods_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`r_drop` or `simcut`"):
        pop_weights({"r_drop": 1.0, "simcut": 3.0})


def test_dropout_makes_the_passes_of_the_model_differ(make_model, source, target) -> None:
    both = {"input_ids": source.repeat(2, 1), "labels": target.repeat(2, 1)}

    def of_model(dropout: float, weight: float) -> float:
        model = make_model(dropout=dropout).train()
        torch.manual_seed(4)
        return model(**both, r_drop=weight).loss.item()

    assert of_model(0.0, 9.0) == pytest.approx(of_model(0.0, 1.0), rel=1e-5)
    assert of_model(0.3, 9.0) > 1.1 * of_model(0.3, 1.0)


@each_method
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_gradients_of_a_model_are_those_of_its_logits(
    make_model, source, target, method: str, tied: bool, bias: bool
) -> None:
    target[0, 3:] = IGNORED
    both = {"input_ids": source.repeat(2, 1), "labels": target.repeat(2, 1)}
    gradients = []
    for fused in (True, False):
        model = make_model(dropout=0.3, tie_word_embeddings=tied, lm_head_bias=bias).double().train()
        if not fused:
            model.lm_head.register_forward_hook(lambda module, inputs, output: output)  # a head that is called
        torch.manual_seed(4)
        model(**both, **{method: 3.0}, num_items_in_batch=9, label_smoothing=0.1).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)


def test_gradient_checkpointing_gives_the_same_gradients(make_model, source, target) -> None:
    both = {"input_ids": source.repeat(2, 1), "labels": target.repeat(2, 1)}
    gradients = []
    for checkpointing in (False, True):
        model = make_model(dropout=0.3).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch.manual_seed(4)
        model(**both, r_drop=3.0).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0])


def test_without_gradients_the_loss_is_the_same(make_model, source, target) -> None:
    model = make_model().train()
    both = {"input_ids": source.repeat(2, 1), "labels": target.repeat(2, 1)}
    expected = model(**both, r_drop=3.0).loss
    with torch.no_grad():
        torch.testing.assert_close(model(**both, r_drop=3.0).loss, expected)
        torch.testing.assert_close(model.eval()(**both, r_drop=3.0).loss, expected)


def test_mixed_precision_keeps_the_loss_in_fp32_and_close(make_model, source, target) -> None:
    model = make_model().train()
    both = {"input_ids": source.repeat(2, 1), "labels": target.repeat(2, 1)}
    exact = model(**both, r_drop=3.0).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(**both, r_drop=3.0).loss
    mixed.backward()
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact, rtol=2e-2, atol=0)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
