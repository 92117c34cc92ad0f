"""Load a model for a translation command, and read its input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from ...modeling.tokenization_sineformer import target_language
from ..data.readers.rows import decode, is_unicode
from ..data.readers.text_files import raw_lines, split_lines
from ..data.tokenizer import Tokenizers
from .loading import PretrainedError, find_model, load_model

STANDARD_INPUT = "standard input"


class TranslationError(ValueError):
    """Raised if the model, the input or the output cannot be used."""


def load_translator(name: str, device: str | None, dtype: torch.dtype) -> tuple[Any, Tokenizers]:
    """Return a model on its device, and its tokenizers.

    Args:
        name: folder of a model, or its id on the Hub.
        device: a device of torch; None for an accelerator if there is one, else the CPU.
        dtype: of the weights.

    Raises:
        TranslationError: there is no such model, it is not a Sineformer, or the device cannot be used.
    """
    disable_progress_bar()  # of loading
    target = usable_device(device)
    try:
        model, tokenizers = load_model(find_model(name), dtype)
    except PretrainedError as error:
        raise TranslationError(str(error)) from error
    return model.to(target), tokenizers


def translate_into(tokenizers: Tokenizers, language: str) -> None:
    """Make sources that begin with no tag be translated into a language, by a model of both directions.

    Raises:
        TranslationError: the model does not translate into this language, or one direction only.
    """
    tokenizer: Any = tokenizers.source
    try:
        tokenizer.tgt_lang = target_language(tokenizer, tgt_lang=language)
    except ValueError as error:
        raise TranslationError(f"target language: {error}") from error


def usable_device(device: str | None) -> torch.device:
    """Return a device of torch; for None an accelerator if there is one, else the CPU.

    Raises:
        TranslationError: it cannot be used.
    """
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TranslationError(f"device {device!r} cannot be used: {reason}") from error


def read_lines(path: Path | None) -> list[str]:
    """Return all that `iterate_lines` yields."""
    return list(iterate_lines(path))


def iterate_lines(path: Path | None) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, which may be compressed, or of standard input for None, each as it arrives.

    Raises:
        TranslationError: it cannot be read, or a line is not UTF-8 or too long for a sentence.
    """
    name = path or STANDARD_INPUT
    try:
        for number, line in enumerate(raw_lines(path) if path is not None else _lines_of_standard_input(), 1):
            text, problem = decode(line)
            if text is None:
                raise TranslationError(f"{name}:{number} is {problem}; convert or correct it")
            yield text
    except ValueError as error:
        raise TranslationError(str(error)) from error


def _lines_of_standard_input() -> Iterator[bytes]:
    if sys.stdin is None:
        raise TranslationError("standard input is closed; give sentences, a file with --input, or a pipe")
    try:
        yield from split_lines(sys.stdin.buffer, STANDARD_INPUT)
    except OSError as error:
        raise TranslationError(f"{STANDARD_INPUT} cannot be read: {error.strerror}") from error


def check_sentences(sentences: Sequence[str]) -> None:
    """Raise TranslationError if a sentence is not UTF-8, as in a terminal with another encoding."""
    for number, sentence in enumerate(sentences, 1):
        if not is_unicode(sentence):
            raise TranslationError(f"sentence {number}, {sentence!a}, is not UTF-8; set the terminal to UTF-8")
