"""Products by oneDNN are those of PyTorch, and are used for plain layers on the right processors alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from sineformer.modeling import products
from sineformer.modeling.products import add_product, multiply, project

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")
ZEN_5 = {"cpu_name": "AMD EPYC 9755", "avx512_f": True}
ZEN_3 = {"cpu_name": "AMD EPYC 7763", "avx512_f": False}
XEON = {"cpu_name": "Intel(R) Xeon(R) Platinum 8488C", "avx512_f": True}


@pytest.fixture
def by_onednn(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Let oneDNN compute all products that it can; return the list of the shapes of what it has multiplied."""
    shapes: list[torch.Size] = []
    compute = products._by_onednn

    def watched(states: torch.Tensor, *rest: Any) -> torch.Tensor:
        shapes.append(states.shape)
        return compute(states, *rest)

    monkeypatch.setattr(products, "_is_onednn_faster", lambda: True)
    monkeypatch.setattr(products, "ENOUGH", 1)
    monkeypatch.setattr(products, "_by_onednn", watched)
    return shapes


def a_layer(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 40, bias=bias)


@pytest.mark.parametrize("shape", [(1, 24), (70, 24), (3, 7, 24), (2, 1, 5, 24), (24,)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("loss", [torch.sum, torch.linalg.vector_norm])
def test_value_and_gradients_are_those_of_pytorch(
    by_onednn: list[torch.Size], shape: tuple[int, ...], bias: bool, loss: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    layer = a_layer(bias)
    states = torch.randn(shape, requires_grad=True)
    ours = project(layer, states)
    assert len(by_onednn) == 1
    our_gradients = torch.autograd.grad(loss(ours), (states, *layer.parameters()))
    assert len(by_onednn) == 3
    theirs = layer(states)
    torch.testing.assert_close(ours, theirs)
    their_gradients = torch.autograd.grad(loss(theirs), (states, *layer.parameters()))
    for found, expected in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("states", [torch.randn(24, 9).T, torch.randn(9, 48)[:, ::2], torch.randn(24).expand(9, 24)])
def test_states_may_lie_in_any_order(by_onednn: list[torch.Size], states: torch.Tensor) -> None:
    layer, states = a_layer(), states.requires_grad_()
    torch.testing.assert_close(project(layer, states), layer(states))
    assert len(by_onednn) == 1


@pytest.mark.parametrize("frozen", ["states", "weight", "bias"])
def test_what_is_frozen_gets_no_gradient(by_onednn: list[torch.Size], frozen: str) -> None:
    layer, states = a_layer(), torch.randn(5, 24, requires_grad=True)
    operands = {"states": states, "weight": layer.weight, "bias": layer.bias}
    operands[frozen].requires_grad_(False)
    project(layer, states).square().sum().backward()
    assert [name for name, each in operands.items() if each.grad is None] == [frozen]
    assert len(by_onednn) == (3 if frozen == "bias" else 2)


def test_the_gradient_has_a_gradient(by_onednn: list[torch.Size]) -> None:
    found = []
    layer, states = a_layer(), torch.randn(5, 24, requires_grad=True)
    for call in (lambda: project(layer, states), lambda: layer(states)):
        (gradient,) = torch.autograd.grad(call().pow(3).sum(), states, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), (states, layer.weight)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    assert by_onednn


@pytest.mark.parametrize("bias", [False, True])
def test_products_without_gradient(by_onednn: list[torch.Size], bias: bool) -> None:
    layer, states, total = a_layer(bias), torch.randn(50, 24), torch.randn(40, 24)
    with torch.no_grad():
        output = multiply(states, layer.weight, layer.bias)
        torch.testing.assert_close(output, layer(states))
        torch.testing.assert_close(multiply(output, layer.weight.T), output @ layer.weight)
        for layout in (total.clone(), total.T.clone().T):
            add_product(layout, output, states)
            torch.testing.assert_close(layout, total + output.T @ states, rtol=1e-4, atol=1e-4)
    assert len(by_onednn) == 4


@pytest.mark.parametrize("changes", [{"normalize_before": True}, {"tie_word_embeddings": False, "lm_head_bias": True}])
@pytest.mark.parametrize("asked", [{}, {"r_drop": 1.0}], ids=str)
def test_a_training_step_is_the_same(make_model, by_onednn, monkeypatch, changes, asked) -> None:
    gradients, losses, counts = [], [], []
    ids, labels = (torch.randint(4, 97, (3, length)).repeat(2, 1) for length in (7, 9))
    for faster in (True, False):
        monkeypatch.setattr(products, "_is_onednn_faster", lambda faster=faster: faster)
        model = make_model(**changes).train()
        loss = model(input_ids=ids, labels=labels, label_smoothing=0.1, **asked).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append([parameter.grad for parameter in model.parameters()])
        counts.append(len(by_onednn))
    torch.testing.assert_close(*losses)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    layers = 2 * 6 + 3 * 10  # products of the layers of encoder and decoder; three of each, and those of the loss
    assert counts[0] == counts[1] >= 3 * layers + 3


@pytest.mark.parametrize("beams", [1, 4])
def test_a_search_is_the_same(taught, by_onednn, monkeypatch, beams) -> None:
    ids, found = torch.randint(4, 97, (9, 20)), []
    for faster in (True, False):
        monkeypatch.setattr(products, "_is_onednn_faster", lambda faster=faster: faster)
        found.append(taught.generate(ids, num_beams=beams, max_new_tokens=20))
    assert torch.equal(*found)
    assert len(by_onednn) > 20 * 3


class Doubled(nn.Linear):
    """A layer that does more than multiply."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(states)


def replace_forward(layer: nn.Linear) -> None:
    forward = layer.forward
    layer.forward = lambda states: 2 * forward(states)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.register_forward_hook(lambda module, inputs, output: 2 * output),
        lambda layer: layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],)),
        replace_forward,
        lambda layer: setattr(layer, "__class__", Doubled),
    ],
)
def test_a_layer_that_does_more_is_called(by_onednn: list[torch.Size], change: Callable[[nn.Linear], object]) -> None:
    layer, states = a_layer(bias=False), torch.randn(5, 24)
    expected = 2 * layer(states)
    change(layer)
    torch.testing.assert_close(project(layer, states), expected)
    assert not by_onednn


def test_hooks_on_gradients_are_called(by_onednn: list[torch.Size]) -> None:
    layer, seen = a_layer(), []
    layer.register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs))
    project(layer, torch.randn(5, 24, requires_grad=True)).sum().backward()
    assert len(seen) == 1
    assert not by_onednn


def test_autocast_is_respected(by_onednn: list[torch.Size]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert project(a_layer(), torch.randn(5, 24)).dtype == torch.bfloat16
    assert not by_onednn


def test_other_types_are_pytorchs(by_onednn: list[torch.Size]) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        assert project(a_layer().to(dtype), torch.randn(5, 24, dtype=dtype)).dtype == dtype
    assert not by_onednn


def test_onednn_can_be_turned_off(by_onednn: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=False):
        project(a_layer(), torch.randn(5, 24))
    assert not by_onednn


def test_gradients_of_single_examples(by_onednn: list[torch.Size]) -> None:
    layer, states = a_layer(), torch.randn(6, 24)

    def loss(parameters: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(nn.ModuleDict({"x": layer})["x"], parameters, one).square().sum()

    expected = torch.func.vmap(torch.func.grad(loss), (None, 0))(dict(layer.named_parameters()), states)

    def ours(parameters: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
        return (multiply(one, parameters["weight"], parameters["bias"]) + 0 * project(layer, one)).square().sum()

    found = torch.func.vmap(torch.func.grad(ours), (None, 0))(dict(layer.named_parameters()), states)
    torch.testing.assert_close(found, expected)
    assert not by_onednn


@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
def test_a_trace_holds_for_other_sizes(by_onednn: list[torch.Size]) -> None:
    layer = a_layer().requires_grad_(False)
    traced = torch.jit.trace(lambda states: project(layer, states), torch.randn(5, 24), check_trace=False)
    assert not by_onednn
    states = torch.randn(3, 7, 24)
    torch.testing.assert_close(traced(states), layer(states))


def test_a_wrong_width_has_the_error_of_pytorch(by_onednn: list[torch.Size]) -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        project(a_layer(), torch.randn(5, 23))


def test_small_products_are_pytorchs(by_onednn: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "ENOUGH", 24 * 40 * 5)
    project(a_layer(), torch.randn(4, 24))
    assert not by_onednn
    project(a_layer(), torch.randn(5, 24))
    assert by_onednn


@pytest.mark.parametrize(("capabilities", "expected"), [(ZEN_5, True), (ZEN_3, False), (XEON, False), ({}, False)])
def test_processors(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert products._is_onednn_faster.__wrapped__() is expected


@pytest.mark.parametrize(
    "changed",
    [
        lambda states, weight: states,  # other arguments
        lambda *arguments: torch.zeros(1, 3),
        lambda *arguments: torch.ops.mkldnn.no_such_function(),
    ],
)
def test_a_release_with_another_function(monkeypatch: pytest.MonkeyPatch, changed: Callable[..., Any]) -> None:
    assert products._has_onednn()
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", changed)
    assert not products._has_onednn()


def test_where_pytorch_tells_nothing_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert products._is_onednn_faster.__wrapped__() is False
