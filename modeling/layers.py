r"""Define the layers of encoder and decoder (Vaswani et al., 2017, section 3.1), with feed-forward network (3.3).

        post-norm (the paper):      x = LayerNorm(x + Dropout(Sublayer(x)))
        pre-norm:                   x = x + Dropout(Sublayer(LayerNorm(x)))

        FFN(x) = max(0, x W_1 + b_1) W_2 + b_2                                                          (equation 2)

Letters of the shape comments: B batch, S source length, T target length, D d_model, F inner width of the FFN.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import Cache, GradientCheckpointingLayer, PreTrainedConfig
from transformers.activations import ACT2FN

from .attention import MultiHeadAttention
from .dropout import dropout
from .products import project


class SineformerLayer(GradientCheckpointingLayer):
    """Base class of the layers: residual connections and the feed-forward network."""

    def __init__(self, config: PreTrainedConfig, ffn_dim: int, layerdrop: float):
        super().__init__()
        self.layerdrop = layerdrop
        self.normalize_before = config.normalize_before
        self.dropout = config.dropout
        self.activation_dropout = config.activation_dropout
        self.activation_fn = ACT2FN[config.activation_function]
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.d_model, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def residual(
        self, states: torch.Tensor, sublayer: Callable[[torch.Tensor], torch.Tensor], norm: nn.LayerNorm
    ) -> torch.Tensor:
        """Apply a sub-layer to `[B, T, D]`, with dropout (section 5.4), residual connection and layer normalisation."""
        output = sublayer(norm(states) if self.normalize_before else states)
        states = states + dropout(output, self.dropout, self.training)
        return states if self.normalize_before else norm(states)

    def feed_forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute equation 2 on `[B, T, D]`."""
        states = self.activation_fn(project(self.fc1, states))  # [B, T, F]
        states = dropout(states, self.activation_dropout, self.training)
        return project(self.fc2, states)  # [B, T, D]

    def drop_layer(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Return `after` or, in training with probability `layerdrop`, `before` (Fan et al., 2020, section 3).

        A dropped layer is computed too: its parameters get zero gradients rather than none, for which other processes
        would wait, and no Python branch has to wait for a random number on the device.
        """
        if not self.training or self.layerdrop == 0:
            return after
        kept = torch.rand((), device=after.device) >= self.layerdrop
        return torch.where(kept, after, before)


class SineformerEncoderLayer(SineformerLayer):
    """Apply self-attention, then feed-forward."""

    def __init__(self, config: PreTrainedConfig, layer_idx: int):
        super().__init__(config, config.encoder_ffn_dim, config.encoder_layerdrop)
        self.self_attn = MultiHeadAttention(config, config.encoder_attention_heads, layer_idx)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Map `[B, S, D]` to `[B, S, D]`."""
        before = hidden_states
        hidden_states = self.residual(
            hidden_states, lambda x: self.self_attn(x, attention_mask, **kwargs)[0], self.self_attn_layer_norm
        )
        hidden_states = self.residual(hidden_states, self.feed_forward, self.final_layer_norm)
        return self.drop_layer(before, hidden_states)


class SineformerDecoderLayer(SineformerLayer):
    """Apply causal self-attention, cross-attention to the encoder's output, then feed-forward."""

    def __init__(self, config: PreTrainedConfig, layer_idx: int):
        super().__init__(config, config.decoder_ffn_dim, config.decoder_layerdrop)
        heads = config.decoder_attention_heads
        self.self_attn = MultiHeadAttention(config, heads, layer_idx, is_causal=True)
        self.encoder_attn = MultiHeadAttention(config, heads, layer_idx, is_cross_attention=True)
        self.encoder_attn_layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Map `[B, T, D]` to `[B, T, D]`; `encoder_hidden_states` is `[B, S, D]`.

        States are positional arguments: gradient checkpointing tracks no others.
        """
        before = hidden_states
        hidden_states = self.residual(
            hidden_states,
            lambda x: self.self_attn(x, attention_mask, cache=cache, **kwargs)[0],
            self.self_attn_layer_norm,
        )
        hidden_states = self.residual(
            hidden_states,
            lambda x: self.encoder_attn(x, encoder_attention_mask, encoder_hidden_states, cache=cache, **kwargs)[0],
            self.encoder_attn_layer_norm,
        )
        hidden_states = self.residual(hidden_states, self.feed_forward, self.final_layer_norm)
        return self.drop_layer(before, hidden_states)
