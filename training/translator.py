"""What a command line for translation needs: a model from a folder or the Hub, lines in, lines out."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from transformers.utils.logging import disable_progress_bar

from .pretrained import PretrainedError, find_model, load_model
from .tokenizer import Tokenizers


class TranslationError(ValueError):
    """The model, the input or the output cannot be used."""


def load_translator(name: str, device: str | None, dtype: torch.dtype) -> tuple[Any, Tokenizers]:
    """A model ready to translate, and its tokenizers.

    Args:
        name: a folder that training wrote, or the id of a model on the Hub.
        device: as torch names it; None for an accelerator if there is one, else the CPU.
        dtype: of the weights.

    Raises:
        TranslationError: there is no such model, it is not one of ours, or the device cannot be used.
    """
    disable_progress_bar()  # of loading
    place = _usable_device(device)
    try:
        model, tokenizers = load_model(find_model(name), dtype)
    except PretrainedError as error:
        raise TranslationError(str(error)) from error
    return model.to(place), tokenizers


def _usable_device(device: str | None) -> torch.device:
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TranslationError(f"device {device!r} cannot be used: {reason}") from error


def read_lines(path: Path | None) -> list[str]:
    """The lines of a UTF-8 file, or of standard input for None.

    Raises:
        TranslationError: the file cannot be read, or a line is not UTF-8.
    """
    name = "standard input" if path is None else str(path)
    try:
        raw = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        raise TranslationError(f"{name} cannot be read: {error.strerror}") from error
    lines = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    texts = []
    for number, line in enumerate(lines, 1):
        try:
            texts.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise TranslationError(f"{name}:{number} is not UTF-8; convert the file") from error
    return texts


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """A UTF-8 stream into a file that appears, or changes, only when all is written; standard output for None.

    Raises:
        TranslationError: at once, if the file cannot be written.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield sys.stdout
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        stream = aside.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise TranslationError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with stream:
            yield stream
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
