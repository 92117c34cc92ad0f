"""Small models and batches that the tests of the model share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sineformer import SineformerConfig, SineformerForConditionalGeneration

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "dropout": 0.0,
}
MakeModel = Callable[..., SineformerForConditionalGeneration]


@pytest.fixture
def make_model() -> MakeModel:
    """A function that makes a small model in evaluation mode, the same one for the same arguments."""

    def make(**changes: Any) -> SineformerForConditionalGeneration:
        attention = changes.pop("attn_implementation", "sdpa")
        torch.manual_seed(0)
        config = SineformerConfig(**{**SMALL, **changes}, attn_implementation=attention)
        return SineformerForConditionalGeneration(config).eval()

    return make


@pytest.fixture
def source() -> torch.Tensor:
    """Token ids of three source sentences without padding, `[3, 7]`."""
    return torch.randint(4, 97, (3, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def target() -> torch.Tensor:
    """Token ids of their targets, `[3, 5]`."""
    return torch.randint(4, 97, (3, 5), generator=torch.Generator().manual_seed(2))
