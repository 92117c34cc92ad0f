"""Translating many lines with one model: sorted by length, in batches, and back in the order they came in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from .tokenizer import Tokenizers


def translate_lines(
    model: Any,
    tokenizers: Tokenizers,
    lines: Sequence[str],
    batch_size: int = 64,
    num_beams: int | None = None,
    show_progress: bool = False,
) -> list[str]:
    """Translate each line; the result has as many lines, in the same order.

    Args:
        model: a sequence-to-sequence model in evaluation mode; translation runs on its device.
        tokenizers: of source and target.
        lines: the sources. One without any text is not shown to the model: its translation is empty.
        batch_size: sentences translated at once.
        num_beams: beams; left out, what the model's generation config says.
        show_progress: a progress bar on standard error, if that is a terminal.

    Returns:
        Translations without special tokens and without line breaks.
    """
    encoded: list[list[int]] = tokenizers.source(list(lines))["input_ids"] if lines else []
    # Longest first: batches of like lengths pad little, and memory runs out at once or never.
    order = sorted((i for i, line in enumerate(lines) if line.strip()), key=lambda i: -len(encoded[i]))
    translations = [""] * len(lines)
    with tqdm(total=len(order), unit=" lines", disable=None if show_progress else True) as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            texts = _translate_batch(model, tokenizers, [encoded[i] for i in chosen], num_beams)
            for i, text in zip(chosen, texts, strict=True):
                translations[i] = " ".join(text.splitlines())
            bar.update(len(chosen))
    return translations


@torch.inference_mode()
def _translate_batch(model: Any, tokenizers: Tokenizers, encoded: list[list[int]], num_beams: int | None) -> list[str]:
    batch = tokenizers.source.pad({"input_ids": encoded}, return_tensors="pt").to(model.device)  # [B, S]
    beams = {} if num_beams is None else {"num_beams": num_beams}
    generated = model.generate(**batch, **beams)  # [B, T]
    return tokenizers.target.batch_decode(generated, skip_special_tokens=True)
