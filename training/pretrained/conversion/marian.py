"""Marian and OPUS-MT checkpoints (`MarianMTModel`) as Sineformer folders.

    config.json                 the same fields; "halves" positions, which is how Marian lays them out
    weights                     the same names; `final_logits_bias` becomes the bias of the output projection
    generation_config.json      as it is (beams, forced end, the start token that may not be generated)
    source.spm, target.spm, vocab.json, ...     as they are, for transformers' `MarianTokenizer`

The tokenizer is not rebuilt as a fast one. Marian numbers its pieces apart from SentencePiece, segments the source with
pieces that its vocabulary lacks, looks up unknown runs of characters as one piece, and writes with another piece model
than it reads; `tokenizers` has no model that does the same for every text.

Layer drop, which acts in training alone, is left out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import GenerationConfig, MarianConfig, MarianMTModel, PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.utils.hub import cached_file

from ....configuration.configuration_sineformer import SineformerConfig
from ....modeling.generation_request import FIELD as TOKENS_BEYOND_SOURCE
from ....modeling.modeling_sineformer import SineformerForConditionalGeneration
from .output import ConversionError, check_output, some_of, write_output

SAME_FIELDS = (
    *("vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim", "decoder_ffn_dim"),
    *("encoder_attention_heads", "decoder_attention_heads", "dropout", "attention_dropout", "activation_dropout"),
    *("activation_function", "max_position_embeddings", "scale_embedding", "init_std", "use_cache"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
)
# What Marian can train and transformers' MarianMTModel does not compute, with the one value that changes nothing.
UNSUPPORTED = {
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
    "is_decoder": False,
    "is_encoder_decoder": True,
}
SHARED, ENCODER, DECODER, HEAD = (
    f"{name}.weight" for name in ("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
)
TOKENIZER_FILES = ("source.spm", "target.spm", "vocab.json")
OPTIONAL_TOKENIZER_FILES = ("target_vocab.json", "special_tokens_map.json", "added_tokens.json")
# Where the files lay on the machine that saved the tokenizer.
PLACES = ("name_or_path", "special_tokens_map_file", "tokenizer_file", "target_vocab_file", "is_local")


def convert_marian(source: str, output_dir: Path) -> SineformerForConditionalGeneration:
    """Write a Marian checkpoint as a complete Sineformer folder: the same logits, translations and text.

    Args:
        source: a folder, or the id of a model on the Hub.
        output_dir: new or empty; appears whole or not at all.

    Returns:
        The converted model, in evaluation mode and in the dtype of the checkpoint.

    Raises:
        ConversionError: `source` is not a Marian checkpoint, lacks weights or tokenizer files, or has a setting that
            MarianMTModel does not compute; or `output_dir` is in use. Nothing has been written then.
    """
    check_output(output_dir)
    _check_config(source)
    tokenizer_files = _find_tokenizer(source)
    model = _convert_model(source, _load(source))

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        _write_tokenizer(folder, tokenizer_files)

    write_output(output_dir, write)
    return model


def _check_config(source: str) -> None:
    try:
        config = PreTrainedConfig.get_config_dict(source)[0]
    except (OSError, ValueError) as error:
        raise ConversionError(f"{source} is neither a folder of a model nor one that the Hub gives: {error}") from error
    if "model_type" not in config:
        raise ConversionError(f"{source} is no model: it holds no config.json with a `model_type`")
    if config["model_type"] != MarianConfig.model_type:
        raise ConversionError(
            f"{source} is a model of type {config['model_type']!r}; this converts those of type "
            f"{MarianConfig.model_type!r}"
        )
    for name, value in UNSUPPORTED.items():
        if config.get(name, value) != value:
            raise ConversionError(
                f"{source}/config.json: `{name}` is {config[name]}, which MarianMTModel does not compute; only a "
                f"model trained with {value} can be converted"
            )
    activation = config.get("activation_function", MarianConfig.activation_function)
    if activation not in ACT2FN:
        raise ConversionError(
            f"{source}/config.json: `activation_function` {activation!r} is unknown; transformers has "
            f"{', '.join(sorted(ACT2FN))}"
        )


def _load(source: str) -> Any:
    """The checkpoint, of which every weight has found its place."""
    try:
        loaded: Any = MarianMTModel.from_pretrained(source, dtype="auto", output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise ConversionError(f"{source} cannot be loaded: {error}") from error
    marian, report = loaded
    missing, state = set(report["missing_keys"]), marian.state_dict()
    if marian.config.share_encoder_decoder_embeddings and SHARED not in missing:
        # transformers 4 saved one matrix for both also where the output projection has its own; 5 looks for three.
        for name in missing & {ENCODER, DECODER}:
            state[name].copy_(state[SHARED])
            missing.remove(name)
    if missing:
        raise ConversionError(f"{source} lacks the weights {some_of(missing)}; download or save it anew")
    if report["unexpected_keys"]:
        raise ConversionError(
            f"{source} has weights that MarianMTModel has no place for: {some_of(report['unexpected_keys'])}; it is "
            "another architecture, and leaving them out would change what it says"
        )
    return marian


def _convert_model(source: str, marian: Any) -> SineformerForConditionalGeneration:
    weights = dict(marian.state_dict())
    positions = {name: weights.pop(name) for name in list(weights) if name.endswith("embed_positions.weight")}
    bias = weights.pop("final_logits_bias")[0]  # [1, V] -> [V]
    shared = torch.equal(weights[ENCODER], weights[DECODER]) and marian.config.share_encoder_decoder_embeddings
    weights.pop(SHARED, None)
    if shared:
        weights[SHARED] = weights[ENCODER]
    if bias.any():
        weights["lm_head.bias"] = bias
    fields: dict[str, Any] = {name: getattr(marian.config, name) for name in SAME_FIELDS}
    try:
        config = SineformerConfig(
            **fields,
            decoder_vocab_size=len(weights[DECODER]),
            share_encoder_decoder_embeddings=shared,
            tie_word_embeddings=torch.equal(weights[HEAD], weights[DECODER]),
            position_layout="halves",
            lm_head_bias="lm_head.bias" in weights,
        )
    except StrictDataclassError as error:
        raise ConversionError(f"{source}/config.json: {error}") from error
    model: Any = SineformerForConditionalGeneration(config)
    model.to(marian.dtype).eval()
    model.load_state_dict(weights)
    for name, table in positions.items():
        _check_positions(f"{source}: {name}", table, model)
    model.generation_config = _generation_config(marian)
    return model


def _check_positions(name: str, table: torch.Tensor, model: SineformerForConditionalGeneration) -> None:
    encoder: Any = model.model.encoder
    closed_form = encoder.embed_positions.table[: len(table)].to(table.dtype)  # [P, D]
    if not torch.allclose(table, closed_form, atol=1e-4 if table.dtype == torch.float32 else 1e-2):
        raise ConversionError(f"{name} holds other positions than the sines and cosines of Marian; they were trained")


def _generation_config(marian: Any) -> GenerationConfig:
    """That of the checkpoint, which ends translations at a fixed length only."""
    settings = {name: value for name, value in marian.generation_config.to_dict().items() if value is not None}
    settings.pop("_from_model_config", None)
    if not {"max_length", "max_new_tokens"} & settings.keys():
        settings["max_length"] = marian.config.max_position_embeddings
    return GenerationConfig(**settings, **{TOKENS_BEYOND_SOURCE: None})


def _find_tokenizer(source: str) -> dict[str, Path]:
    """The files of the tokenizer, by name."""
    names = (*TOKENIZER_FILES, *OPTIONAL_TOKENIZER_FILES, "tokenizer_config.json")
    found = {name: cached_file(source, name, _raise_exceptions_for_missing_entries=False) for name in names}
    missing = [name for name in TOKENIZER_FILES if found[name] is None]
    if missing:
        raise ConversionError(
            f"{source} lacks {some_of(missing)} of its tokenizer; copy the tokenizer of the model it comes from there"
        )
    return {name: Path(path) for name, path in found.items() if path is not None}


def _write_tokenizer(folder: Path, files: dict[str, Path]) -> None:
    settings: dict[str, Any] = {"source_lang": None, "target_lang": None}
    for name, path in files.items():
        if name == "tokenizer_config.json":
            settings = _read_settings(path)
        else:
            shutil.copyfile(path, folder / name)
    settings = {name: value for name, value in settings.items() if name not in PLACES}
    settings["tokenizer_class"] = "MarianTokenizer"  # older checkpoints leave it to the type of the model
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{path} is not JSON ({error}); download or save it again") from error
    return settings
