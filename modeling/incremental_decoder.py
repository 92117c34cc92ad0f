r"""The decoder (Vaswani et al., 2017, section 3.1) one target position at a time, for the searches of `search.py`.

It computes what `SineformerDecoder` does, with the arithmetic arranged for many short calls:

- one projection gives query, key and value of self-attention;
- keys and values of the source are there once for each sentence, and its beams are the queries;
- keys and values of self-attention stay where they were written. A beam that continues the hypothesis of another one
  only changes what it may see:

        slot [t, j]   key and value that beam j wrote at position t
        mask [i, t, j]   0 where (t, j) is an ancestor of what beam i is now, -inf elsewhere

Letters of the shape comments: B sentences, N beams, S source length, T target length so far, D d_model, H heads,
K = D / H width of a head.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import EncoderDecoderCache, GenerationMixin

from .products import multiply, project

FIRST_CAPACITY = 16  # positions
MANY_KEYS = 16  # from as many on, two products take less time on a CPU than one call for all of attention
HOME = __name__.rpartition(".")[0] + "."  # where the code of this model lies, installed or beside its weights
WRITTEN = (HOME, "torch.nn.modules.", "transformers.activations")
SAME_ATTENTION = ("eager", "sdpa")  # other functions are called


class IncrementalDecoder:
    """Decode position by position, with N beams for each sentence.

    Args:
        decoder: a `SineformerDecoder`.
        source: output of the encoder, `[B, S, D]`.
        source_mask: `[B, S]`, nonzero for real tokens; None if all are.
        beams: N.
    """

    def __init__(self, decoder: Any, source: torch.Tensor, source_mask: torch.Tensor | None, beams: int) -> None:
        self.decoder, self.beams = decoder, beams
        self.length = self.capacity = 0
        self.window: int | None = decoder.config.sliding_window
        self.heads: int = decoder.config.decoder_attention_heads
        self.positions = source.new_empty(0, source.shape[2])  # [capacity, D]
        self.layers = [FusedLayer(layer) for layer in decoder.layers]
        self.source = [self._source_keys_and_values(layer.encoder_attn, source) for layer in decoder.layers]
        self.source_mask = None if source_mask is None or bool(source_mask.all()) else _hide(source_mask.eq(0), source)
        # A softmax over nothing but hidden keys is not a number; `scaled_dot_product_attention` returns zeros then.
        seen = source_mask is None or bool(source_mask.any(dim=1).all())
        self.by_products = seen and source.device.type == "cpu" and source.dtype in (torch.float32, torch.float64)
        shape = (2, len(source), self.heads, 0, source.shape[2] // self.heads)
        self.target = [source.new_empty(shape) for _ in decoder.layers]  # [2, B, H, capacity * N, K] each
        itself = _hide(~torch.eye(beams, dtype=torch.bool, device=source.device), source)[:, 0, 0]  # [N, N]
        self.itself = itself[:, None]  # [N, 1, N]: each beam sees the slot that it writes
        self.mask = source.new_empty(len(source), beams, 0, beams)  # [B, N, T, N]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Decode the next position: map `tokens` `[B, N]` to `[B, N, D]`, ready for the output projection."""
        if self.length == self.capacity:
            self._grow()
        if self.beams > 1:
            self.mask = torch.cat([self.mask, self.itself.expand(len(tokens), -1, -1, -1)], dim=2)  # [B, N, T, N]
        embeds = self.decoder.embed_tokens(tokens) * self.decoder.embed_scale  # [B, N, D]
        states = embeds + self.positions[self.length]  # [B, N, D]
        self.length += 1
        for index in range(len(self.target)):
            states = self._layer(index, states)
        return self.decoder.normalize(states)

    def follow(self, parents: torch.Tensor) -> None:
        """Let each beam continue the hypothesis of the beam that `parents` `[B, N]` names."""
        rows = parents + self.beams * torch.arange(len(parents), device=parents.device).unsqueeze(1)  # [B, N]
        self.mask = self.mask.flatten(0, 1).index_select(0, rows.flatten()).view_as(self.mask)

    def keep(self, sentences: torch.Tensor) -> None:
        """Go on with the sentences of these numbers `[B']` alone."""
        self.source, self.target = (
            [each.index_select(1, sentences) for each in kept] for kept in (self.source, self.target)
        )
        self.source_mask = None if self.source_mask is None else self.source_mask.index_select(0, sentences)
        self.mask = self.mask.index_select(0, sentences)

    def cache(self) -> EncoderDecoderCache:
        """Return keys and values as transformers keeps them, every beam with its own: `[B * N, H, T or S, K]`."""
        cache: EncoderDecoderCache = self.decoder.prepare_cache(None, True)
        slots = self.mask.argmax(dim=-1)[:, :, None, :, None, None]  # [B, N, 1, T, 1, 1]
        for index, (target, source) in enumerate(zip(self.target, self.source, strict=True)):
            written = target[:, :, :, : self.length * self.beams].unflatten(3, (-1, self.beams))  # [2, B, H, T, N, K]
            own = written.transpose(0, 1).unsqueeze(2)  # [B, 2, 1, H, T, N, K]
            if self.beams > 1:
                own = own.expand(-1, -1, self.beams, -1, -1, -1, -1).take_along_dim(slots.unsqueeze(1), dim=5)
            key, value = own.squeeze(5).transpose(0, 1).flatten(1, 2)  # [B * N, H, T, K] each
            cache.self_attention_cache.update(key, value, index)
            cache.cross_attention_cache.update(*source.repeat_interleave(self.beams, dim=1), index)
            cache.is_updated[index] = True
        return cache

    def _layer(self, index: int, states: torch.Tensor) -> torch.Tensor:
        layer = self.layers[index]
        states = layer.residual(states, lambda x: self._attend_to_target(index, x), layer.self_attn_layer_norm)
        states = layer.residual(states, lambda x: self._attend_to_source(index, x), layer.encoder_attn_layer_norm)
        return layer.residual(states, layer.feed_forward, layer.final_layer_norm)

    def _attend_to_target(self, index: int, states: torch.Tensor) -> torch.Tensor:
        layer, cache = self.layers[index], self.target[index]
        projected = multiply(states, *layer.query_key_value)  # [B, N, 3 * D]
        split = projected.view(*states.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [3, B, H, N, K]
        end = self.length * self.beams
        cache.narrow(3, end - self.beams, self.beams).copy_(split[1:])
        first = 0 if self.window is None else max(0, self.length - self.window)
        start = first * self.beams
        key, value = cache.narrow(3, start, end - start).unbind()  # [B, H, T * N, K] each
        mask = self.mask[:, None, :, first:].flatten(3) if self.beams > 1 else None  # [B, 1, N, T * N]
        return multiply(self._attend(split[0], key, value, mask), *layer.out)

    def _attend_to_source(self, index: int, states: torch.Tensor) -> torch.Tensor:
        layer = self.layers[index]
        query = multiply(states, *layer.source_query)  # [B, N, D]
        query = query.view(*states.shape[:2], self.heads, -1).transpose(1, 2)  # [B, H, N, K]
        key, value = self.source[index].unbind()  # [B, H, S, K] each
        return multiply(self._attend(query, key, value, self.source_mask), *layer.source_out)

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Equation 1 for N queries `[B, H, N, K]`, with the heads side by side in the result `[B, N, D]`."""
        if self.by_products and key.shape[2] >= MANY_KEYS:
            queries, keys, values = (each.flatten(0, 1) for each in (query, key, value))  # [B * H, N or S, K] each
            scores = torch.bmm(queries, keys.transpose(1, 2)).mul_(query.shape[3] ** -0.5)  # [B * H, N, S]
            if mask is not None:
                scores.view(*query.shape[:3], -1).add_(mask)
            output = torch.bmm(scores.softmax(dim=-1), values).view_as(query)  # [B, H, N, K]
        else:
            output = scaled_dot_product_attention(query, key, value, mask)  # [B, H, N, K]
        return output.transpose(1, 2).flatten(2)

    def _source_keys_and_values(self, attention: Any, source: torch.Tensor) -> torch.Tensor:
        both = [project(projection, source) for projection in (attention.k_proj, attention.v_proj)]  # [B, S, D] each
        return torch.stack([each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in both])  # [2, B, H, S, K]

    def _grow(self) -> None:
        """Make room for more positions."""
        self.capacity = max(FIRST_CAPACITY, 2 * self.capacity)
        encoding = self.decoder.embed_positions
        enough = self.capacity <= len(encoding.table)
        positions = encoding.table[: self.capacity] if enough else encoding.closed_form(self.capacity)
        self.positions = positions.to(self.positions)
        for index, old in enumerate(self.target):
            new = old.new_empty(*old.shape[:3], self.capacity * self.beams, old.shape[4])
            new[:, :, :, : old.shape[3]] = old
            self.target[index] = new


class FusedLayer:
    """The weights of a `SineformerDecoderLayer`, for calls that are so short that looking for them takes its time."""

    def __init__(self, layer: Any) -> None:
        target, source = layer.self_attn, layer.encoder_attn
        projections = [_weights(each) for each in (target.q_proj, target.k_proj, target.v_proj)]
        weights, biases = zip(*projections, strict=True)
        self.query_key_value = torch.cat(weights), torch.cat(biases)  # [3 * D, D], [3 * D]
        self.out, self.source_query = _weights(target.out_proj), _weights(source.q_proj)
        self.source_out = _weights(source.out_proj)
        self.inner, self.outer, self.activation = _weights(layer.fc1), _weights(layer.fc2), layer.activation_fn
        self.self_attn_layer_norm = _norm(layer.self_attn_layer_norm)
        self.encoder_attn_layer_norm = _norm(layer.encoder_attn_layer_norm)
        self.final_layer_norm = _norm(layer.final_layer_norm)
        self.normalize_before = layer.normalize_before

    def residual(
        self, states: torch.Tensor, sublayer: Callable[[torch.Tensor], torch.Tensor], norm: tuple[Any, ...]
    ) -> torch.Tensor:
        """As `SineformerLayer.residual`, without dropout."""
        if self.normalize_before:
            return states + sublayer(torch.layer_norm(states, *norm))
        return torch.layer_norm(states + sublayer(states), *norm)

    def feed_forward(self, states: torch.Tensor) -> torch.Tensor:
        """Equation 2, on `[B, N, D]`."""
        return multiply(self.activation(multiply(states, *self.inner)), *self.outer)


def _weights(projection: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return projection.weight, projection.bias


def _norm(norm: Any) -> tuple[Any, ...]:
    return norm.normalized_shape, norm.weight, norm.bias, norm.eps


def _hide(hidden: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A mask `[B, 1, 1, S]` to add to scores: -inf where `hidden` `[B, S]`, 0 elsewhere."""
    mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
    return mask.masked_fill(hidden, -torch.inf)[:, None, None]


def decodes_as_written(model: Any) -> bool:
    """Whether `IncrementalDecoder` computes what the decoder of `model`, with its head, does when it is called.

    Not so where something else is to be called in its place (adapters, quantised or compiled layers, a subclass), where
    hooks watch or move weights, in training with its dropout, and where weights are sharded, offloaded or mixed.
    """
    stack = model.model.decoder
    modules = [model, model.model, *stack.modules(), *model.lm_head.modules()]
    parameters = [each for module in modules for each in module._parameters.values() if each is not None]
    first = parameters[0]
    return (
        first.device.type != "meta"
        and not (torch.compiler.is_compiling() or torch.is_autocast_enabled(first.device.type))
        and model.config._attn_implementation in SAME_ATTENTION
        and _searches_as_written(model)
        and all(map(_runs_as_written, modules))
        and all(_home(stack, method).startswith(HOME) for method in ("embed", "add_positions", "normalize"))
        and all(map(_has_its_weights, stack.layers))
        and first.is_floating_point()
        and all(type(each.data) is torch.Tensor and each.device == first.device for each in parameters)
        and all(each.dtype == first.dtype and each.numel() for each in parameters)
    )


def _searches_as_written(model: Any) -> bool:
    """Whether neither the model nor a subclass of ours replaces a step of `generate`, such as its logits processors."""
    steps = {name for name in vars(GenerationMixin) if not name.startswith("__")} - {"generate"}
    others = (kind for kind in type(model).__mro__ if not kind.__module__.startswith((HOME, "transformers.", "torch.")))
    return all(steps.isdisjoint(vars(each)) for each in (model, *others))


def _runs_as_written(module: nn.Module) -> bool:
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    return (
        not module.training
        and _home(module, "forward").startswith(WRITTEN)
        and module._compiled_call_impl is None
        # transformers leaves hooks that record attentions, which do nothing unless these are asked for.
        and all(hook.__module__ == "transformers.utils.output_capturing" for hook in hooks)
    )


def _has_its_weights(layer: Any) -> bool:
    """Whether a layer has the modules that `FusedLayer` takes the weights of, and none was put in their place."""
    target, source = layer.self_attn, layer.encoder_attn
    projections = (target.q_proj, target.k_proj, target.v_proj, target.out_proj, source.q_proj, source.out_proj)
    norms = (layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm)
    return all(
        isinstance(each, nn.Linear) and each.bias is not None for each in (*projections, layer.fc1, layer.fc2)
    ) and all(isinstance(each, nn.LayerNorm) for each in norms)


def _home(module: nn.Module, method: str) -> str:
    """Return the name of the Python module that defines a method of `module`."""
    if method in vars(module):
        return ""
    return str(next(vars(kind)[method].__module__ for kind in type(module).__mro__ if method in vars(kind)))
