"""Encode sentence pairs as token ids in two flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from ...modeling.tokenization_sineformer import without_tags
from .cleaning import CleaningReport
from .epoch_plan import Indices, Lengths, PairLengths
from .parallel_text import ParallelText
from .tokenizer import Tokenizers

ENCODING_CHUNK = 10_000

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class EncodedPairs:
    """Token ids of all pairs in two flat arrays; pair i is between offsets i and i + 1.

    `rows[i]` is the index of pair i in the encoded text, because pairs over the token limit are left out.
    """

    source_ids: Ids
    source_offsets: Indices
    target_ids: Ids
    target_offsets: Indices
    rows: Indices | Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Ids]:
        source = slice(self.source_offsets[index], self.source_offsets[index + 1])
        target = slice(self.target_offsets[index], self.target_offsets[index + 1])
        return {"input_ids": self.source_ids[source], "labels": self.target_ids[target]}

    def of_epoch(self, epoch: int) -> EncodedPairs:
        """Return these pairs: they are the same in every epoch."""
        return self

    @property
    def lengths(self) -> Lengths:
        """Return [N, 2]: source and target tokens of each pair."""
        return self.lengths_on_demand[:]

    @property
    def lengths_on_demand(self) -> PairLengths:
        """Return the same, computed only for the pairs that are indexed."""
        return OffsetLengths((self.source_offsets, self.target_offsets))


def encode_pairs(text: ParallelText, tokenizers: Tokenizers, max_length: int, report: CleaningReport) -> EncodedPairs:
    """Encode all pairs with at most `max_length` tokens a side; the others are counted in `report`.

    Raises:
        ValueError: as `CleaningReport.check`.
    """
    pairs = encode_usable(text, tokenizers, max_length, report)
    report.kept = len(pairs)
    report.check()
    return pairs


def encode_usable(text: ParallelText, tokenizers: Tokenizers, max_length: int, report: CleaningReport) -> EncodedPairs:
    """Encode a part of a corpus in the same way; the caller checks the report of the complete corpus."""
    source_ids, source_lengths = _encode(tokenizers.source, "text", text.sources)
    target_ids, target_lengths = _encode(tokenizers.target, "text_target", text.targets)
    fits = np.maximum(source_lengths, target_lengths) <= max_length
    for index in np.flatnonzero(~fits):
        report.add(f"longer than {max_length} tokens", text.location(int(index)))
    return EncodedPairs(
        source_ids=source_ids[np.repeat(fits, source_lengths)],
        source_offsets=_offsets(source_lengths[fits]),
        target_ids=target_ids[np.repeat(fits, target_lengths)],
        target_offsets=_offsets(target_lengths[fits]),
        rows=np.flatnonzero(fits),
    )


def _encode(tokenizer: PreTrainedTokenizerFast, side: str, texts: list[str]) -> tuple[Ids, Indices]:
    """Return all ids in one array, and the number of ids of each text; `side` is the keyword of the tokenizer."""
    ids, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for start in range(0, len(texts), ENCODING_CHUNK):
        encoded = _ids(tokenizer, side, texts[start : start + ENCODING_CHUNK])
        lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        ids.append(np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths[-1].sum())))
    return np.concatenate(ids), np.concatenate(lengths)


def _ids(tokenizer: PreTrainedTokenizerFast, side: str, texts: list[str]) -> list[list[int]]:
    if not tokenizer.is_fast:
        given: Any = {side: texts}
        return tokenizer(**given, return_attention_mask=False, verbose=False)["input_ids"]
    # Same ids as the call above, without its offsets: twice as fast.
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    with without_tags(tokenizer) if side == "text_target" else nullcontext():
        return [encoding.ids for encoding in backend.encode_batch_fast(texts)]


def _offsets(lengths: Indices) -> Indices:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


@dataclass(frozen=True)
class OffsetLengths:
    """`PairLengths` from the offsets of the pairs on each side, the end included."""

    offsets: tuple[Indices, Indices]

    def __len__(self) -> int:
        return len(self.offsets[0]) - 1

    def __getitem__(self, pairs: slice | Indices) -> Lengths:
        sides = (offsets[1:][pairs] - offsets[:-1][pairs] for offsets in self.offsets)
        return np.stack(list(sides), axis=1)
