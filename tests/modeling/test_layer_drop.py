"""Test layer drop (Fan et al., 2020): in training, layers are skipped at random."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from sineformer import SineformerConfig

ALWAYS = 1 - 1e-9  # the configuration does not accept 1


def test_a_dropped_layer_returns_its_input(make_model, source, target) -> None:
    model = make_model(encoder_layerdrop=ALWAYS, decoder_layerdrop=ALWAYS).train()
    output = model(input_ids=source, labels=target)
    without = make_model()
    without.model.encoder.layers = nn.ModuleList()
    without.model.decoder.layers = nn.ModuleList()
    torch.testing.assert_close(output.loss, without(input_ids=source, labels=target).loss)
    assert torch.equal(
        output.encoder_last_hidden_state, without(input_ids=source, labels=target).encoder_last_hidden_state
    )


def test_each_layer_is_dropped_with_the_probability_of_its_side(make_model, source, target) -> None:
    model = make_model(encoder_layerdrop=0.25, decoder_layerdrop=0.5).train()
    dropped: dict[nn.Module, int] = {}
    for layer in [*model.model.encoder.layers, *model.model.decoder.layers]:
        dropped[layer] = 0

        def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            dropped[module] += int(torch.equal(inputs[0], output))

        layer.register_forward_hook(count)
    torch.manual_seed(1)
    with torch.no_grad():
        for _ in range(400):
            model(input_ids=source, labels=target)
    shares = [count / 400 for count in dropped.values()]  # the standard deviation is below 0.025
    assert shares[:2] == pytest.approx([0.25] * 2, abs=0.1)
    assert shares[2:] == pytest.approx([0.5] * 3, abs=0.1)
    assert len(set(dropped.values())) > 1, "each layer has a draw of its own"


def test_evaluation_drops_nothing_and_rescales_nothing(make_model, source, target) -> None:
    expected = make_model()(input_ids=source, labels=target).loss
    assert torch.equal(
        make_model(encoder_layerdrop=0.9, decoder_layerdrop=0.9)(input_ids=source, labels=target).loss, expected
    )


def test_a_probability_of_zero_draws_no_random_number(make_model, source, target) -> None:
    model = make_model().train()
    state = torch.get_rng_state()
    model(input_ids=source, labels=target)
    assert torch.equal(torch.get_rng_state(), state)


def test_parameters_of_a_dropped_layer_have_zero_gradients_for_other_processes(make_model, source, target) -> None:
    model = make_model(decoder_layerdrop=ALWAYS).train()
    model(input_ids=source, labels=target).loss.backward()
    for parameter in model.model.decoder.layers.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def gradients(model: Any, source: torch.Tensor, target: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(5)
    return list(torch.autograd.grad(model(input_ids=source, labels=target).loss, list(model.parameters())))


def test_gradient_checkpointing_drops_the_same_layers_again(make_model, source, target) -> None:
    model = make_model(encoder_layerdrop=0.5, decoder_layerdrop=0.5).train()
    expected = gradients(model, source, target)
    model.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(model, source, target), expected)


def test_a_step_with_dropped_layers_is_one_graph(make_model, source, target) -> None:
    torch._dynamo.reset()
    model = make_model(encoder_layerdrop=0.5, decoder_layerdrop=0.5).train()
    expected = gradients(model, source, target)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(gradients(compiled, source, target), expected)
    torch._dynamo.reset()


def test_a_configuration_accepts_only_probabilities() -> None:
    assert SineformerConfig(encoder_layerdrop=0).encoder_layerdrop == SineformerConfig().decoder_layerdrop == 0
    for name in ("encoder_layerdrop", "decoder_layerdrop"):
        with pytest.raises(StrictDataclassError, match=f"`{name}` is 1; give a probability"):
            SineformerConfig(**{name: 1})
