"""Make the folder to publish from that of a finished run: weights in half precision, and no sentence of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ...data.tokenizer import save_tokenizers
from ...system.files import copy_file, write_file
from ...system.output_folder import METRICS_FILE, NOTICE, SETTINGS_FILE, VERSIONS_FILE
from ..card import CardError, write_card
from ..loading import PretrainedError, find_model, load_model
from .output import ConversionError, check_output, some_of, write_output


def release_model(run: Path, folder: Path, notes: Path | None = None, notice: Path | None = None) -> Any:
    """Write a complete model folder with the weights of a run in half precision.

    The configuration records fp32, so that the model computes in fp32 unless asked otherwise: fp16 is slow on a CPU.

    Args:
        run: output folder of a finished run, or any folder of a model. Its card and reports stay behind, because they
            quote the data; its settings, versions and the numbers of its log are copied.
        folder: new or empty; written completely or not at all.
        notes: Markdown for the card, see `write_card`.
        notice: a file that is copied as NOTICE, such as the terms of the data.

    Returns:
        The model, in half precision.

    Raises:
        ConversionError: the model cannot be loaded or has weights beyond half precision, a file cannot be read, or
            `folder` is not empty. Nothing is written then.
    """
    check_output(folder)
    try:
        model, tokenizers = load_model(find_model(str(run)), torch.float16)
    except PretrainedError as error:
        raise ConversionError(f"{run}: {error}") from error
    beyond = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if beyond:
        raise ConversionError(f"{run}: half precision cannot hold values of {some_of(beyond)}; publish the run itself")

    def write(aside: Path) -> None:
        model.save_pretrained(aside)
        model.config.dtype = torch.float32
        model.config.save_pretrained(aside)
        save_tokenizers(tokenizers, aside)
        _copy_record(run, aside)
        if notice is not None:
            copy_file(notice, aside / NOTICE)
        write_card(aside, folder.name, notes=notes)

    try:
        write_output(folder, write)
    except CardError as error:
        raise ConversionError(str(error)) from error
    return model


def _copy_record(run: Path, folder: Path) -> None:
    """Copy the record of a run, if there is one; of its log only numbers and words, not the lists of sentences."""
    for name in (SETTINGS_FILE, VERSIONS_FILE):
        if (run / name).is_file():
            copy_file(run / name, folder / name)
    log = run / METRICS_FILE
    if not log.is_file():
        return
    kept = []
    for number, text in enumerate(log.read_text(encoding="utf-8").splitlines(), 1):
        try:
            kept.append({key: value for key, value in json.loads(text).items() if not isinstance(value, list | dict)})
        except (ValueError, AttributeError) as error:
            raise ConversionError(f"{log}:{number}: not a line of a log ({error}); remove this line") from error
    write_file(folder / METRICS_FILE, "".join(f"{json.dumps(line)}\n" for line in kept))
