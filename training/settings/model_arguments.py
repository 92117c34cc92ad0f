"""Define the settings of the model: its architecture, and fine-tuning of another model.

Defaults are defined by `SineformerConfig`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from transformers.activations import ACT2FN

from ...configuration.configuration_sineformer import SineformerConfig as Default
from .facts import AT_LEAST_ONE, COMMON, FRACTION, MAY_CHANGE, MAY_DIFFER, NOT_NEGATIVE, PATH, Rule, setting

ACTIVATION = Rule(lambda name: name in ACT2FN, "must be a name in transformers.activations.ACT2FN")


@dataclass
class ModelArguments:
    """The architecture: fields of `SineformerConfig` under the same names, and the attention implementation."""

    d_model: int = setting("Width of the model.", Default.d_model, AT_LEAST_ONE, COMMON)
    encoder_layers: int = setting("Encoder layers.", Default.encoder_layers, AT_LEAST_ONE, COMMON)
    decoder_layers: int = setting("Decoder layers.", Default.decoder_layers, AT_LEAST_ONE, COMMON)
    encoder_attention_heads: int = setting("Heads per encoder layer.", Default.encoder_attention_heads, AT_LEAST_ONE)
    decoder_attention_heads: int = setting("Heads per decoder layer.", Default.decoder_attention_heads, AT_LEAST_ONE)
    encoder_ffn_dim: int = setting("Inner width of encoder feed-forward layers.", Default.encoder_ffn_dim, AT_LEAST_ONE)
    decoder_ffn_dim: int = setting("Inner width of decoder feed-forward layers.", Default.decoder_ffn_dim, AT_LEAST_ONE)
    dropout: float = setting(
        "Dropout on sublayer outputs and on embeddings.", float(Default.dropout), FRACTION, MAY_DIFFER, COMMON
    )
    attention_dropout: float = setting(
        "Dropout on attention weights.", float(Default.attention_dropout), FRACTION, MAY_DIFFER
    )
    activation_dropout: float = setting(
        "Dropout inside the feed-forward.", float(Default.activation_dropout), FRACTION, MAY_DIFFER
    )
    word_dropout: float = setting(
        "Probability of zeroing the embedding of a token, of source and target.",
        float(Default.word_dropout),
        FRACTION,
        MAY_DIFFER,
    )
    encoder_layerdrop: float = setting(
        "Probability that a micro-batch skips an encoder layer.",
        float(Default.encoder_layerdrop),
        FRACTION,
        MAY_DIFFER,
    )
    decoder_layerdrop: float = setting(
        "The same for a decoder layer.", float(Default.decoder_layerdrop), FRACTION, MAY_DIFFER
    )
    activation_function: str = setting("Feed-forward activation.", Default.activation_function, ACTIVATION)
    normalize_before: bool = setting("Pre-norm instead of the paper's post-norm.", Default.normalize_before)
    tie_word_embeddings: bool = setting("One matrix for embedding and output.", Default.tie_word_embeddings)
    max_position_embeddings: int = setting("Rows of the position table.", Default.max_position_embeddings, AT_LEAST_ONE)
    attn_implementation: str = setting("Attention backend: eager, sdpa, flex_attention, ...", "sdpa", MAY_CHANGE)

    def config_fields(self) -> dict[str, Any]:
        """Return the settings that are fields of `SineformerConfig`."""
        fields = dataclasses.asdict(self)
        fields.pop("attn_implementation")
        return fields


@dataclass
class FineTuningArguments:
    """The model to start from instead of random weights, and which parameters are trained."""

    model_name_or_path: str | None = setting(
        "Start from this Sineformer, a folder or a Hub id: its weights, architecture and tokenizer.", None, PATH, COMMON
    )
    model_revision: str | None = setting("Branch, tag or commit of a model on the Hub.", None)
    freeze: list[str] = setting(
        "Parts of that model to freeze: embeddings, encoder, decoder, lm_head, encoder.layers.0, "
        "decoder.layers.*.fc1, ...",
        [],
    )
    lora_r: int = setting(
        "Rank of the low-rank adapters (PEFT) that are trained instead of the weights; 0 for none.", 0, NOT_NEGATIVE
    )
    lora_alpha: int = setting("Adapters are scaled by lora_alpha / lora_r.", 16, AT_LEAST_ONE)
    lora_dropout: float = setting("Dropout on the input of adapters.", 0.0, FRACTION)
    lora_target_modules: list[str] = setting(
        "Linear layers with an adapter, by the end of their names; or all-linear.", ["q_proj", "v_proj"]
    )
