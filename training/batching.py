"""From sentence pairs to batches: encoding, order, padding.

A batch is bounded in *positions*, not in sentences: B * S <= max_tokens and B * T <= max_tokens, padding included, so
that memory and time per batch stay level (section 5.1 of the paper batches by approximate length for the same
reason). Here and below B is the batch, S the source length and T the target length in tokens, `</s>` included.

Little padding on *both* sides asks for more than a sort: sorted by S alone, a batch mixes all T. `epoch_order` sorts
by S into slabs and by T within each slab, as sort-tile-recursive packing lays out rectangles (Leutenegger et al.,
1997).
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from ..modeling.loss import IGNORED
from .cleaning import CleaningReport, ParallelText
from .tokenizer import Tokenizers

ENCODING_CHUNK = 10_000

Ids = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]
Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EncodedPairs(Dataset[dict[str, Ids]]):
    """Token ids of all pairs in two flat arrays; pair i lies between offsets i and i + 1.

    `rows[i]` is the index of pair i in the text it was encoded from, since pairs over the token limit are left out.
    """

    source_ids: Ids
    source_offsets: Indices
    target_ids: Ids
    target_offsets: Indices
    rows: Indices

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Ids]:
        source = slice(self.source_offsets[index], self.source_offsets[index + 1])
        target = slice(self.target_offsets[index], self.target_offsets[index + 1])
        return {"input_ids": self.source_ids[source], "labels": self.target_ids[target]}

    @property
    def lengths(self) -> Lengths:
        """[N, 2]: source and target tokens of each pair."""
        return np.stack([np.diff(self.source_offsets), np.diff(self.target_offsets)], axis=1)


def encode_pairs(text: ParallelText, tokenizers: Tokenizers, max_length: int, report: CleaningReport) -> EncodedPairs:
    """Encode all pairs but those with more than `max_length` tokens on a side, which are counted in `report`.

    Raises:
        ValueError: such pairs exist and the report refuses bad rows, or no pair is left.
    """
    source_ids, source_lengths = _encode(tokenizers.source, text.sources)
    target_ids, target_lengths = _encode(tokenizers.target, text.targets)
    fits = np.maximum(source_lengths, target_lengths) <= max_length
    for index in np.flatnonzero(~fits):
        report.add(f"longer than {max_length} tokens", text.place(int(index)))
    report.kept = int(fits.sum())
    report.settle()
    return EncodedPairs(
        source_ids=source_ids[np.repeat(fits, source_lengths)],
        source_offsets=_offsets(source_lengths[fits]),
        target_ids=target_ids[np.repeat(fits, target_lengths)],
        target_offsets=_offsets(target_lengths[fits]),
        rows=np.flatnonzero(fits),
    )


def _encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> tuple[Ids, Indices]:
    """All ids in one array, and the number of ids of each text."""
    ids, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for start in range(0, len(texts), ENCODING_CHUNK):
        encoded = tokenizer(texts[start : start + ENCODING_CHUNK], return_attention_mask=False, verbose=False)[
            "input_ids"
        ]
        lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        ids.append(np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths[-1].sum())))
    return np.concatenate(ids), np.concatenate(lengths)


def _offsets(lengths: Indices) -> Indices:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


class TokenBudgetBatchSampler:
    """The batches of one process, for `DataLoader(batch_sampler=...)`: lists of example indices.

    In every epoch each example occurs exactly once over all processes, in another batch with other neighbours than in
    the epoch before. The global order depends on seed, epoch and world_size * accumulation_steps alone: micro-batches
    come in groups of that many, one group per optimiser step, of which rank r takes number r, r + world_size, ... One
    process accumulating two batches and two processes with one each therefore take the same steps.

    The sampler deals out the ranks' shares itself: a loader must not be sharded a second time.

    Args:
        lengths: [N, 2] source and target tokens of each example.
        max_tokens: most positions of a batch on either side, padding included.
        seed: with the epoch, decides order and membership; not negative.
        rank: this process.
        world_size: number of processes.
        accumulation_steps: micro-batches per process and optimiser step.
        pad_to_multiple_of: the collator's setting of this name, so that the budget counts its padding too.

    Raises:
        ValueError: an example is longer than `max_tokens`, or there are too few examples for the processes.
    """

    def __init__(
        self,
        lengths: Lengths,
        max_tokens: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        accumulation_steps: int = 1,
        pad_to_multiple_of: int = 1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank} of world_size {world_size}; ranks count from 0 to world_size - 1")
        self.lengths = _round_up(lengths, pad_to_multiple_of)
        self.max_tokens = max_tokens
        self.seed = seed
        self.rank, self.world_size = rank, world_size
        self.group = world_size * accumulation_steps
        _check_budget(self.lengths, max_tokens)
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Plan an epoch; iteration begins at this rank's batch `start_batch`, which is how a stopped run goes on."""
        batches = plan_epoch(self.lengths, self.max_tokens, (self.seed, epoch), self.group)
        self._batches = batches[self.rank :: self.world_size]
        if not 0 <= start_batch <= len(self._batches):
            raise ValueError(
                f"start_batch is {start_batch}, but epoch {epoch} has {len(self._batches)} batches per process"
            )
        self.start_batch = start_batch

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of the whole current epoch, before `start_batch` or after. Epochs differ by a few."""
        return len(self._batches) * self.world_size // self.group

    def __len__(self) -> int:
        return len(self._batches) - self.start_batch

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches[self.start_batch :]:
            yield batch.tolist()


def plan_epoch(lengths: Lengths, max_tokens: int, seed: tuple[int, int], group: int) -> list[Indices]:
    """All batches of an epoch in training order; their number is a multiple of `group`.

    Raises:
        ValueError: the examples are too few to split into a multiple of `group` batches.
    """
    generator = np.random.default_rng(seed)
    order = epoch_order(lengths, max_tokens, generator)
    batches = _split_largest(_cut(lengths, order, max_tokens), group)
    return [batches[index] for index in generator.permutation(len(batches))]


def epoch_order(lengths: Lengths, max_tokens: int, generator: np.random.Generator) -> Indices:
    """All examples so that neighbours have similar lengths on both sides; equal lengths fall in random order.

    Sorted by S, cut into slabs, sorted by T within a slab, up in one slab and down in the next so that T runs on
    where they meet. Of about b batches, sqrt(2 b) slabs pad both sides alike, measured on text with a length
    correlation of 0.87. The random phase moves the slab borders from epoch to epoch.
    """
    count = len(lengths)
    batches = lengths.max(axis=1).sum() / max_tokens
    slabs = max(1, round(float(np.sqrt(2 * batches))))
    by_source = np.lexsort((generator.random(count), lengths[:, 0]))
    slab = np.empty(count, np.int64)
    slab[by_source] = np.floor(np.arange(count) * slabs / max(1, count) + generator.random())
    rising = np.where(slab % 2 == 0, lengths[:, 1], -lengths[:, 1])
    return np.lexsort((generator.random(count), rising, slab))


def _cut(lengths: Lengths, order: Indices, max_tokens: int) -> list[Indices]:
    """Cut an order into the longest runs that keep within the budget on both sides."""
    longer = lengths.max(axis=1)[order]
    sizes = np.arange(1, max_tokens + 1)
    batches, start = [], 0
    while start < len(order):
        window = longer[start : start + max_tokens // longer[start]]
        positions = np.maximum.accumulate(window) * sizes[: len(window)]
        stop = start + int(np.searchsorted(positions, max_tokens, side="right"))
        batches.append(order[start:stop])
        start = stop
    return batches


def _split_largest(batches: list[Indices], group: int) -> list[Indices]:
    """Halve the batch with most examples until the number of batches is a multiple of `group`."""
    wanted = -(-len(batches) // group) * group
    examples = sum(len(batch) for batch in batches)
    if examples < wanted:
        raise ValueError(
            f"{examples} examples cannot fill {wanted} batches, the next multiple of world_size * accumulation_steps = "
            f"{group}; use fewer processes or accumulation steps, or more data"
        )
    heap = [(-len(batch), number) for number, batch in enumerate(batches)]
    heapq.heapify(heap)
    while len(batches) < wanted:
        _, number = heapq.heappop(heap)
        left, right = np.array_split(batches[number], 2)
        batches[number] = left
        heapq.heappush(heap, (-len(left), number))
        heapq.heappush(heap, (-len(right), len(batches)))
        batches.append(right)
    return batches


def evaluation_batches(lengths: Lengths, max_tokens: int, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    """This rank's batches of example indices, longest first, so that memory runs out at once if ever.

    Every example occurs once over all ranks, whose numbers of batches may differ by one.

    Raises:
        ValueError: an example is longer than `max_tokens`.
    """
    _check_budget(lengths, max_tokens)
    order = np.lexsort((lengths[:, 1], lengths[:, 0]))[::-1]
    return [batch.tolist() for batch in _cut(lengths, order, max_tokens)[rank::world_size]]


def _check_budget(lengths: Lengths, max_tokens: int) -> None:
    if lengths.ndim != 2 or lengths.shape[1] != 2:
        raise ValueError(f"lengths has shape {lengths.shape}; give [N, 2]: source and target tokens of each example")
    beyond = np.flatnonzero(lengths.max(axis=1) > max_tokens)
    if len(beyond):
        source, target = lengths[beyond[0]]
        raise ValueError(
            f"example {beyond[0]} has {source} source and {target} target positions, more than max_tokens {max_tokens} "
            f"({len(beyond)} such examples); raise max_tokens or lower the limit on tokens per sentence"
        )


def _round_up(lengths: Lengths, multiple: int) -> Lengths:
    return -(-lengths // multiple) * multiple


class PaddingShare(NamedTuple):
    """Which part of all positions is padding, 0 to 1, on each side."""

    source: float
    target: float


def padding_share(lengths: Lengths, batches: Sequence[Sequence[int]], pad_to_multiple_of: int = 1) -> PaddingShare:
    """Padding positions / all positions over `batches`, whichever process they belong to."""
    sizes = np.array([len(batch) for batch in batches])
    taken = lengths[np.fromiter(chain.from_iterable(batches), np.int64)]
    longest = np.maximum.reduceat(taken, np.cumsum(sizes) - sizes, axis=0)
    positions = (_round_up(longest, pad_to_multiple_of) * sizes[:, None]).sum(axis=0)
    source, target = 1 - taken.sum(axis=0) / positions
    return PaddingShare(float(source), float(target))


@dataclass(frozen=True)
class Seq2SeqCollator:
    """Pad the pairs of a batch to its longest source and longest target, or to the next multiple above.

    Returns `input_ids` and `attention_mask` [B, S] and `labels` [B, T], padded with -100, all `torch.long`.
    """

    pad_token_id: int
    pad_to_multiple_of: int = 1

    def __call__(self, pairs: Sequence[Mapping[str, Ids]]) -> dict[str, torch.Tensor]:
        input_ids = self._pad([pair["input_ids"] for pair in pairs], self.pad_token_id)
        labels = self._pad([pair["labels"] for pair in pairs], IGNORED)
        lengths = torch.tensor([len(pair["input_ids"]) for pair in pairs])
        mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
        return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}

    def _pad(self, sequences: list[Ids], value: int) -> torch.Tensor:
        longest = -(-max(map(len, sequences)) // self.pad_to_multiple_of) * self.pad_to_multiple_of
        padded = np.full((len(sequences), longest), value, np.int64)
        for row, sequence in zip(padded, sequences, strict=True):
            row[: len(sequence)] = sequence
        return torch.from_numpy(padded)
