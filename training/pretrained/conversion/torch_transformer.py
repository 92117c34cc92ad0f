"""Convert state dicts of models that contain `torch.nn.Transformer` into Sineformer folders.

Within `nn.Transformer` the names of the weights are fixed; outside, each model has its own:

    in_proj_weight [3D, D], in_proj_bias [3D]   q_proj, k_proj, v_proj, concatenated
    linear1, linear2                            fc1, fc2
    norm1, norm2, norm3                         the norms of the sub-layers, in order
    encoder.norm, decoder.norm                  layer_norm, also in post-norm (`add_final_layer_norm`)
    a table of sines and cosines                not a weight here; its layout is recognised
    embeddings, output projection               recognised by their shapes, or named by the caller

Letters of the shape comments: D d_model, P positions, V vocabulary.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file

from ....configuration.configuration_sineformer import SineformerConfig
from ....modeling.modeling_sineformer import SineformerForConditionalGeneration
from ....modeling.positional_encoding import sinusoidal_encoding
from .output import ConversionError, check_output, some_of, write_output
from .vocabularies import Vocabularies, VocabularyNames, Weights, take_vocabularies

Layout = Literal["interleaved", "halves"]
LAYOUTS: tuple[Layout, ...] = ("interleaved", "halves")
ENCODER_MODULES = {
    "self_attn.out_proj": "self_attn.out_proj",
    "norm1": "self_attn_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm2": "final_layer_norm",
}
DECODER_MODULES = ENCODER_MODULES | {
    "multihead_attn.out_proj": "encoder_attn.out_proj",
    "norm2": "encoder_attn_layer_norm",
    "norm3": "final_layer_norm",
}
FIRST_ATTENTION = "layers.0.self_attn.in_proj_weight"
CROSS_ATTENTION = "layers.0.multihead_attn.in_proj_weight"


@dataclass(frozen=True)
class TorchModel:
    """Describe what a state dict does not contain. Defaults are those of `torch.nn.Transformer`.

    Attributes:
        heads: number of attention heads, H.
        pad_token_id, start_token_id, eos_token_id: token ids of the target; decoding starts with the second.
        norm_first: as `nn.Transformer(norm_first=...)`. activation, layer_norm_eps, dropout: likewise.
        scale_embedding: whether embeddings are multiplied by sqrt(D).
        positions: "interleaved" or "halves"; None to recognise the layout from the table in the state dict.
        names: of the embeddings and the output projection, if they cannot be recognised.
    """

    heads: int
    pad_token_id: int
    start_token_id: int
    eos_token_id: int
    norm_first: bool = False
    activation: str = "relu"
    layer_norm_eps: float = 1e-5
    dropout: float = 0.1
    scale_embedding: bool = True
    positions: Layout | None = None
    names: VocabularyNames = field(default_factory=VocabularyNames)


def convert_torch_transformer(source: Path, output_dir: Path, model: TorchModel) -> SineformerForConditionalGeneration:
    """Convert the state dict of a model that contains `torch.nn.Transformer` into a folder with the same logits.

    Args:
        source: a `.safetensors` file, or a file of `torch.save(model.state_dict(), ...)`.
        output_dir: new or empty; written completely or not at all, without a tokenizer.
        model: what the state dict does not contain.

    Returns:
        The converted model, in evaluation mode and in the dtype of the state dict.

    Raises:
        ConversionError: the file is not such a state dict, has weights that a Sineformer lacks, or is ambiguous; or
            `output_dir` is not empty. Nothing is written then.
    """
    check_output(output_dir)
    state = read_state_dict(source)
    try:
        converted = _convert(state, model)
    except (ConversionError, StrictDataclassError) as error:
        raise ConversionError(f"{source}: {error}") from error
    write_output(output_dir, converted.save_pretrained)
    return converted


def read_state_dict(path: Path) -> Weights:
    """Return the state dict in a file, which may be the only one within a checkpoint.

    Raises:
        ConversionError: the file cannot be read, contains pickled objects, or not exactly one state dict.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f"{path} contains more than tensors, or is not a file of torch. Save `model.state_dict()` and convert that"
        ) from error
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise ConversionError(f"{path} cannot be read: {error}") from error
    nested = list(content.values()) if isinstance(content, Mapping) else []
    found = [each for each in (content, *nested) if _is_state_dict(each)]
    if len(found) != 1:
        raise ConversionError(
            f"{path} contains {len(found)} state dicts; save one, `model.state_dict()`, and convert that"
        )
    return dict(found[0])


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content) and all(torch.is_tensor(each) for each in content.values())


