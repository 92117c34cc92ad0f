"""Test padding, causality, sliding windows and attention implementations."""

from __future__ import annotations

import shutil

import pytest
import torch

from sineformer import SineformerForConditionalGeneration

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
compiles_flex = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")),
    reason="flex_attention on the CPU needs a C++ compiler",
)


def logits(model: SineformerForConditionalGeneration, source, mask, target, target_mask=None) -> torch.Tensor:
    return model(
        input_ids=source, attention_mask=mask, decoder_input_ids=target, decoder_attention_mask=target_mask
    ).logits


def padded(ids: torch.Tensor, left: int, right: int) -> tuple[torch.Tensor, torch.Tensor]:
    pad = torch.nn.functional.pad
    return pad(ids, (left, right), value=0), pad(torch.ones_like(ids), (left, right), value=0)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize(("left", "right"), [(0, 3), (3, 0), (2, 2)])
def test_left_right_and_no_padding_give_the_same_output(
    make_model, source, target, implementation: str, left: int, right: int
) -> None:
    model = make_model(attn_implementation=implementation)
    expected = logits(model, source, None, target)
    source_padded, source_mask = padded(source, left, right)
    torch.testing.assert_close(logits(model, source_padded, source_mask, target), expected, **TOLERANCE)
    target_padded, target_mask = padded(target, left, right)
    output = logits(model, source_padded, source_mask, target_padded, target_mask)
    torch.testing.assert_close(output[:, left : left + 5], expected, **TOLERANCE)


@compiles_flex
@pytest.mark.parametrize("sliding_window", [None, 3])
@torch.no_grad()  # torch has no backward of flex_attention on the CPU
def test_eager_and_sdpa_and_flex_agree(make_model, source, target, sliding_window: int | None) -> None:
    source_padded, source_mask = padded(source, 0, 2)
    source_mask[1] = 0
    models = {
        name: make_model(sliding_window=sliding_window, attn_implementation=name)
        for name in ("eager", "sdpa", "flex_attention")
    }
    outputs = {name: logits(model, source_padded, source_mask, target) for name, model in models.items()}
    assert torch.isfinite(outputs["flex_attention"]).all()
    torch.testing.assert_close(outputs["sdpa"], outputs["eager"], **TOLERANCE)
    torch.testing.assert_close(outputs["flex_attention"], outputs["eager"], **TOLERANCE)


def test_eager_and_sdpa_agree_in_gradients(make_model, source, target) -> None:
    source_padded, source_mask = padded(source, 2, 0)
    gradients = []
    for implementation in ("eager", "sdpa"):
        model = make_model(attn_implementation=implementation).train()
        model(input_ids=source_padded, attention_mask=source_mask, labels=target).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients, **TOLERANCE)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_sentence_of_padding_is_finite_and_does_not_change_others(
    make_model, source, target, implementation: str
) -> None:
    model = make_model(attn_implementation=implementation)
    mask = torch.ones_like(source)
    expected = logits(model, source, mask, target)
    mask[1] = 0
    output = logits(model, source, mask, target)
    assert torch.isfinite(output).all()
    torch.testing.assert_close(output[[0, 2]], expected[[0, 2]], **TOLERANCE)
    output.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_no_target_position_sees_a_later_one(make_model, source, target) -> None:
    model = make_model()
    changed = target.clone()
    changed[:, 3:] = 5
    before, after = logits(model, source, None, target), logits(model, source, None, changed)
    torch.testing.assert_close(after[:, :3], before[:, :3], **TOLERANCE)
    assert not torch.allclose(after[:, 3:], before[:, 3:], atol=1e-3)


def test_a_sliding_window_hides_distant_tokens(make_model) -> None:
    """Check that two encoder layers with a window of 3 see at most 2 * 3 tokens away, and cross-attention all."""
    source = torch.randint(4, 97, (1, 20), generator=torch.Generator().manual_seed(0))
    changed = source.clone()
    changed[0, 0] = (source[0, 0] - 3) % 93 + 4
    encoder = make_model(sliding_window=3).model.encoder
    before, after = encoder(source).last_hidden_state, encoder(changed).last_hidden_state
    assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-3)
    torch.testing.assert_close(before[:, 10:], after[:, 10:], **TOLERANCE)
    model = make_model(sliding_window=3)
    assert not torch.allclose(
        logits(model, source, None, source[:, :4])[:, -1], logits(model, changed, None, source[:, :4])[:, -1], atol=1e-4
    )


def test_cross_attention_gives_every_target_word_a_distribution_over_source_words(make_model, source, target) -> None:
    model = make_model(attn_implementation="eager")
    mask = torch.ones_like(source)
    mask[0, 5:] = 0
    output = model(input_ids=source, attention_mask=mask, decoder_input_ids=target, output_attentions=True)
    assert len(output.cross_attentions) == 3
    for weights in output.cross_attentions:
        assert weights.shape == (3, 2, 5, 7)  # [B, H, T, S]
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 2, 5))
        assert not weights[0, ..., 5:].any()
    assert output.decoder_attentions[0].shape == (3, 2, 5, 5)
    assert output.encoder_attentions[0].shape == (3, 4, 7, 7)


def test_hidden_states_are_the_embeddings_and_the_output_of_every_layer(make_model, source, target) -> None:
    output = make_model(normalize_before=True).model(
        input_ids=source, decoder_input_ids=target, output_hidden_states=True
    )
    assert [states.shape for states in output.encoder_hidden_states] == [(3, 7, 32)] * 3
    assert [states.shape for states in output.decoder_hidden_states] == [(3, 5, 32)] * 4
    assert torch.equal(output.decoder_hidden_states[-1], output.last_hidden_state)
