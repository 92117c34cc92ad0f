"""Test the loss: torch's cross-entropy, without storing all logits and divided by the count of a complete step."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy as torchs_cross_entropy

from sineformer.modeling import loss as loss_module
from sineformer.modeling.loss import translation_loss


def a_batch(bias: bool = False) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(0, 50, (4, 9))
    labels[1, 5:] = labels[2, :] = -100
    return torch.randn(4, 9, 16, requires_grad=True), nn.Linear(16, 50, bias=bias), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tokens_per_chunk", [1, 3, 10**4])
@pytest.mark.parametrize("bias", [False, True])
def test_value_and_gradients_are_those_of_torch(
    smoothing: float, tokens_per_chunk: int, bias: bool, monkeypatch
) -> None:
    monkeypatch.setattr(loss_module, "TOKENS_PER_CHUNK", tokens_per_chunk)
    hidden, head, labels = a_batch(bias)
    ours = translation_loss(hidden, head, labels, label_smoothing=smoothing)
    our_gradients = torch.autograd.grad(3 * ours, (hidden, *head.parameters()))
    theirs = torchs_cross_entropy(head(hidden).flatten(0, 1), labels.flatten(), label_smoothing=smoothing)
    their_gradients = torch.autograd.grad(3 * theirs, (hidden, *head.parameters()))
    torch.testing.assert_close(ours, theirs)
    for our_gradient, their_gradient in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-4, atol=1e-6)


class WatchedLinear(nn.Linear):
    """A head that the fused loss must call, like one with an adapter."""


def test_a_head_that_does_more_than_multiply_is_called(monkeypatch) -> None:
    hidden, head, labels = a_batch()
    expected = translation_loss(hidden, head, labels, label_smoothing=0.1)
    watched = WatchedLinear(16, 50, bias=False)
    watched.load_state_dict(head.state_dict())
    torch.testing.assert_close(translation_loss(hidden, watched, labels, label_smoothing=0.1), expected)
    head.register_forward_hook(lambda module, inputs, output: output + torch.arange(50.0))
    assert not torch.allclose(translation_loss(hidden, head, labels, label_smoothing=0.1), expected)


def test_training_never_stores_all_logits(make_model, source, target, monkeypatch) -> None:
    monkeypatch.setattr(loss_module, "TOKENS_PER_CHUNK", 4)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            nonlocal largest
            result = function(*arguments, **(keywords or {}))
            if function is torch.ops.aten.mm.default and result.shape[-1] == 97:
                largest = max(largest, len(result))
            return result

    model = make_model().train()
    with Watch():
        output = model(input_ids=source, labels=target)
        output.loss.backward()
    assert "logits" not in output
    assert largest == 4


def test_labels_are_not_shifted_again(make_model, source, target) -> None:
    model = make_model()
    output = model(input_ids=source, labels=target)
    start = torch.full((3, 1), 2)
    logits = model(input_ids=source, decoder_input_ids=torch.cat([start, target[:, :-1]], dim=1)).logits
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(output.loss, torchs_cross_entropy(logits.flatten(0, 1), target.flatten()))


def test_training_and_evaluation_give_the_same_loss(make_model, source, target) -> None:
    model = make_model()
    target[0, 3:] = -100
    resting = model(input_ids=source, labels=target, label_smoothing=0.1).loss
    torch.testing.assert_close(model.train()(input_ids=source, labels=target, label_smoothing=0.1).loss, resting)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_any_split_into_micro_batches_gives_the_gradient_of_one_batch(make_model, parts: int) -> None:
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randint(4, 97, (6, 8), generator=generator) for _ in range(2))
    target[0, 1:] = target[3, 5:] = -100
    model = make_model().train()
    model(input_ids=source, labels=target).loss.backward()
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    count = (target != -100).sum()
    for some_source, some_target in zip(source.chunk(parts), target.chunk(parts), strict=True):
        model(input_ids=some_source, labels=some_target, num_items_in_batch=count).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-4, atol=1e-6)


def test_a_batch_without_targets_has_zero_loss_and_gradients(make_model, source) -> None:
    model = make_model().train()
    loss = model(input_ids=source, labels=torch.full((3, 4), -100)).loss
    loss.backward()
    assert loss.item() == 0.0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())


def test_mixed_precision_keeps_the_loss_in_fp32_and_close(make_model, source, target) -> None:
    model = make_model().train()
    exact = model(input_ids=source, labels=target).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(input_ids=source, labels=target).loss
    mixed.backward()
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact, rtol=2e-2, atol=0)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
