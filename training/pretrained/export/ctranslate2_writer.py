"""Write a model for CTranslate2 (https://github.com/OpenNMT/CTranslate2), by its public specification of a Transformer.

CTranslate2 has the same layers, under other names; self-attention has one projection for query, key and value, and
cross-attention one for key and value. The encoding of positions is a table, which does not grow as that of the model.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from ....configuration.configuration_sineformer import SineformerConfig
from ....modeling.generation_request import DEFAULT, FIELD, Request
from ...data.tokenizer import Tokenizers
from ..conversion.output import ConversionError

# Names of transformers, and those of `ctranslate2.specs.Activation`.
ACTIVATIONS = {
    "relu": "RELU",
    **dict.fromkeys(("gelu", "gelu_python"), "GELU"),
    **dict.fromkeys(("gelu_fast", "gelu_new", "gelu_pytorch_tanh"), "GELUTanh"),
    "quick_gelu": "GELUSigmoid",
    **dict.fromkeys(("silu", "swish"), "SWISH"),
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
}


def make_spec(source: str, model: Any, tokenizers: Tokenizers, quantization: str | None) -> Any:
    """Return the `TransformerSpec` of a model, which writes itself into a folder with `save`.

    Args:
        source: name of the model, for errors.
        model: in float32.
        quantization: type of the weights; None for float32.

    Raises:
        ConversionError: CTranslate2 has no such layer, or no such quantization.
    """
    from ctranslate2.specs import TransformerSpec

    config = model.config
    if config.sliding_window is not None:
        raise ConversionError(f"{source}/config.json: CTranslate2 has no `sliding_window`, and the model has one")
    if config.activation_function not in ACTIVATIONS:
        raise ConversionError(
            f"{source}/config.json: `activation_function` is {config.activation_function!r}; CTranslate2 has "
            f"{', '.join(ACTIVATIONS)}"
        )
    spec = TransformerSpec(_encoder(model), _decoder(model))
    vocabulary, target_vocabulary = vocabularies(tokenizers, config)
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(target_vocabulary)
    request = Request({}, None, model.generation_config, config)
    start = target_vocabulary[request.start_token()]
    spec.config.decoder_start_token = spec.config.bos_token = start
    spec.config.eos_token = target_vocabulary[request.end_tokens()[0]]
    # Without an unknown token in its vocabulary, CTranslate2 would add one that the model does not know.
    spec.config.unk_token = tokenizers.target.unk_token or start
    spec.config.layer_norm_epsilon = config.layer_norm_eps
    spec.validate()
    try:
        spec.optimize(quantization or "float32")
    except ValueError as error:
        raise ConversionError(f"quantization: {error}") from error
    return spec


def _encoder(model: Any) -> Any:
    from ctranslate2.specs import Activation, TransformerEncoderSpec

    config = model.config
    spec = TransformerEncoderSpec(
        config.encoder_layers,
        config.encoder_attention_heads,
        no_final_norm=not config.add_final_layer_norm,
        activation=Activation[ACTIVATIONS[config.activation_function]],
    )
    _fill_stack(spec, spec.embeddings[0], model, model.model.encoder)
    for layer, theirs in zip(model.model.encoder.layers, spec.layer, strict=True):
        _fill_self_attention(theirs.self_attention, layer)
        _fill_feed_forward(theirs.ffn, layer)
    return spec


def _decoder(model: Any) -> Any:
    from ctranslate2.specs import Activation, TransformerDecoderSpec

    config = model.config
    spec = TransformerDecoderSpec(
        config.decoder_layers,
        config.decoder_attention_heads,
        no_final_norm=not config.add_final_layer_norm,
        activation=Activation[ACTIVATIONS[config.activation_function]],
    )
    _fill_stack(spec, spec.embeddings, model, model.model.decoder)
    for layer, theirs in zip(model.model.decoder.layers, spec.layer, strict=True):
        _fill_self_attention(theirs.self_attention, layer)
        cross = layer.encoder_attn
        _fill_linear(theirs.attention.linear[0], cross.q_proj)
        _fill_linear(theirs.attention.linear[1], cross.k_proj, cross.v_proj)
        _fill_linear(theirs.attention.linear[2], cross.out_proj)
        _fill_norm(theirs.attention.layer_norm, layer.encoder_attn_layer_norm)
        _fill_feed_forward(theirs.ffn, layer)
    _fill_linear(spec.projection, model.lm_head)
    return spec


def _fill_stack(spec: Any, embeddings: Any, model: Any, stack: Any) -> None:
    spec.pre_norm = model.config.normalize_before
    spec.scale_embeddings = stack.embed_scale
    embeddings.weight = stack.embed_tokens.weight
    spec.position_encodings.encodings = stack.embed_positions.closed_form(_positions(model))
    if model.config.add_final_layer_norm:
        _fill_norm(spec.layer_norm, stack.layer_norm)


def _positions(model: Any) -> int:
    """Return the number of positions to export: those of a source of `max_position_embeddings` tokens, and of the
    longest translation."""
    config, saved = model.config, model.generation_config
    beyond = getattr(saved, FIELD, DEFAULT) or 0
    return max(config.max_position_embeddings + beyond, Request({}, None, saved, config).max_length() or 0) + 1


def _fill_self_attention(spec: Any, layer: Any) -> None:
    attention = layer.self_attn
    _fill_linear(spec.linear[0], attention.q_proj, attention.k_proj, attention.v_proj)
    _fill_linear(spec.linear[1], attention.out_proj)
    _fill_norm(spec.layer_norm, layer.self_attn_layer_norm)


def _fill_feed_forward(spec: Any, layer: Any) -> None:
    _fill_linear(spec.linear_0, layer.fc1)
    _fill_linear(spec.linear_1, layer.fc2)
    _fill_norm(spec.layer_norm, layer.final_layer_norm)


def _fill_linear(spec: Any, *projections: Any) -> None:
    """Fill in several projections of the same input as one."""
    spec.weight = torch.cat([each.weight.data for each in projections])
    if projections[0].bias is not None:
        spec.bias = torch.cat([each.bias.data for each in projections])


def _fill_norm(spec: Any, norm: Any) -> None:
    spec.gamma, spec.beta = norm.weight, norm.bias


def vocabularies(tokenizers: Tokenizers, config: SineformerConfig) -> tuple[list[str], list[str]]:
    """Return the tokens of source and target by id. Embeddings without a token, as after resizing, get a name."""
    return _tokens(tokenizers.source, config.vocab_size), _tokens(tokenizers.target, config.target_vocab_size)


def _tokens(tokenizer: PreTrainedTokenizerFast, size: int) -> list[str]:
    tokens = {index: token for token, index in tokenizer.get_vocab().items()}
    return [tokens.get(index, f"<unused {index}>") for index in range(size)]
