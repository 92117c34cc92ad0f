"""Choose what computes a model, torch or the library of an export, and load it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.tokenizer import Tokenizers, load_tokenizers
from .export.ctranslate2_engine import CTranslate2Model, device_of_ctranslate2
from .export.formats import FORMATS, format_of
from .export.onnx_engine import OnnxModel
from .loading import find_model
from .translator import TranslationError, load_translator, translate_into, usable_device

TORCH = "torch"
ENGINES = (TORCH, *FORMATS)
MODEL_FILES = (".safetensors", ".bin", ".onnx", ".json")


@dataclass(frozen=True)
class ModelChoice:
    """Name a model and how it is computed. Several processes can load the same.

    Attributes:
        name: folder of a model or of an export, or the id of a model on the Hub.
        engine: "torch", or the format of an export; None for what the folder is.
        device: such as "cpu" or "cuda:1"; None for an accelerator if there is one, else the CPU.
        dtype: of the weights, such as "bfloat16"; None for float32, and for the one of an export.
        target_language: code of the language to translate into, of a model that translates both directions; None for
            its default.
    """

    name: str
    engine: str | None = None
    device: str | None = None
    dtype: str | None = None
    target_language: str | None = None

    def found_engine(self) -> str:
        """Return "torch", or the format of the export.

        Raises:
            TranslationError: the folder is for another engine than the given one, or the engine lacks an option.
        """
        found = format_of(Path(self.name)) or TORCH
        if self.engine not in (None, found):
            fix = f"leave out --engine, or give {found}"
            if found == TORCH:
                fix = f"export it: sineformer-export {self.name} OUTPUT --format {self.engine}"
            raise TranslationError(f"{self.name} is a model for {found}, not for {self.engine}; {fix}")
        if found != TORCH and self.dtype is not None:
            raise TranslationError(f"{self.name} has the dtype that it was exported with; leave out --dtype")
        return found

    def on_cpu(self) -> bool:
        """Return whether the model is computed on the CPU.

        Raises:
            TranslationError: as `found_engine`, and if the device cannot be used.
        """
        found = self.found_engine()
        if found == TORCH:
            return usable_device(self.device).type == "cpu"
        with _needing_library(self.name, found):
            return found == "onnx" or device_of_ctranslate2(self.device) == "cpu"

    def fingerprint(self) -> list[list[Any]]:
        """Return name, size and time of each file of the model, by which a change is noticed; of one on the Hub, its
        id."""
        if not os.path.isdir(self.name):
            return [[self.name]]
        files = [(file, file.stat()) for file in sorted(Path(self.name).iterdir()) if file.suffix in MODEL_FILES]
        return [[str(file), found.st_size, found.st_mtime_ns] for file, found in files]

    def load_tokenizers(self) -> Tokenizers:
        """Return the tokenizers alone.

        Raises:
            TranslationError: there is no such model, it has no tokenizer, or does not translate into the language.
        """
        try:
            folder = Path(self.name) if self.found_engine() != TORCH else find_model(self.name)
            return self.directed(load_tokenizers(folder))
        except ImportError as error:
            raise TranslationError("the tokenizer needs sentencepiece: pip install sentencepiece") from error
        except (ValueError, OSError) as error:
            raise TranslationError(str(error)) from error

    def directed(self, tokenizers: Tokenizers) -> Tokenizers:
        """Return the tokenizers, with `target_language` as the language to translate into if it is given.

        Raises:
            TranslationError: the model does not translate into this language.
        """
        if self.target_language is not None:
            translate_into(tokenizers, self.target_language)
        return tokenizers


def load_engine(choice: ModelChoice, threads: int | None = None) -> tuple[Any, Tokenizers]:
    """Return a model on its device, or an export with the same `generate`, and its tokenizers.

    Args:
        choice: what to load.
        threads: of the CPU; None for as many as the library takes.

    Raises:
        TranslationError: there is no such model, it is not a Sineformer, the device cannot be used, or the model does
            not translate into the language.
    """
    engine = choice.found_engine()
    if engine != TORCH:
        return _load_export(engine, choice, threads)
    if threads is not None:
        torch.set_num_threads(threads)
    model, tokenizers = load_translator(choice.name, choice.device, getattr(torch, choice.dtype or "float32"))
    return model, choice.directed(tokenizers)


def _load_export(engine: str, choice: ModelChoice, threads: int | None) -> tuple[Any, Tokenizers]:
    folder, tokenizers = Path(choice.name), choice.load_tokenizers()
    with _needing_library(choice.name, engine):
        if engine == "onnx":
            return OnnxModel(folder, choice.device, threads or 0), tokenizers
        return CTranslate2Model(folder, tokenizers, choice.device, threads or 0), tokenizers


@contextlib.contextmanager
def _needing_library(name: str, engine: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise TranslationError(f"{name} needs {error.name}: pip install 'sineformer[{engine}]'") from error
