"""Encoder and decoder (Vaswani et al., 2017, section 3.1): embeddings with positions, then N layers.

Letters of the shape comments: B batch, S source length, T target length, D d_model.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import Cache, DynamicCache, EncoderDecoderCache, PreTrainedConfig
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
)
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .attention import MultiHeadAttention
from .compatibility import CACHE, take_cache, warn_of_misspelt
from .inputs import check_exactly_one, check_mask, check_token_ids
from .layers import SineformerDecoderLayer, SineformerEncoderLayer
from .positional_encoding import SinusoidalPositionalEncoding, count_positions
from .pretrained_model import SineformerPreTrainedModel


class SineformerStack(SineformerPreTrainedModel):
    """What encoder and decoder have in common: embeddings with positions before the layers, perhaps a norm after."""

    def __init__(self, config: PreTrainedConfig, vocab_size: int, layers: Sequence[nn.Module]):
        super().__init__(config)
        self.dropout = config.dropout
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.embed_tokens: nn.Module = nn.Embedding(vocab_size, config.d_model, config.pad_token_id)
        self.embed_positions = SinusoidalPositionalEncoding(
            config.max_position_embeddings, config.d_model, config.position_layout
        )
        self.layers = nn.ModuleList(layers)
        if config.add_final_layer_norm:
            self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()
        # The plans of the configuration name the layers of the whole model, which would put a stack's own before them.
        self._tp_plan, self._fsdp_plan = {}, {}

    def embed(self, name: str, input_ids: torch.Tensor | None, inputs_embeds: Any) -> torch.Tensor:
        """Scaled embeddings `[B, S, D]` of `input_ids` `[B, S]`, or of `inputs_embeds`, which come unscaled."""
        check_exactly_one(**{f"{name}input_ids": input_ids, f"{name}inputs_embeds": inputs_embeds})
        if input_ids is not None:
            check_token_ids(f"{name}input_ids", input_ids, self.embed_tokens)
            inputs_embeds = self.embed_tokens(input_ids)  # [B, S, D]
        return inputs_embeds * self.embed_scale

    def add_positions(self, embeds: torch.Tensor, positions: torch.Tensor, max_length: int) -> torch.Tensor:
        """Embeddings `[B, S, D]` plus the encoding of `positions` `[B or 1, S]`, with dropout (section 5.4)."""
        states = embeds + self.embed_positions(positions, max_length).to(embeds.dtype)  # [B, S, D]
        return nn.functional.dropout(states, self.dropout, self.training)

    def normalize(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The norm at the end of the stack, to which pre-norm layers leave it."""
        return self.layer_norm(hidden_states) if self.config.add_final_layer_norm else hidden_states


