"""The model that training begins with."""

from __future__ import annotations

from ..configuration.configuration_sineformer import SineformerConfig
from ..modeling.modeling_sineformer import SineformerForConditionalGeneration
from .arguments import Settings
from .tokenizer import Tokenizers


def fresh_model(settings: Settings, tokenizers: Tokenizers) -> SineformerForConditionalGeneration:
    """A fresh model for these vocabularies, with its generation parameters."""
    special = {
        "pad_token_id": tokenizers.target.pad_token_id,
        "bos_token_id": tokenizers.target.bos_token_id,
        "eos_token_id": tokenizers.target.eos_token_id,
        "decoder_start_token_id": tokenizers.target.bos_token_id,
    }
    config = SineformerConfig(
        **settings.model.config_fields(),
        **special,
        vocab_size=len(tokenizers.source),
        decoder_vocab_size=len(tokenizers.target),
        share_encoder_decoder_embeddings=tokenizers.joint,
    )
    config._attn_implementation = settings.model.attn_implementation
    model = SineformerForConditionalGeneration(config)
    model.generation_config.update(
        num_beams=settings.evaluation.num_beams,
        length_penalty=settings.evaluation.length_penalty,
        early_stopping=settings.evaluation.num_beams > 1,
    )
    return model
