"""Translate lines in batches of similar length, and restore the order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from ...modeling.invisible_text import is_invisible
from ...modeling.tokenization_sineformer import split_tag
from ..data.tokenizer import Tokenizers

BATCHES_OF_A_WORKER = 3


class Hypothesis(NamedTuple):
    """Hold a translation.

    Attributes:
        text: without special tokens and line breaks.
        score: its log-probability / length ** `length_penalty`, if requested.
        ids: its token ids, with the end token unless it reached the limit of length.
    """

    text: str
    score: float | None = None
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Search:
    """Describe what to search for each source.

    Attributes:
        num_beams: number of beams; None for that of the model's generation config, or more if `translations` needs it.
        translations: number of translations, best first.
        scores: whether they have scores.
    """

    num_beams: int | None = None
    translations: int = 1
    scores: bool = False

    def arguments(self, model: Any) -> dict[str, Any]:
        """Return the arguments of `generate` that differ from the model's generation config."""
        arguments: dict[str, Any] = {} if self.num_beams is None else {"num_beams": self.num_beams}
        if self.translations > 1:
            beams = self.num_beams or max(model.generation_config.num_beams or 1, self.translations)
            arguments = {"num_beams": beams, "num_return_sequences": self.translations}
        if self.scores:
            arguments |= {"return_dict_in_generate": True, "output_scores": True}
        return arguments


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
    found = search_lines(model, tokenizers, lines, Search(num_beams), batch_size, show_progress)
    return [hypotheses[0].text for hypotheses in found]


def search_lines(
    model: Any,
    tokenizers: Tokenizers,
    lines: Sequence[str],
    search: Search,
    batch_size: int = 64,
    show_progress: bool = False,
) -> list[list[Hypothesis]]:
    """Return the best translations of each line, as `translate_lines` does the best one.

    A line without visible characters has one, which is empty and certain.
    """
    batches = source_batches(tokenizers, lines, batch_size)
    found = [[Hypothesis("", 0.0 if search.scores else None)] for _ in lines]
    total = sum(len(batch.lines) for batch in batches)
    with tqdm(total=total, unit=" lines", disable=None if show_progress else True) as bar:
        for batch in batches:
            for i, hypotheses in zip(batch.lines, search_batch(model, tokenizers, batch, search), strict=True):
                found[i] = hypotheses
            bar.update(len(batch.lines))
    return found


@dataclass(frozen=True)
class SourceBatch:
    """Hold a batch of sources: the indices of their lines, and their token ids."""

    lines: list[int]
    ids: list[list[int]]


def source_batches(tokenizers: Tokenizers, lines: Sequence[str], batch_size: int) -> list[SourceBatch]:
    """Return the lines with visible characters in batches of `batch_size`, longest first."""
    order, encoded = _longest_first(tokenizers, lines)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [SourceBatch(batch, [encoded[i] for i in batch]) for batch in batches]


def token_batches(tokenizers: Tokenizers, lines: Sequence[str], max_tokens: int, workers: int = 1) -> list[SourceBatch]:
    """Return the lines with visible characters in batches of at most `max_tokens` tokens, padding included, longest
    first. A longer line is a batch of its own.

    Args:
        workers: number of processes that translate. If there are several, each gets `BATCHES_OF_A_WORKER` or more, so
            that all end at about the same time; last batches for at most half of them are split for the others.
    """
    order, encoded = _longest_first(tokenizers, lines)
    if workers > 1:
        tokens = sum(len(encoded[i]) for i in order)
        max_tokens = min(max_tokens, tokens // (BATCHES_OF_A_WORKER * workers))
    batches, start = [], 0
    while start < len(order):
        end = start + max(1, max_tokens // len(encoded[order[start]]))
        batches.append(order[start:end])
        start = end
    if over := len(batches) % workers:
        batches[-over:] = chain(*(_split(batch, workers // over) for batch in batches[-over:]))
    return [SourceBatch(batch, [encoded[i] for i in batch]) for batch in batches]


def _split(batch: list[int], parts: int) -> list[list[int]]:
    size = math.ceil(len(batch) / parts)
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _longest_first(tokenizers: Tokenizers, lines: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Return the order of the lines with visible characters, and the token ids of all lines."""
    encoded: list[list[int]] = tokenizers.source(list(lines), verbose=False)["input_ids"] if lines else []
    # Similar lengths need little padding; with the longest first, memory runs out in the first batch or never.
    texts = (split_tag(tokenizers.source, line)[1] for line in lines)
    order = sorted((i for i, text in enumerate(texts) if not is_invisible(text)), key=lambda i: -len(encoded[i]))
    return order, encoded


def translate_batch(model: Any, tokenizers: Tokenizers, batch: SourceBatch, num_beams: int | None) -> list[str]:
    """Return the translations of one batch, without special tokens and line breaks."""
    return [hypotheses[0].text for hypotheses in search_batch(model, tokenizers, batch, Search(num_beams))]


@torch.inference_mode()
def search_batch(model: Any, tokenizers: Tokenizers, batch: SourceBatch, search: Search) -> list[list[Hypothesis]]:
    """Return the best translations of each source of a batch."""
    if not batch.lines:
        return []
    inputs = tokenizers.source.pad({"input_ids": batch.ids}, return_tensors="pt").to(model.device)  # [B, S]
    output = model.generate(**inputs, **search.arguments(model))
    sequences = output["sequences"] if search.scores else output  # [B * n, T]
    scores = _scores(model, output) if search.scores else [None] * len(sequences)
    texts = tokenizers.target.batch_decode(sequences, skip_special_tokens=True)
    found = [
        Hypothesis(" ".join(text.splitlines()), score, _generated(model, ids))
        for text, score, ids in zip(texts, scores, sequences.tolist(), strict=True)
    ]
    return [found[start : start + search.translations] for start in range(0, len(found), search.translations)]


def _generated(model: Any, sequence: list[int]) -> tuple[int, ...]:
    """Return the ids of a sequence between its start token and its padding, the end token included."""
    settings = model.generation_config
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    ids = sequence[1:]
    for index, token in enumerate(ids):
        if token in ends:
            return tuple(ids[: index + 1])
    while ids and ids[-1] == settings.pad_token_id:
        ids.pop()
    return tuple(ids)


def _scores(model: Any, output: Any) -> list[float]:
    """Return the scores of the sequences, which greedy search leaves to be computed as beam search does."""
    if output.get("sequences_scores") is not None:
        return output["sequences_scores"].tolist()
    sequences, steps = output["sequences"], len(output["scores"])
    log_probabilities = model.compute_transition_scores(sequences, output["scores"], normalize_logits=True)
    generated = sequences[:, -steps:] != model.generation_config.pad_token_id  # [B, T]
    length = generated.sum(dim=1) ** (model.generation_config.length_penalty or 1.0)  # [B]
    return (log_probabilities.where(generated, 0.0).sum(dim=1) / length).tolist()
