"""Test that the walk-through tells what the model computes, for every kind of model, within 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sineformer import SineformerConfig, SineformerForConditionalGeneration
from sineformer.modeling import attention as attention_file
from sineformer.training.explanation.encoder_steps import encoded
from sineformer.training.explanation.numpy_attention import attention
from sineformer.training.explanation.trace import Trace, trace
from sineformer.training.explanation.walkthrough import as_text, describe
from sineformer.training.pretrained.inspection import InspectionError

SOURCE = "a man is riding a horse in the garden, and two dogs are watching him from a distance"
REFERENCE = "ein Mann reitet ein Pferd"
KINDS = [
    {},
    {"normalize_before": True, "position_layout": "halves", "activation_function": "gelu"},
    {"sliding_window": 3, "scale_embedding": False, "tie_word_embeddings": False, "decoder_attention_heads": 4},
]


@pytest.fixture(params=KINDS, ids=lambda changes: ", ".join(changes) or "as in the paper")
def traced(request: pytest.FixtureRequest, small_tokenizers: Any) -> Trace:
    """Return the trace of a sentence, by models of several kinds."""
    torch.manual_seed(3)
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    widths = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = SineformerConfig(vocab_size=len(small_tokenizers.source), **{**sizes, **widths, **request.param})
    model = SineformerForConditionalGeneration(config).eval()
    return trace(model, small_tokenizers, SOURCE, REFERENCE)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_head_in_numpy_equals_that_of_the_model(traced: Trace, side: str) -> None:
    layer = f"model.{side}.layers.0"
    name = f"{layer}.self_attn"
    query, key, value = (traced.heads(name, f"{each}_proj") for each in "qkv")
    joined = traced.joined_heads(name)
    weights = getattr(traced.inspection, f"{side}_weights")[0]
    width = query.shape[2]
    for head in range(len(query)):
        arrays = (each[head].numpy() for each in (query, key, value))
        output, found = attention(*arrays, traced.visible(layer))
        np.testing.assert_allclose(output, joined[:, head * width : (head + 1) * width], atol=1e-5)
        np.testing.assert_allclose(found, weights[head], atol=1e-5)


@torch.inference_mode()
def test_the_record_is_that_of_the_translation(traced: Trace) -> None:
    ids = torch.tensor([traced.source_ids])
    torch.testing.assert_close(encoded(traced), traced.model.model.encoder(ids).last_hidden_state[0])
    target = torch.tensor([traced.target_ids])
    logits = traced.model(input_ids=ids, labels=target).logits[0]
    torch.testing.assert_close(traced.output("lm_head"), logits)


@torch.inference_mode()
def test_the_losses_are_those_of_the_reference(traced: Trace, small_tokenizers: Any) -> None:
    batch = small_tokenizers.source(SOURCE, text_target=REFERENCE, return_tensors="pt")
    mean = sum(loss for _, loss in traced.reference) / len(traced.reference)
    assert mean == pytest.approx(traced.model(**batch).loss.item(), rel=1e-5)
    assert traced.smoothed_loss == pytest.approx(traced.model(**batch, label_smoothing=0.1).loss.item(), rel=1e-5)
    assert len(traced.reference) == batch["labels"].shape[1]


def test_the_text_has_80_columns_and_no_gaps(traced: Trace) -> None:
    text = as_text(traced, describe(traced))
    assert [line for line in text.splitlines() if len(line) > 80 or line != line.rstrip()] == []
    assert "nan" not in text.split()
    assert "differs from that of the model by at most" in " ".join(text.split())


def test_every_step_names_code_that_exists(traced: Trace, is_defined: Callable[[str, str], bool]) -> None:
    for step in describe(traced):
        file, _, name = step.code.partition(": ")
        assert is_defined(file, name), step.code


def test_a_breakpoint_in_the_equation_fires(
    small_model: Any, small_tokenizers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[torch.Size] = []
    original = attention_file.scaled_dot_product_attention

    def counting(query: torch.Tensor, *others: Any) -> Any:
        calls.append(query.shape)
        return original(query, *others)

    monkeypatch.setattr(attention_file, "scaled_dot_product_attention", counting)
    traced = trace(small_model, small_tokenizers, SOURCE)
    assert (1, 2, len(traced.source_ids), 8) in calls
    assert (1, 2, len(traced.target_ids), 8) in calls


def test_no_hook_stays_behind(small_model: Any, small_tokenizers: Any) -> None:
    def count() -> int:
        trace(small_model, small_tokenizers, SOURCE)
        return sum(len(module._forward_hooks) for module in small_model.modules())

    assert count() == count()  # transformers keeps hooks of its own, once


def test_a_sentence_without_characters_is_refused(small_model: Any, small_tokenizers: Any) -> None:
    with pytest.raises(InspectionError, match="no visible characters"):
        trace(small_model, small_tokenizers, " ")
