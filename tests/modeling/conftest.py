"""Provide small models and batches to the tests of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import MarianConfig, MarianMTModel

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
LIKE_MARIAN = {"position_layout": "halves", "activation_function": "swish"}
MakePair = Callable[..., tuple[MarianMTModel, SineformerForConditionalGeneration]]
FIELDS_OF_MARIAN = (
    *("vocab_size", "decoder_vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim"),
    *("encoder_attention_heads", "decoder_attention_heads", "decoder_ffn_dim", "max_position_embeddings"),
    *("scale_embedding", "activation_function", "share_encoder_decoder_embeddings", "tie_word_embeddings"),
    *("pad_token_id", "eos_token_id", "bos_token_id", "decoder_start_token_id"),
)


@pytest.fixture
def make_model() -> MakeModel:
    """Return a function that makes a small model in evaluation mode, the same for the same arguments."""

    def make(**changes: Any) -> SineformerForConditionalGeneration:
        attention = changes.pop("attn_implementation", "sdpa")
        torch.manual_seed(0)
        config = SineformerConfig(**{**SMALL, **changes}, attn_implementation=attention)
        return SineformerForConditionalGeneration(config).eval()

    return make


@pytest.fixture
def randomize_vectors() -> Callable[[nn.Module], None]:
    """Return a function that randomises biases and norms: zeros and ones would hide a missing one."""

    def randomize(module: nn.Module) -> None:
        for parameter in module.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, mean=0.5, std=0.2)

    return randomize


@pytest.fixture
def marian_and_ours(make_model: MakeModel, randomize_vectors: Callable[[nn.Module], None]) -> MakePair:
    """Return a function that makes a MarianMTModel and a Sineformer with the same weights and generation config."""

    def make(**changes: Any) -> tuple[MarianMTModel, SineformerForConditionalGeneration]:
        ours = make_model(**LIKE_MARIAN, **changes)
        shared = {name: getattr(ours.config, name) for name in FIELDS_OF_MARIAN}
        implementation = ours.config._attn_implementation
        config = MarianConfig(**shared, dropout=0.0, forced_eos_token_id=None, attn_implementation=implementation)
        theirs = MarianMTModel(config).eval()
        randomize_vectors(theirs)
        weights = {name: value for name, value in theirs.state_dict().items() if "embed_positions" not in name}
        weights.pop("final_logits_bias")
        ours.load_state_dict(weights)
        ours.generation_config = theirs.generation_config
        return theirs, ours

    return make


@pytest.fixture(scope="session")
def taught_weights() -> dict[str, torch.Tensor]:
    """Return weights for `make_model(**LIKE_MARIAN)`, trained briefly to reverse sequences.

    With random weights, a model repeats a single token for any source; with these, outputs vary, are uncertain and
    sometimes end. In fp64, so that they do not depend on how a processor and its threads round.
    """
    torch.manual_seed(0)
    model = SineformerForConditionalGeneration(SineformerConfig(**SMALL, **LIKE_MARIAN)).double().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(200):
        source = torch.randint(4, 97, (32, 2 + step % 6))
        labels = nn.functional.pad(source.flip(1), (0, 1), value=3)
        model(input_ids=source, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.float() for name, value in model.state_dict().items()}


@pytest.fixture
def taught(make_model: MakeModel, taught_weights: dict[str, torch.Tensor]) -> SineformerForConditionalGeneration:
    """Return a small model whose translations vary, are uncertain and sometimes end."""
    model = make_model(**LIKE_MARIAN)
    model.load_state_dict(taught_weights)
    return model


@pytest.fixture
def source() -> torch.Tensor:
    """Return token ids of three source sentences without padding, `[3, 7]`."""
    return torch.randint(4, 97, (3, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def target() -> torch.Tensor:
    """Return token ids of their targets, `[3, 5]`."""
    return torch.randint(4, 97, (3, 5), generator=torch.Generator().manual_seed(2))
