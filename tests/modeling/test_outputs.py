"""Test that the output of a training step has logits, which are computed only on access."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

LOOKS: dict[str, Callable[[Any], torch.Tensor]] = {
    "attribute": lambda output: output.logits,
    "key": lambda output: output["logits"],
    "get": lambda output: output.get("logits"),
    "index": lambda output: output[1],
    "slice": lambda output: output[:2][1],
    "tuple": lambda output: output.to_tuple()[1],
    "copy": lambda output: copy.copy(output).logits,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_logits_of_a_training_step_are_available_by_every_access(make_model, source, target, look) -> None:
    model = make_model()
    expected = model(input_ids=source, labels=target)
    output = model.train()(input_ids=source, labels=target)
    assert "logits" not in output
    assert torch.equal(look(output), expected.logits)
    assert list(output) == list(expected)
    assert torch.equal(output["encoder_last_hidden_state"], output[2])


def test_reading_the_loss_computes_no_logits(make_model, source, target, monkeypatch) -> None:
    model = make_model().train()
    output = model(input_ids=source, labels=target)
    monkeypatch.setattr(model.lm_head, "forward", lambda hidden: pytest.fail("the head was called"))
    assert output.loss is output["loss"] is output[0]
    output.loss.backward()


def test_a_custom_loss_has_gradients_through_the_logits(make_model, source, target) -> None:
    model = make_model().train()
    output = model(input_ids=source, labels=target)
    torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), target.flatten()).backward()
    found = model.lm_head.weight.grad.clone()
    model.zero_grad()
    model(input_ids=source, labels=target).loss.backward()
    torch.testing.assert_close(found, model.lm_head.weight.grad)


@pytest.mark.parametrize("training", [True, False])
def test_a_tuple_has_the_loss_and_then_the_logits(make_model, source, target, training: bool) -> None:
    model = make_model()
    expected = model(input_ids=source, labels=target)
    loss, logits, encoded = model.train(training)(input_ids=source, labels=target, return_dict=False)
    torch.testing.assert_close(loss, expected.loss)
    assert torch.equal(logits, expected.logits)
    assert torch.equal(encoded, expected.encoder_last_hidden_state)


def test_several_processes_train_without_logits_except_in_a_tuple(make_model, source, target, monkeypatch) -> None:
    # FSDP and DDP read every field of an output, which would compute logits outside of the wrapped model.
    model = make_model().train()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    output = model(input_ids=source, labels=target)
    assert output.logits is None
    _, logits, _ = model(input_ids=source, labels=target, return_dict=False)
    assert logits.shape == (*target.shape, model.config.vocab_size)
