"""Export a model folder into a format that runs without torch: CTranslate2 or ONNX."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ....modeling.generation_request import Request
from ...data.tokenizer import Tokenizers, save_tokenizers
from ..conversion.output import ConversionError, check_output, write_output
from ..loading import PretrainedError, find_model, load_model
from .ctranslate2_writer import make_spec
from .formats import MODEL_CONFIG
from .onnx_writer import write_onnx


def export_model(source: str, output_dir: Path, export_format: str, quantization: str | None = None) -> None:
    """Export a model with its tokenizer into a new folder.

    Args:
        source: folder of a model, or its id on the Hub.
        output_dir: new or empty; written completely or not at all.
        export_format: "ctranslate2" or "onnx".
        quantization: type of the weights in the export, a name of CTranslate2; None for float32.

    Raises:
        ConversionError: there is no such model, it has something that the format cannot express, or the output cannot
            be written; the message names the field and the fix. Nothing is written then.
    """
    check_output(output_dir)
    try:
        model, tokenizers = load_model(find_model(source), torch.float32)
    except PretrainedError as error:
        raise ConversionError(str(error)) from error
    _check_tokenizers(source, model, tokenizers)
    _check_search(source, model)
    if export_format == "onnx" and quantization is not None:
        raise ConversionError("an export for ONNX is in float32; leave out the quantization, or export for ctranslate2")

    def write(folder: Path) -> None:
        save_tokenizers(tokenizers, folder)
        model.generation_config.save_pretrained(folder)
        model.config.to_json_file(folder / MODEL_CONFIG)
        if export_format == "onnx":
            write_onnx(folder, model)
        else:
            make_spec(source, model, tokenizers, quantization).save(str(folder))

    with _needing_extra(export_format):
        write_output(output_dir, write)


@contextlib.contextmanager
def _needing_extra(export_format: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConversionError(
            f"the format {export_format} needs {error.name}: pip install 'sineformer[{export_format}]'"
        ) from error


def _check_tokenizers(source: str, model: Any, tokenizers: Tokenizers) -> None:
    if not tokenizers.source.is_fast:
        raise ConversionError(
            f"{source} has the tokenizer of a Marian model, which is not exported; export the Marian checkpoint that "
            "it was converted from (CTranslate2 has ct2-transformers-converter)"
        )
    sizes = {"vocab_size": model.config.vocab_size, "decoder_vocab_size": model.config.target_vocab_size}
    for tokenizer, (name, size) in zip((tokenizers.source, tokenizers.target), sizes.items(), strict=True):
        if len(tokenizer) > size:
            raise ConversionError(
                f"{source} has a tokenizer of {len(tokenizer)} tokens, more than `{name}` ({size}); resize the "
                "embeddings of the model (`resize_token_embeddings`) and save it again"
            )


def _check_search(source: str, model: Any) -> None:
    """Raise ConversionError if translating with the saved generation config takes more than a search."""
    saved = Request({}, None, model.generation_config, model.config)
    names = saved.other_names()
    if names:
        raise ConversionError(
            f"{source}/generation_config.json asks for {', '.join(names)}, which an export does not compute; it has "
            "greedy and beam search alone, so remove the setting"
        )
    if not isinstance(saved.start_token(), int) or not saved.end_tokens():
        raise ConversionError(
            f"{source}/generation_config.json lacks `decoder_start_token_id` or `eos_token_id`; add them"
        )
