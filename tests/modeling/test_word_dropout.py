"""Test word dropout (Gal and Ghahramani, 2016): in training, embeddings of tokens are zeroed at random."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from sineformer import SineformerConfig
from sineformer.modeling.encoder_decoder import SineformerStack

ALWAYS = 1 - 1e-9  # the configuration does not accept 1


def embedded(stack: SineformerStack, input_ids: torch.Tensor, word_dropout: Any) -> torch.Tensor:
    """Return which embeddings `[B, S]` are not zero."""
    return stack.embed("", input_ids, None, word_dropout).any(dim=-1)


def test_every_ordinary_token_is_dropped_and_no_special_one(make_model) -> None:
    model = make_model(eos_token_id=[3, 4]).train()
    with torch.no_grad():
        model.model.shared.weight.fill_(1.0)  # that of padding too, which is zero at first
    input_ids = torch.tensor([[2, 7, 8, 3, 0], [2, 9, 1, 50, 4]])
    for stack in (model.model.encoder, model.model.decoder):
        expected = [[True, False, False, True, True], [True, False, False, False, True]]
        assert embedded(stack, input_ids, ALWAYS).tolist() == expected
        assert embedded(stack, input_ids, 0.0).all()


def test_dropped_tokens_keep_their_position_and_others_are_not_rescaled(make_model, source) -> None:
    encoder = make_model(word_dropout=0.5).train().model.encoder
    torch.manual_seed(1)
    hidden = encoder.embed("", source, None, 0.5)
    plain = encoder.embed("", source, None)
    dropped = ~hidden.any(dim=-1)
    assert 0 < dropped.sum() < dropped.numel()
    torch.testing.assert_close(hidden[~dropped], plain[~dropped])
    calls: list[torch.Tensor] = []
    encoder.layers[0].register_forward_pre_hook(lambda module, inputs: calls.append(inputs[0]))
    torch.manual_seed(1)
    encoder(source)
    torch.testing.assert_close(calls[0], hidden + encoder.embed_positions(torch.arange(source.shape[1])[None], 64))


def test_each_occurrence_of_each_sentence_is_drawn_with_its_own_probability(make_model) -> None:
    encoder = make_model().train().model.encoder
    torch.manual_seed(2)
    kept = embedded(encoder, torch.full((3, 4000), 7), torch.tensor([0.0, 0.1, 0.5])).float().mean(dim=1)
    assert kept.tolist() == pytest.approx([1.0, 0.9, 0.5], abs=0.04)


def test_source_and_target_are_dropped_as_the_configuration_says(make_model, source, target) -> None:
    model = make_model(word_dropout=0.3).train()
    rates: list[Any] = []
    for stack in (model.model.encoder, model.model.decoder):
        kept_words = stack.kept_words

        def noted(input_ids: torch.Tensor, word_dropout: Any, kept_words: Any = kept_words) -> torch.Tensor:
            rates.append(word_dropout)
            return kept_words(input_ids, word_dropout)

        stack.kept_words = noted
    model(input_ids=source, labels=target)
    assert rates == [0.3, 0.3]
    model(input_ids=source, labels=target, word_dropout=0.9)
    assert rates == [0.3, 0.3, 0.9, 0.9]
    model(input_ids=source, labels=target, word_dropout=0.0)
    assert len(rates) == 4
    model(inputs_embeds=model.get_input_embeddings()(source), labels=target, word_dropout=0.8)
    assert rates[4:] == [0.8], "embeddings that are given are kept; the target has ids"


def test_evaluation_and_generation_drop_nothing(make_model, source, target) -> None:
    expected = make_model()(input_ids=source, labels=target).loss
    model = make_model(word_dropout=0.9)
    assert torch.equal(model(input_ids=source, labels=target).loss, expected)
    assert torch.equal(model(input_ids=source, labels=target, word_dropout=0.9).loss, expected)
    assert torch.equal(model.generate(source, max_new_tokens=5), make_model().generate(source, max_new_tokens=5))


def test_a_probability_of_zero_draws_no_random_number(make_model, source, target) -> None:
    model = make_model().train()
    state = torch.get_rng_state()
    model(input_ids=source, labels=target)
    assert torch.equal(torch.get_rng_state(), state)


def gradients(model: Any, source: torch.Tensor, target: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(5)
    return list(torch.autograd.grad(model(input_ids=source, labels=target).loss, list(model.parameters())))


def test_gradient_checkpointing_drops_the_same_tokens(make_model, source, target) -> None:
    model = make_model(word_dropout=0.3).train()
    expected = gradients(model, source, target)
    model.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(model, source, target), expected)


def test_a_step_with_dropped_tokens_is_one_graph(make_model, source, target) -> None:
    torch._dynamo.reset()
    model = make_model(word_dropout=0.3).train()
    expected = gradients(model, source, target)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(gradients(compiled, source, target), expected)
    torch._dynamo.reset()


def test_a_configuration_keeps_it_and_accepts_only_probabilities() -> None:
    assert SineformerConfig.from_dict(SineformerConfig(word_dropout=0.1).to_dict()).word_dropout == 0.1
    with pytest.raises(StrictDataclassError, match="`word_dropout` is 1; give a probability"):
        SineformerConfig(word_dropout=1)
