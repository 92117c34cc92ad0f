"""Translate many lines: sort them by length, translate in batches, and restore the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from ...modeling.invisible_text import is_invisible
from ..data.tokenizer import Tokenizers


def translate_lines(
    model: Any,
    tokenizers: Tokenizers,
    lines: Sequence[str],
    batch_size: int = 64,
    num_beams: int | None = None,
    show_progress: bool = False,
) -> list[str]:
    """Translate each line; the result has one translation per line, in the same order.

    Args:
        model: a sequence-to-sequence model in evaluation mode; translation runs on its device.
        tokenizers: of source and target.
        lines: the sources. A line without visible characters is not translated: its translation is empty.
        batch_size: sentences per batch.
        num_beams: number of beams; None for that of the model's generation config.
        show_progress: show a progress bar on standard error, if that is a terminal.

    Returns:
        Translations without special tokens and without line breaks.
    """
    batches = source_batches(tokenizers, lines, batch_size)
    translations = [""] * len(lines)
    total = sum(len(batch.lines) for batch in batches)
    with tqdm(total=total, unit=" lines", disable=None if show_progress else True) as bar:
        for batch in batches:
            for i, text in zip(batch.lines, translate_batch(model, tokenizers, batch, num_beams), strict=True):
                translations[i] = text
            bar.update(len(batch.lines))
    return translations


@dataclass(frozen=True)
class SourceBatch:
    """Hold a batch of sources: the indices of their lines, and their token ids."""

    lines: list[int]
    ids: list[list[int]]


def source_batches(tokenizers: Tokenizers, lines: Sequence[str], batch_size: int) -> list[SourceBatch]:
    """Return the lines with visible characters in batches of `batch_size`, longest first."""
    encoded: list[list[int]] = tokenizers.source(list(lines), verbose=False)["input_ids"] if lines else []
    # Similar lengths need little padding; with the longest first, memory runs out in the first batch or never.
    order = sorted((i for i, line in enumerate(lines) if not is_invisible(line)), key=lambda i: -len(encoded[i]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [SourceBatch(batch, [encoded[i] for i in batch]) for batch in batches]


@torch.inference_mode()
def translate_batch(model: Any, tokenizers: Tokenizers, batch: SourceBatch, num_beams: int | None) -> list[str]:
    """Return the translations of one batch, without special tokens and line breaks."""
    inputs = tokenizers.source.pad({"input_ids": batch.ids}, return_tensors="pt").to(model.device)  # [B, S]
    beams = {} if num_beams is None else {"num_beams": num_beams}
    generated = model.generate(**inputs, **beams)  # [B, T]
    texts = tokenizers.target.batch_decode(generated, skip_special_tokens=True)
    return [" ".join(text.splitlines()) for text in texts]