def _convert(state: Weights, model: TorchModel) -> SineformerForConditionalGeneration:
    encoder, decoder = _find_stacks(state)
    d_model = state[encoder + FIRST_ATTENTION].shape[1]
    weights = _take_stack(state, encoder, "model.encoder.", ENCODER_MODULES)
    weights |= _take_stack(state, decoder, "model.decoder.", DECODER_MODULES)
    if ("model.encoder.layer_norm.weight" in weights) != ("model.decoder.layer_norm.weight" in weights):
        raise ConversionError("only one of encoder and decoder has a final norm; a Sineformer has both or none")
    layout, positions = _take_positions(state, d_model, model.positions)
    weights |= _rename_vocabularies(take_vocabularies(state, d_model, model.names))
    if state:
        raise ConversionError(
            f"a Sineformer lacks the weights {some_of(state)}. If the model does not use them, remove them from the "
            "state dict; if they are positions, they are not the sines and cosines of the paper"
        )
    config = SineformerConfig(
        **_architecture(weights),
        **_settings(model),
        max_position_embeddings=positions or SineformerConfig.max_position_embeddings,
        position_layout=layout,
    )
    converted: Any = SineformerForConditionalGeneration(config)
    converted.to(weights["lm_head.weight"].dtype).eval()
    converted.load_state_dict(weights)
    return converted


def _rename_vocabularies(found: Vocabularies) -> Weights:
    weights = {
        "model.encoder.embed_tokens.weight": found.source,
        "model.decoder.embed_tokens.weight": found.target,
        "lm_head.weight": found.head,
    }
    if torch.equal(found.source, found.target):
        weights["model.shared.weight"] = found.source
    if found.bias is not None:
        weights["lm_head.bias"] = found.bias
    return weights


def _architecture(weights: Weights) -> dict[str, Any]:
    """Return the fields of the configuration that follow from the weights."""
    source, target = (weights[f"model.{stack}.embed_tokens.weight"] for stack in ("encoder", "decoder"))
    fields: dict[str, Any] = {
        "vocab_size": len(source),
        "decoder_vocab_size": len(target),
        "d_model": source.shape[1],
        "add_final_layer_norm": "model.encoder.layer_norm.weight" in weights,
        "share_encoder_decoder_embeddings": "model.shared.weight" in weights,
        "tie_word_embeddings": torch.equal(weights["lm_head.weight"], target),
        "lm_head_bias": "lm_head.bias" in weights,
    }
    for stack in ("encoder", "decoder"):
        inner = [weight for name, weight in weights.items() if re.fullmatch(rf"model\.{stack}\..*fc1\.weight", name)]
        fields |= {f"{stack}_layers": len(inner), f"{stack}_ffn_dim": len(inner[0])}
    return fields


def _settings(model: TorchModel) -> dict[str, Any]:
    return {
        "encoder_attention_heads": model.heads,
        "decoder_attention_heads": model.heads,
        "normalize_before": model.norm_first,
        "activation_function": model.activation,
        "layer_norm_eps": model.layer_norm_eps,
        # nn.Transformer has one rate for all three.
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), model.dropout),
        "scale_embedding": model.scale_embedding,
        "pad_token_id": model.pad_token_id,
        "bos_token_id": model.start_token_id,
        "decoder_start_token_id": model.start_token_id,
        "eos_token_id": model.eos_token_id,
    }


