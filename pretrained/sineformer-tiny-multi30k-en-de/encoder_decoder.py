"""Define encoder and decoder (Vaswani et al., 2017, section 3.1): embeddings with positions, then N layers.

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
from .compatibility import CACHE, pop_cache, warn_of_misspelt
from .dropout import dropout
from .inputs import check_exactly_one, check_mask, check_token_ids
from .layers import SineformerDecoderLayer, SineformerEncoderLayer
from .positional_encoding import SinusoidalPositionalEncoding, count_positions
from .pretrained_model import SineformerPreTrainedModel


class SineformerStack(SineformerPreTrainedModel):
    """Base class of encoder and decoder: embeddings with positions, layers, and optionally a final norm."""

    def __init__(self, config: PreTrainedConfig, vocab_size: int, layers: Sequence[nn.Module]):
        super().__init__(config)
        self.dropout = config.dropout
        self.word_dropout = config.word_dropout
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
        # The plans of the configuration are for the complete model; a stack must not add a copy under its own prefix.
        self._tp_plan, self._fsdp_plan = {}, {}

    def embed(
        self, name: str, input_ids: torch.Tensor | None, inputs_embeds: Any, word_dropout: torch.Tensor | float = 0.0
    ) -> torch.Tensor:
        """Return scaled embeddings `[B, S, D]` of `input_ids` `[B, S]`, or of unscaled `inputs_embeds` `[B, S, D]`.

        Args:
            word_dropout: probability of zeroing the embedding of an id in training, `[B]` or one number.
        """
        check_exactly_one(**{f"{name}input_ids": input_ids, f"{name}inputs_embeds": inputs_embeds})
        if input_ids is not None:
            check_token_ids(f"{name}input_ids", input_ids, self.embed_tokens)
            inputs_embeds = self.embed_tokens(input_ids)  # [B, S, D]
            if self.training and (isinstance(word_dropout, torch.Tensor) or word_dropout > 0):
                inputs_embeds = inputs_embeds * self.kept_words(input_ids, word_dropout).unsqueeze(-1)
        return inputs_embeds * self.embed_scale

    def kept_words(self, input_ids: torch.Tensor, word_dropout: torch.Tensor | float) -> torch.Tensor:
        """Draw which tokens of `[B, S]` keep their embedding; padding, start and end tokens always do."""
        config = self.config
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        special = {config.pad_token_id, config.bos_token_id, config.decoder_start_token_id, *ends} - {None}
        rates = torch.as_tensor(word_dropout, device=input_ids.device).reshape(-1, 1)  # [B or 1, 1]
        drawn = torch.rand(input_ids.shape, device=input_ids.device) >= rates  # [B, S]
        return drawn | torch.isin(input_ids, torch.tensor(sorted(special), device=input_ids.device))

    def add_positions(self, embeds: torch.Tensor, positions: torch.Tensor, max_length: int) -> torch.Tensor:
        """Add the encoding of `positions` `[B or 1, S]` to `embeds` `[B, S, D]`, and apply dropout (section 5.4)."""
        states = embeds + self.embed_positions(positions, max_length).to(embeds.dtype)  # [B, S, D]
        return dropout(states, self.dropout, self.training)

    def normalize(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Apply the final layer normalisation, if the configuration has one."""
        return self.layer_norm(hidden_states) if self.config.add_final_layer_norm else hidden_states


class SineformerEncoder(SineformerStack):
    """Encode the source by N layers of self-attention and feed-forward (section 3.1)."""

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
            word_dropout: in place of that of the configuration; a number, or one for each sentence `[B]`.

        Returns:
            `last_hidden_state` `[B, S, D]`.

        Raises:
            ValueError, TypeError: inputs are missing, given twice, of a wrong shape or outside the vocabulary.
        """
        warn_of_misspelt(kwargs)
        embeds = self.embed("", input_ids, inputs_embeds, kwargs.pop("word_dropout", self.word_dropout))
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
    """Decode the target by N layers of causal self-attention, cross-attention and feed-forward (section 3.1)."""

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
        """Decode all positions of the target or, with a cache, the new ones.

        Args:
            input_ids: `[B, T]`; or `inputs_embeds` `[B, T, D]`, as the embedding layer returns them.
            attention_mask: `[B, cached + T]`, 1 for real tokens and 0 for padding on either side.
            encoder_hidden_states: `[B, S, D]`, output of the encoder.
            encoder_attention_mask: `[B, S]`, 1 for real source tokens.
            cache: keys and values of earlier steps; this call appends to it. `past_key_values` is an alias.
            use_cache: whether to return a cache; `config.use_cache` if not given.
            position_ids: `[B, T]`, each below cached + T; counted from the mask if not given.
            word_dropout: as for the encoder.

        Returns:
            `last_hidden_state` `[B, T, D]` and the cache.

        Raises:
            ValueError, TypeError: inputs are missing, given twice, of a wrong shape or outside the vocabulary.
        """
        cache = pop_cache(cache, kwargs)
        warn_of_misspelt(kwargs)
        embeds = self.embed("decoder_", input_ids, inputs_embeds, kwargs.pop("word_dropout", self.word_dropout))
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
        """Return the caller's cache or a new one, for self- and cross-attention; or None."""
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return None  # the backward pass recomputes the layers, and would append to the cache again
        if cache is None:
            cache = DynamicCache(config=self.config) if use_cache else None
        if cache is None or isinstance(cache, EncoderDecoderCache):
            return cache
        return EncoderDecoderCache(cache, DynamicCache(config=self.config))

    @staticmethod
    def target_positions(
        embeds: torch.Tensor, attention_mask: torch.Tensor | None, cache: EncoderDecoderCache | None
    ) -> tuple[torch.Tensor, int]:
        """Return the positions `[B or 1, T]` of the tokens of this call, and an upper bound of them."""
        length = embeds.shape[1]
        past_length = 0 if cache is None else cache.get_seq_length()
        if isinstance(past_length, int):
            max_length = past_length + length
            check_mask("decoder_attention_mask", attention_mask, max_length)
        else:  # A static cache has its length in a tensor; reading it would wait for the device.
            max_length = cache.self_attention_cache.layers[0].max_cache_len
            check_mask("decoder_attention_mask", attention_mask, None)
        if attention_mask is not None and attention_mask.ndim == 2:
            return count_positions(attention_mask, length), max_length  # [B, T]
        return (torch.arange(length, device=embeds.device) + past_length).unsqueeze(0), max_length  # [1, T]


def causal_mask_function(config: PreTrainedConfig) -> Callable[..., Any]:
    """Return the function that makes the mask of decoder self-attention: causal, with or without a sliding window."""
    return create_sliding_window_causal_mask if config.sliding_window else create_causal_mask