class SineformerEncoder(SineformerStack):
    """N layers of self-attention and feed-forward over the source (section 3.1)."""

    _can_record_outputs = {"hidden_states": SineformerEncoderLayer, "attentions": MultiHeadAttention}  # noqa: RUF012

    def __init__(self, config: PreTrainedConfig):
        layers = [SineformerEncoderLayer(config, layer_idx) for layer_idx in range(config.encoder_layers)]
        super().__init__(config, config.vocab_size, layers)

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode the source.

        Args:
            input_ids: `[B, S]`; or `inputs_embeds` `[B, S, D]`, as the embedding layer returns them.
            attention_mask: `[B, S]`, 1 for real tokens and 0 for padding on either side.

        Returns:
            `last_hidden_state` `[B, S, D]`.

        Raises:
            ValueError, TypeError: the inputs are missing, doubled, of a wrong shape or outside the vocabulary.
        """
        warn_of_misspelt(kwargs)
        embeds = self.embed("", input_ids, inputs_embeds)
        length = embeds.shape[1]
        check_mask("attention_mask", attention_mask, length)
        if attention_mask is not None and attention_mask.ndim == 2:
            positions = count_positions(attention_mask, length)  # [B, S]
        else:
            positions = torch.arange(length, device=embeds.device).unsqueeze(0)  # [1, S]
        windowed = self.config.sliding_window is not None
        make_mask = create_bidirectional_sliding_window_mask if windowed else create_bidirectional_mask
        mask = make_mask(self.config, embeds, attention_mask)
        hidden_states = self.add_positions(embeds, positions, length)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, **kwargs)
        return BaseModelOutput(last_hidden_state=self.normalize(hidden_states))


class SineformerDecoder(SineformerStack):
    """N layers of causal self-attention, attention to the source and feed-forward over the target (section 3.1)."""

    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": SineformerDecoderLayer,
        "attentions": OutputRecorder(MultiHeadAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(MultiHeadAttention, index=1, layer_name="encoder_attn"),
    }

    def __init__(self, config: PreTrainedConfig):
        layers = [SineformerDecoderLayer(config, layer_idx) for layer_idx in range(config.decoder_layers)]
        super().__init__(config, config.target_vocab_size, layers)

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Decode the target, all positions at once or, with a cache, those that are new.

        Args:
            input_ids: `[B, T]`; or `inputs_embeds` `[B, T, D]`, as the embedding layer returns them.
            attention_mask: `[B, cached + T]`, 1 for real tokens and 0 for padding on either side.
            encoder_hidden_states: `[B, S, D]`, output of the encoder.
            encoder_attention_mask: `[B, S]`, 1 for real source tokens.
            cache: keys and values of earlier steps, which this call extends; `past_key_values` is the same.
            use_cache: whether to return such a cache; `config.use_cache` if not given.
            position_ids: `[B, T]`, each below cached + T; counted from the mask if not given.

        Returns:
            `last_hidden_state` `[B, T, D]` and the cache.

        Raises:
            ValueError, TypeError: the inputs are missing, doubled, of a wrong shape or outside the vocabulary.
        """
        cache = take_cache(cache, kwargs)
        warn_of_misspelt(kwargs)
        embeds = self.embed("decoder_", input_ids, inputs_embeds)
        if encoder_hidden_states is None:
            raise ValueError("The decoder needs `encoder_hidden_states` [batch, length, d_model] to attend to.")
        check_mask("attention_mask (of the source)", encoder_attention_mask, encoder_hidden_states.shape[1])
        cache = self.prepare_cache(cache, self.config.use_cache if use_cache is None else use_cache)
        positions, max_length = self.target_positions(embeds, attention_mask, cache)
        positions = positions if position_ids is None else position_ids  # [B or 1, T]
        past = None if cache is None else cache.self_attention_cache
        causal_mask = causal_mask_function(self.config)(self.config, embeds, attention_mask, past)
        source_mask = create_bidirectional_mask(self.config, embeds, encoder_attention_mask, encoder_hidden_states)
        hidden_states = self.add_positions(embeds, positions, max_length)
        for layer in self.layers:
            hidden_states = layer(hidden_states, causal_mask, encoder_hidden_states, source_mask, cache, **kwargs)
        named_cache: dict[str, Any] = {CACHE: cache}
        return BaseModelOutputWithPastAndCrossAttentions(self.normalize(hidden_states), **named_cache)

    def prepare_cache(self, cache: Cache | None, use_cache: bool) -> EncoderDecoderCache | None:
        """Return a cache for both attentions of a layer, that of the caller or a new one, or None."""
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return None  # the backward pass computes the layers once more, and would extend the cache once more
        if cache is None:
            cache = DynamicCache(config=self.config) if use_cache else None
        if cache is None or isinstance(cache, EncoderDecoderCache):
            return cache
        return EncoderDecoderCache(cache, DynamicCache(config=self.config))

    @staticmethod
    def target_positions(
        embeds: torch.Tensor, attention_mask: torch.Tensor | None, cache: EncoderDecoderCache | None
    ) -> tuple[torch.Tensor, int]:
        """Positions `[B or 1, T]` of the tokens of this call, and a number above all of them."""
        length = embeds.shape[1]
        past_length = 0 if cache is None else cache.get_seq_length()
        if isinstance(past_length, int):
            max_length = past_length + length
            check_mask("decoder_attention_mask", attention_mask, max_length)
        else:  # A static cache counts in a tensor; looking at it would wait for the device.
            max_length = cache.self_attention_cache.layers[0].max_cache_len
            check_mask("decoder_attention_mask", attention_mask, None)
        if attention_mask is not None and attention_mask.ndim == 2:
            return count_positions(attention_mask, length), max_length  # [B, T]
        return (torch.arange(length, device=embeds.device) + past_length).unsqueeze(0), max_length  # [1, T]


def causal_mask_function(config: PreTrainedConfig) -> Callable[..., Any]:
    """The mask of decoder self-attention: earlier positions, all or those in the sliding window."""
    return create_sliding_window_causal_mask if config.sliding_window else create_causal_mask
