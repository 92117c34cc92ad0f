"""Explain attention by small examples, and compare it with that of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sineformer import SineformerConfig
from sineformer.modeling import attention
from sineformer.modeling.attention import MultiHeadAttention, scaled_dot_product_attention


def attention_module(d_model: int, num_heads: int, implementation: str = "eager", **kwargs) -> MultiHeadAttention:
    torch.manual_seed(0)
    config = SineformerConfig(
        d_model=d_model, encoder_attention_heads=1, decoder_attention_heads=1, attn_implementation=implementation
    )
    return MultiHeadAttention(config, num_heads, **kwargs).eval()


def numpy_softmax(scores: np.ndarray) -> np.ndarray:
    # Subtracting the maximum changes nothing but keeps exp() from overflowing.
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def numpy_attention(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = numpy_softmax(query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1]))
    return weights @ value, weights


def test_softmax_turns_scores_into_probabilities() -> None:
    assert numpy_softmax(np.array([2.0, 1.0, 0.1])).round(4).tolist() == [0.6590, 0.2424, 0.0986]
    assert np.isfinite(numpy_softmax(np.array([1e4, 0.0, -1e4]))).all()


def test_attention_is_softmax_of_qk_over_root_dk_times_v() -> None:
    generator = np.random.default_rng(0)
    query, key, value = (generator.normal(size=(2, length, 16)) for length in (5, 7, 7))
    output, weights = scaled_dot_product_attention(*(torch.from_numpy(array) for array in (query, key, value)))
    expected_output, expected_weights = numpy_attention(query, key, value)
    np.testing.assert_allclose(weights.numpy(), expected_weights, rtol=0, atol=1e-12)
    np.testing.assert_allclose(output.numpy(), expected_output, rtol=0, atol=1e-12)


def test_eight_heads_over_ten_tokens_keep_the_shape_and_give_rows_that_sum_to_one() -> None:
    attention = attention_module(d_model=512, num_heads=8)
    output, weights = attention(torch.randn(64, 10, 512))
    assert output.shape == (64, 10, 512)
    assert weights.shape == (64, 8, 10, 10)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(64, 8, 10))


def test_a_breakpoint_in_equation_one_stops_with_eager_attention(make_model, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(query: torch.Tensor, *rest) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(query.shape[-2])
        return scaled_dot_product_attention(query, *rest)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", counted)
    model = make_model()
    source, target = torch.tensor([[5, 6, 7, 3]]), torch.tensor([[2, 8, 9]])
    model(input_ids=source, decoder_input_ids=target)
    assert calls == [], "the default, sdpa, does not call it"
    model.set_attn_implementation("eager")
    model(input_ids=source, decoder_input_ids=target)
    assert calls == [4, 4, *[3] * 6], "two encoder layers, and three decoder layers with two attentions each"
    calls.clear()
    model.generate(source, max_new_tokens=2)
    assert calls == [4, 4], "our search has a decoder of its own"
    calls.clear()
    model.generate(source, max_new_tokens=2, use_cache=False)
    assert calls[:8] == [4, 4, *[1] * 6]


def one_head_by_hand(attention: MultiHeadAttention, states: torch.Tensor) -> torch.Tensor:
    query, key, value = attention.q_proj(states), attention.k_proj(states), attention.v_proj(states)
    return attention.out_proj(scaled_dot_product_attention(query, key, value)[0])


def test_one_head_is_plain_self_attention() -> None:
    attention, states = attention_module(d_model=32, num_heads=1), torch.randn(2, 6, 32)
    torch.testing.assert_close(attention(states)[0], one_head_by_hand(attention, states))


def test_several_heads_are_not_one_head() -> None:
    attention, states = attention_module(d_model=32, num_heads=4), torch.randn(2, 6, 32)
    assert not torch.allclose(attention(states)[0], one_head_by_hand(attention, states), atol=1e-3)


def test_a_causal_mask_lets_no_position_see_a_later_one() -> None:
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    _, weights = attention_module(d_model=32, num_heads=4, is_causal=True)(torch.randn(2, 6, 32), mask)
    assert torch.equal(weights.triu(diagonal=1), torch.zeros_like(weights))
    assert (weights.tril()[..., mask] > 0).all()


def test_causal_attention_at_a_position_does_not_depend_on_later_tokens() -> None:
    attention = attention_module(d_model=32, num_heads=4, implementation="sdpa", is_causal=True)
    states = torch.randn(2, 6, 32)
    changed = states.clone()
    changed[:, 4:] += 1.0
    before, after = attention(states)[0], attention(changed)[0]
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("as_float", [False, True])
def test_a_fully_masked_row_gives_zeros_and_finite_gradients(as_float: bool) -> None:
    query, key, value = (torch.randn(2, 4, 8, requires_grad=True) for _ in range(3))
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    mask[0, 1] = False
    sent = torch.where(mask, 0.0, torch.finfo(torch.float32).min) if as_float else mask
    output, weights = scaled_dot_product_attention(query, key, value, sent)
    assert torch.equal(weights[0, 1], torch.zeros(4))
    assert torch.equal(output[0, 1], torch.zeros(8))
    untouched, _ = scaled_dot_product_attention(query, key, value)
    assert torch.equal(output[1], untouched[1])
    output.sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in (query, key, value))


def test_a_float_mask_is_added_to_the_scores() -> None:
    query, key, value = (torch.randn(3, 8, dtype=torch.float64) for _ in range(3))
    bias = torch.randn(3, 3, dtype=torch.float64)
    _, weights = scaled_dot_product_attention(query, key, value, bias)
    torch.testing.assert_close(weights, (query @ key.T / 8**0.5 + bias).softmax(-1))


def test_weights_are_dropped_only_in_training() -> None:
    query, key, value = (torch.randn(4, 50, 8) for _ in range(3))
    _, resting = scaled_dot_product_attention(query, key, value, dropout=0.5, training=False)
    _, training = scaled_dot_product_attention(query, key, value, dropout=0.5, training=True)
    kept = training != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(training[kept], 2 * resting[kept])


@pytest.mark.parametrize("causal", [False, True])
def test_equals_torchs_multi_head_attention_on_the_same_weights(causal: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    ours = attention_module(d_model=32, num_heads=4, is_causal=causal)
    for index, projection in enumerate((ours.q_proj, ours.k_proj, ours.v_proj)):
        projection.weight.data.copy_(theirs.in_proj_weight.data.chunk(3)[index])
        projection.bias.data.copy_(theirs.in_proj_bias.data.chunk(3)[index])
    ours.out_proj.load_state_dict(theirs.out_proj.state_dict())
    visible = torch.ones(6, 6, dtype=torch.bool).tril() if causal else torch.ones(6, 6, dtype=torch.bool)
    their_states, our_states = (torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    their_states.requires_grad_(), our_states.requires_grad_()
    expected, expected_weights = theirs(
        their_states, their_states, their_states, attn_mask=~visible, average_attn_weights=False
    )
    output, weights = ours(our_states, visible)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=1e-5)
    (expected**2).sum().backward()
    (output**2).sum().backward()
    torch.testing.assert_close(our_states.grad, their_states.grad, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.k_proj.weight.grad, theirs.in_proj_weight.grad.chunk(3)[1], rtol=0, atol=1e-4)


def test_cross_attention_without_an_encoder_output_is_refused() -> None:
    attention = attention_module(d_model=32, num_heads=4, is_cross_attention=True)
    with pytest.raises(ValueError, match="key_value_states"):
        attention(torch.randn(2, 6, 32))
