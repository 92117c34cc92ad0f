"""Write a model as three ONNX graphs (https://onnx.ai), each with dynamic numbers of sentences and tokens.

    encoder.onnx             input_ids, attention_mask -> states
    decoder.onnx             input_ids, attention_mask, states -> logits, self_N_key, self_N_value, cross_N_key, ...
    decoder_with_past.onnx   input_ids, attention_mask, past_self_N_key, ..., cross_N_key, ... -> logits, self_N_key ...

`attention_mask` is that of the source. The first call of the decoder computes the keys and values of the source, and
each call extends those of the target.

Letters of the shape comments: B sentences, S source length, T target length of a call, P cached target length,
D d_model, H heads, K = D / H width of a head, V target vocabulary.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from ....modeling.attention import scaled_dot_product_attention
from ....modeling.positional_encoding import count_positions

ENCODER, DECODER, DECODER_WITH_PAST = "encoder.onnx", "decoder.onnx", "decoder_with_past.onnx"
EXAMPLE = {"B": 2, "S": 5, "T": 3, "P": 4}  # sizes for tracing, all different and none 1


class EncoderGraph(nn.Module):
    """The encoder as it is exported."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.window = model.model.encoder, model.config.sliding_window
        self.heads: int = model.config.encoder_attention_heads

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Map `[B, S]` to `[B, S, D]`."""
        length = input_ids.shape[1]
        embeds = self.encoder.embed("", input_ids, None)  # [B, S, D]
        states = self.encoder.add_positions(embeds, count_positions(attention_mask, length), length)
        mask = _visible(attention_mask)  # [B, 1, 1, S]
        if self.window is not None:
            place = torch.arange(length, device=input_ids.device)
            mask = mask & ((place[:, None] - place[None]).abs() <= self.window)  # [B, 1, S, S], inclusive
        for layer in self.encoder.layers:
            states = layer.residual(
                states, _self_attention(layer.self_attn, self.heads, mask), layer.self_attn_layer_norm
            )
            states = layer.residual(states, layer.feed_forward, layer.final_layer_norm)
        return self.encoder.normalize(states)


class DecoderGraph(nn.Module):
    """The decoder and the output projection as they are exported: the first call, or a later one."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.head = model.model.decoder, model.lm_head
        self.heads: int = model.config.decoder_attention_heads
        self.window: int | None = model.config.sliding_window

    def first(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, states: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits `[B, T, V]`, keys and values of the target `[B, H, T, K]`, and of the source."""
        source = [
            _split(project(states), self.heads)  # [B, H, S, K]
            for layer in self.decoder.layers
            for project in (layer.encoder_attn.k_proj, layer.encoder_attn.v_proj)
        ]
        empty = source[0][:, :, :0]  # [B, H, 0, K]
        return [*self.later(input_ids, attention_mask, [empty] * len(source), source), *source]

    def later(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        target: list[torch.Tensor],
        source: list[torch.Tensor],
    ) -> list[torch.Tensor]:
        """Return the logits `[B, T, V]`, and keys and values of the target, now `[B, H, P + T, K]`.

        Args:
            input_ids: `[B, T]`. attention_mask: of the source, `[B, S]`.
            target, source: keys and values of each layer, `[B, H, P, K]` and `[B, H, S, K]`.
        """
        past, length = target[0].shape[2], input_ids.shape[1]
        key_places = torch.arange(past + length, device=input_ids.device)  # [P + T]
        places = key_places[past:]  # [T]
        embeds = self.decoder.embed("decoder_", input_ids, None)  # [B, T, D]
        states = self.decoder.add_positions(embeds, places.unsqueeze(0), past + length)
        causal = key_places[None] <= places[:, None]  # [T, P + T]
        if self.window is not None:
            causal = causal & (key_places[None] > places[:, None] - self.window)
        present: list[torch.Tensor] = []
        for index, layer in enumerate(self.decoder.layers):
            keys_and_values = slice(2 * index, 2 * index + 2)

            def attend_to_target(x: torch.Tensor, layer: Any = layer, before: Any = target[keys_and_values]) -> Any:
                new = [_split(project(x), self.heads) for project in (layer.self_attn.k_proj, layer.self_attn.v_proj)]
                present.extend(torch.cat(pair, dim=2) for pair in zip(before, new, strict=True))
                return _attend(layer.self_attn, self.heads, x, present[-2:], causal)

            def attend_to_source(x: torch.Tensor, layer: Any = layer, cached: Any = source[keys_and_values]) -> Any:
                return _attend(layer.encoder_attn, self.heads, x, cached, _visible(attention_mask))

            states = layer.residual(states, attend_to_target, layer.self_attn_layer_norm)
            states = layer.residual(states, attend_to_source, layer.encoder_attn_layer_norm)
            states = layer.residual(states, layer.feed_forward, layer.final_layer_norm)
        return [self.head(self.decoder.normalize(states)), *present]


class FirstCall(nn.Module):
    """The graph of `DecoderGraph.first`."""

    def __init__(self, decoder: DecoderGraph) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, states: torch.Tensor
    ) -> list[torch.Tensor]:
        return self.decoder.first(input_ids, attention_mask, states)


class LaterCall(FirstCall):
    """The graph of `DecoderGraph.later`."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, *cache: torch.Tensor
    ) -> list[torch.Tensor]:
        half = len(cache) // 2
        return self.decoder.later(input_ids, attention_mask, list(cache[:half]), list(cache[half:]))