def _find_stacks(state: Weights) -> tuple[str, str]:
    """Return the prefixes before `layers.0` in the names of encoder and decoder."""
    stacks = [name.removesuffix(FIRST_ATTENTION) for name in state if f".{name}".endswith(f".{FIRST_ATTENTION}")]
    decoders = [prefix for prefix in stacks if prefix + CROSS_ATTENTION in state]
    encoders = [prefix for prefix in stacks if prefix not in decoders]
    if len(encoders) != 1 or len(decoders) != 1:
        raise ConversionError(
            f"there are {len(encoders)} encoders and {len(decoders)} decoders of torch.nn.Transformer (names ending in "
            f"{FIRST_ATTENTION}); this converts a model with one of each"
        )
    return encoders[0], decoders[0]


def _take(state: Weights, name: str) -> torch.Tensor:
    if name not in state:
        raise ConversionError(f"the weight {name} is missing")
    return state.pop(name)


def _take_stack(state: Weights, theirs: str, ours: str, modules: Mapping[str, str]) -> Weights:
    """Return the weights of a stack under our names; missing biases (`bias=False`) become zeros."""
    weights: Weights = {}
    moves = {f"{theirs}norm": f"{ours}layer_norm"} if f"{theirs}norm.weight" in state else {}
    for layer in count():
        old, new = f"{theirs}layers.{layer}.", f"{ours}layers.{layer}."
        if f"{old}linear1.weight" not in state and f"{old}self_attn.in_proj_weight" not in state:
            break
        moves |= {old + their_name: new + our_name for their_name, our_name in modules.items()}
        for attention in (name.removesuffix(".out_proj") for name in modules if name.endswith(".out_proj")):
            packed = _take(state, f"{old}{attention}.in_proj_weight")  # [3D, D]
            biases = state.pop(f"{old}{attention}.in_proj_bias", packed.new_zeros(len(packed)))  # [3D]
            prefix = new + modules[f"{attention}.out_proj"].removesuffix("out_proj")
            for name, weight, bias in zip("qkv", packed.chunk(3), biases.chunk(3), strict=True):
                weights |= {f"{prefix}{name}_proj.weight": weight, f"{prefix}{name}_proj.bias": bias}
    for their_name, our_name in moves.items():
        weight = weights[f"{our_name}.weight"] = _take(state, f"{their_name}.weight")
        weights[f"{our_name}.bias"] = state.pop(f"{their_name}.bias", weight.new_zeros(len(weight)))
    return weights


def _take_positions(state: Weights, d_model: int, layout: Layout | None) -> tuple[Layout, int]:
    """Remove position tables from the state dict; return the position layout and the number of rows, 0 if none."""
    positions = 0
    for name, tensor in list(state.items()):
        table = tensor.squeeze()  # [P, D] from [P, 1, D] or [1, P, D]
        if table.ndim != 2 or table.shape[1] != d_model or not table.is_floating_point():
            continue
        for candidate in LAYOUTS if layout is None else (layout,):
            if _is_sinusoidal(table, candidate):
                layout, positions = candidate, max(positions, len(table))
                del state[name]
                break
    if layout is None:
        raise ConversionError(
            "there is no table of sines and cosines; give the position layout of the model: interleaved, as in the "
            "paper, or halves"
        )
    return layout, positions


def _is_sinusoidal(table: torch.Tensor, layout: str) -> bool:
    rows = torch.arange(len(table))
    for checked in (rows[:2], rows):  # the first rows suffice to reject embeddings
        closed_form = sinusoidal_encoding(checked, table.shape[1], layout)  # [P, D]
        # The error of angles computed in fp32 grows with the position.
        tolerance = 1e-5 + 1e-6 * checked.unsqueeze(-1)
        if not bool(((table[: len(checked)].float() - closed_form).abs() <= tolerance).all()):
            return False
    return True
