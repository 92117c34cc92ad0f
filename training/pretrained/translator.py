"""Load a model for a translation command, read its input and open its output."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch
from transformers.utils.logging import disable_progress_bar

from ..data.readers.rows import decode, is_unicode
from ..data.readers.text_files import raw_lines, split_lines
from ..data.tokenizer import Tokenizers
from ..system.files import file_problem, open_atomic
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
    target = _usable_device(device)
    try:
        model, tokenizers = load_model(find_model(name), dtype)
    except PretrainedError as error:
        raise TranslationError(str(error)) from error
    return model.to(target), tokenizers


def _usable_device(device: str | None) -> torch.device:
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TranslationError(f"device {device!r} cannot be used: {reason}") from error


def read_lines(path: Path | None) -> list[str]:
    """Return the lines of a UTF-8 file, which may be compressed, or of standard input for None.

    Raises:
        TranslationError: it cannot be read, or a line is not UTF-8 or too long for a sentence.
    """
    try:
        raw = list(raw_lines(path) if path is not None else _lines_of_standard_input())
    except ValueError as error:
        raise TranslationError(str(error)) from error
    name, texts = path or STANDARD_INPUT, []
    for number, line in enumerate(raw, 1):
        text, problem = decode(line)
        if text is None:
            raise TranslationError(f"{name}:{number} is {problem}; convert or correct it")
        texts.append(text)
    return texts


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


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Yield a UTF-8 stream into a file that is replaced when the context ends without an error; None: standard output.

    Raises:
        TranslationError: on entry if the file cannot be written; on exit if the disk is full.
    """
    if path is None:
        if sys.stdout is None:
            raise TranslationError("standard output is closed; name a file with --output")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield sys.stdout
        return
    problem = file_problem(path)
    if problem is not None:
        raise TranslationError(problem)
    try:
        with (
            open_atomic(path, f".{os.getpid()}") as stream,
            io.TextIOWrapper(stream, encoding="utf-8", newline="\n") as text,
        ):
            yield text
    except OSError as error:
        raise TranslationError(f"{path} cannot be written: {error.strerror}; it is unchanged") from error