def write_onnx(folder: Path, model: Any) -> None:
    """Write the three graphs of a model in float32 and evaluation mode into a folder."""
    decoder, layers = DecoderGraph(model), range(model.config.decoder_layers)
    size, length, width = EXAMPLE["B"], EXAMPLE["S"], model.config.d_model
    mask = torch.ones(size, length, dtype=torch.long)  # [B, S]
    source, target = torch.ones_like(mask), torch.ones(size, EXAMPLE["T"], dtype=torch.long)  # [B, S], [B, T]
    states = torch.zeros(size, length, width)  # [B, S, D]
    own, cross, before = (
        [f"{side}_{index}_{kind}" for index in layers for kind in ("key", "value")]
        for side in ("self", "cross", "past_self")
    )
    past = torch.zeros(size, decoder.heads, EXAMPLE["P"], width // decoder.heads)  # [B, H, P, K]
    seen = torch.zeros(size, decoder.heads, length, width // decoder.heads)  # [B, H, S, K]
    tokens = ["input_ids", "attention_mask"]
    _write(folder / ENCODER, EncoderGraph(model), (source, mask), tokens, ["states"])
    _write(folder / DECODER, FirstCall(decoder), (target, mask, states), [*tokens, "states"], ["logits", *own, *cross])
    # Tracing takes a tensor that is given twice for one input.
    cache = [each.clone() for kind in (past, seen) for each in [kind] * len(own)]
    inputs = [*tokens, *before, *cross]
    _write(folder / DECODER_WITH_PAST, LaterCall(decoder), (target, mask, *cache), inputs, ["logits", *own])


def _write(
    file: Path, graph: nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str]
) -> None:
    """Trace a graph with example inputs; every dimension with a size of `EXAMPLE` in them is dynamic."""
    names = {size: name for name, size in EXAMPLE.items()}
    dims = {name: Dim(name, min=1) for name in EXAMPLE}

    def dynamic(tensor: torch.Tensor) -> dict[int, Any]:
        places = (0, 1) if tensor.ndim < 4 else (0, 2)
        return {place: dims[names[tensor.shape[place]]] for place in places}

    shapes = [dynamic(each) for each in example]
    fixed = len(shapes) if not isinstance(graph, LaterCall) else 2
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # the exporter warns of libraries that it does without
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            graph.eval(),
            example,
            file,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=(*shapes[:fixed], *([tuple(shapes[fixed:])] if fixed < len(shapes) else [])),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    log.setLevel(level)


def _visible(attention_mask: torch.Tensor) -> torch.Tensor:
    return attention_mask.ne(0)[:, None, None]  # [B, 1, 1, S]


def _split(states: torch.Tensor, heads: int) -> torch.Tensor:
    return states.unflatten(2, (heads, -1)).transpose(1, 2)  # [B, H, T, K]


def _attend(
    attention: Any, heads: int, states: torch.Tensor, keys_and_values: list[torch.Tensor], mask: torch.Tensor
) -> torch.Tensor:
    """Compute `MultiHeadAttention` for `states` `[B, T, D]`, with keys and values `[B, H, S, K]`."""
    query = _split(attention.q_proj(states), heads)  # [B, H, T, K]
    key, value = keys_and_values
    output, _ = scaled_dot_product_attention(query, key, value, mask)
    return attention.out_proj(output.transpose(1, 2).flatten(2))  # [B, T, D]


def _self_attention(attention: Any, heads: int, mask: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    def attend(states: torch.Tensor) -> torch.Tensor:
        keys_and_values = [_split(project(states), heads) for project in (attention.k_proj, attention.v_proj)]
        return _attend(attention, heads, states, keys_and_values, mask)

    return attend
