r"""Attention (Vaswani et al., 2017, section 3.2).

                                        Q K^T
        Attention(Q, K, V) = softmax( ---------- ) V                                                    (equation 1)
                                      sqrt(d_k)

Letters of the shape comments: B batch, H heads, T query length, S key length, D d_model, K = D / H width of a head.
"""

import math
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, Cache, EncoderDecoderCache, PreTrainedConfig

from .products import project

# transformers' registry of attention functions, including those that users register.
ALL_ATTENTION_FUNCTIONS = AttentionInterface()


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    training: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute equation 1, softmax(QK^T / sqrt(d_k)) V.

    Models call this function with `attn_implementation="eager"`, at loading or by `model.set_attn_implementation`: set
    that for a breakpoint here. The default, sdpa, computes the same in one kernel of torch, and the decoder in
    `generate` in lines of its own (`incremental_decoder.py`), unless `use_cache=False`.

    Args:
        query: `[..., T, K]`; key: `[..., S, K]`; value: `[..., S, K]`.
        mask: broadcastable to `[..., T, S]`. Boolean: True where a query may attend to a key. Float: added to the
            scores; its most negative value hides a key. A query with all keys hidden gets a zero output.
        dropout: probability of dropping a weight while `training`.

    Returns:
        The output `[..., T, K]` and the attention weights `[..., T, S]`, whose rows sum to 1.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))  # [..., T, S]
    if mask is not None:
        hidden = ~mask if mask.dtype == torch.bool else mask <= torch.finfo(mask.dtype).min
        scores = scores if mask.dtype == torch.bool else scores + mask
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)  # [..., T, S]
    if mask is not None:
        # Changes only fully masked rows: their softmax is uniform, and becomes zero here.
        weights = weights.masked_fill(hidden, 0.0)
    weights = nn.functional.dropout(weights, dropout, training)
    return weights @ value, weights


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute equation 1 with the interface of transformers' attention functions (sdpa, flex_attention, ...).

    Returns the output as `[B, T, H, K]` and the weights as `[B, H, T, S]`. Keyword arguments meant for other
    implementations are ignored; the scaling is always that of equation 1.
    """
    output, weights = scaled_dot_product_attention(query, key, value, attention_mask, dropout, module.training)
    return output.transpose(1, 2).contiguous(), weights


class MultiHeadAttention(nn.Module):
    """MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W^O, head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V) (3.2.2).

    One class serves the three uses of section 3.2.3: encoder self-attention, causal decoder self-attention, and
    cross-attention from the decoder to the encoder's output.

    ```
    hidden_states [B,T,D] --q_proj--> [B,H,T,K] --.
                   |                               +-- softmax(QK^T/sqrt(K)) V --> [B,T,H*K] --out_proj--> [B,T,D]
    (or the        +--k_proj--> [B,H,S,K] --cache--+
    encoder's      |                               |
    output)        '--v_proj--> [B,H,S,K] --cache--'
    ```

    Args:
        config: gives `d_model`, `attention_dropout`, `sliding_window` and the attention implementation.
        num_heads: H, of the encoder or the decoder.
        layer_idx: index of the layer in the cache.
        is_causal: whether a query attends only to its own and earlier positions. Set on every module, because
            transformers' sdpa treats a module without it as causal.
        is_cross_attention: whether keys and values come from the encoder.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        num_heads: int,
        layer_idx: int = 0,
        is_causal: bool = False,
        is_cross_attention: bool = False,
    ):
        super().__init__()
        self.config = config
        self.head_dim = config.d_model // num_heads
        self.layer_idx = layer_idx
        self.is_causal = is_causal
        self.is_cross_attention = is_cross_attention
        self.scaling = self.head_dim**-0.5
        self.dropout = config.attention_dropout
        self.sliding_window = None if is_cross_attention else config.sliding_window
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.k_proj = nn.Linear(config.d_model, config.d_model)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        key_value_states: torch.Tensor | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend from `hidden_states` `[B, T, D]` to itself or to `key_value_states` `[B, S, D]`.

        Args:
            attention_mask: in the form of the attention implementation, e.g. `[B, 1, T, S]`; with None every query
                attends to every key, or to every earlier one if `is_causal`.
            cache: keys and values of earlier steps; this call appends to it.

        Returns:
            The output `[B, T, D]`, and the weights `[B, H, T, S]`, or None if the implementation returns none.
        """
        query = self._split_heads(project(self.q_proj, hidden_states))  # [B, H, T, K]
        source = key_value_states if self.is_cross_attention else hidden_states
        if source is None:
            raise ValueError("Cross-attention needs `key_value_states`, the output of the encoder [B, S, D].")
        # As a view, the source gets one gradient from each layer. FSDP2 has the same effect; without the view, the sum
        # over layers would be rounded differently there, and the same training would slowly diverge.
        source = source.view_as(source)
        key, value = self._keys_and_values(source, cache)  # [B, H, S, K] each
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=self.sliding_window,
            **kwargs,
        )
        output = output.reshape(*hidden_states.shape[:-1], -1).contiguous()  # [B, T, D]
        return project(self.out_proj, output), weights

    def _split_heads(self, states: torch.Tensor) -> torch.Tensor:
        # The number of heads is inferred: with tensor parallelism each process has some of them.
        return states.view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)  # [B, H, T, K]

    def _keys_and_values(self, source: torch.Tensor, cache: Cache | None) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(cache, EncoderDecoderCache):
            if self.is_cross_attention and cache.is_updated.get(self.layer_idx):
                layer: Any = cache.cross_attention_cache.layers[self.layer_idx]
                return layer.keys, layer.values
            if self.is_cross_attention:
                cache.is_updated[self.layer_idx] = True
                cache = cache.cross_attention_cache
            else:
                cache = cache.self_attention_cache
        key = self._split_heads(project(self.k_proj, source))  # [B, H, S, K]
        value = self._split_heads(project(self.v_proj, source))  # [B, H, S, K]
        return cache.update(key, value, self.layer_idx) if cache is not None else (key, value)
