"""Convert Marian and OPUS-MT checkpoints (`MarianMTModel`) into Sineformer folders.

    config.json                 the same fields, with the "halves" position layout of Marian and the two languages
    weights                     the same names; `final_logits_bias` becomes the bias of the output projection
    generation_config.json      unchanged (beams, forced end token, forbidden start token)
    source.spm, target.spm, vocab.json, ...     unchanged, for transformers' `MarianTokenizer`

The tokenizer is not converted into a fast one: Marian numbers its pieces independently of SentencePiece, segments the
source into pieces that its vocabulary may lack, looks up unknown runs of characters as one piece, and has separate
piece models for source and target. No model of `tokenizers` does the same for every text.

Layer drop, which only acts in training, is left out.
"""

from __future__ import annotations

import json
import re
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
# Options of Marian that transformers' MarianMTModel does not compute, and the only value that can be converted.
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
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = ("source.spm", "target.spm", "vocab.json")
OPTIONAL_TOKENIZER_FILES = ("target_vocab.json", "special_tokens_map.json", "added_tokens.json")
# They name paths on the machine that saved the tokenizer.
LOCAL_SETTINGS = ("name_or_path", "special_tokens_map_file", "tokenizer_file", "target_vocab_file", "is_local")
# A code such as de, deu or zh_Hans, but not a name of several languages such as ROMANCE.
LANGUAGE = re.compile(r"[a-z]{2,3}([-_]\w+)?")
OPUS_NAME = re.compile(r"opus-mt-(?:.+-)?([a-z]{2,3})-([a-z]{2,3})")


def convert_marian(source: str, output_dir: Path) -> SineformerForConditionalGeneration:
    """Convert a Marian checkpoint into a complete Sineformer folder with the same logits and translations.

    Args:
        source: folder of a model, or its id on the Hub.
        output_dir: new or empty; written completely or not at all.

    Returns:
        The converted model, in evaluation mode and in the dtype of the checkpoint.

    Raises:
        ConversionError: `source` is not a Marian checkpoint, lacks weights or tokenizer files, or has a setting that
            MarianMTModel does not compute; or `output_dir` is not empty. Nothing is written then.
    """
    check_output(output_dir)
    _check_config(source)
    tokenizer_files = _find_tokenizer(source)
    languages = _languages(source, tokenizer_files)
    model = _convert_model(source, _load(source))
    model.config.source_language, model.config.target_language = languages

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        _write_tokenizer(folder, tokenizer_files)

    write_output(output_dir, write)
    return model


def _check_config(source: str) -> None:
    try:
        config = PreTrainedConfig.get_config_dict(source)[0]
    except (OSError, ValueError) as error:
        raise ConversionError(f"{source} is neither the folder of a model nor on the Hub: {error}") from error
    if "model_type" not in config:
        raise ConversionError(f"{source} is no model: it has no config.json with a `model_type`")
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
    """Return the checkpoint; raise ConversionError if it lacks weights or has unknown ones."""
    try:
        loaded: Any = MarianMTModel.from_pretrained(source, dtype="auto", output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise ConversionError(f"{source} cannot be loaded: {error}") from error
    marian, report = loaded
    missing, state = set(report["missing_keys"]), marian.state_dict()
    if marian.config.share_encoder_decoder_embeddings and SHARED not in missing:
        # transformers 4 saved one matrix for both even if the output projection has another; 5 expects three.
        for name in missing & {ENCODER, DECODER}:
            state[name].copy_(state[SHARED])
            missing.remove(name)
    if missing:
        raise ConversionError(f"{source} lacks the weights {some_of(missing)}; download or save it again")
    if report["unexpected_keys"]:
        raise ConversionError(
            f"{source} has weights that MarianMTModel does not have: {some_of(report['unexpected_keys'])}; it has "
            "another architecture, and without them its translations would change"
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
        raise ConversionError(f"{name} is not Marian's table of sines and cosines; only that can be converted")


def _generation_config(marian: Any) -> GenerationConfig:
    """Return that of the checkpoint, without the length limit relative to the source, which Marian lacks."""
    settings = {name: value for name, value in marian.generation_config.to_dict().items() if value is not None}
    settings.pop("_from_model_config", None)
    if not {"max_length", "max_new_tokens"} & settings.keys():
        settings["max_length"] = marian.config.max_position_embeddings
    return GenerationConfig(**settings, **{TOKENS_BEYOND_SOURCE: None})


def _find_tokenizer(source: str) -> dict[str, Path]:
    """Return the files of the tokenizer by name."""
    names = (*TOKENIZER_FILES, *OPTIONAL_TOKENIZER_FILES, TOKENIZER_CONFIG)
    found = {name: cached_file(source, name, _raise_exceptions_for_missing_entries=False) for name in names}
    missing = [name for name in TOKENIZER_FILES if found[name] is None]
    if missing:
        raise ConversionError(
            f"{source} lacks {some_of(missing)} of its tokenizer; copy the tokenizer of the original model into it"
        )
    return {name: Path(path) for name, path in found.items() if path is not None}


def _languages(source: str, files: dict[str, Path]) -> tuple[str | None, str | None]:
    """Return the codes of source and target language in the settings of the tokenizer, or in the name of the model if
    these have none; None for a side with several languages or an unknown one."""
    settings = _read_settings(files[TOKENIZER_CONFIG]) if TOKENIZER_CONFIG in files else {}
    codes = [settings.get(side) for side in ("source_lang", "target_lang")]
    named = OPUS_NAME.fullmatch(Path(source).name)
    if named is not None and codes == [None, None]:
        codes = [*named.groups()]
    found = [code if isinstance(code, str) and LANGUAGE.fullmatch(code) else None for code in codes]
    return found[0], found[1]


def _write_tokenizer(folder: Path, files: dict[str, Path]) -> None:
    settings: dict[str, Any] = {"source_lang": None, "target_lang": None}
    for name, path in files.items():
        if name == TOKENIZER_CONFIG:
            settings = _read_settings(path)
        else:
            shutil.copyfile(path, folder / name)
    settings = {name: value for name, value in settings.items() if name not in LOCAL_SETTINGS}
    settings["tokenizer_class"] = "MarianTokenizer"  # older checkpoints do not name it
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / TOKENIZER_CONFIG).write_text(text + "\n", encoding="utf-8")


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{path} is not JSON ({error}); download or save it again") from error
    return settings
