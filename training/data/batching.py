"""Make padded batches from token ids.

The limit of a batch counts *positions*, not sentences: B * S <= max_tokens and B * T <= max_tokens, padding included,
so that memory and time per batch are nearly constant (section 5.1 of the paper batches by approximate length for the
same reason). B is the batch, S the source length and T the target length in tokens, `</s>` included.
`epoch_plan.py` selects the examples of each batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from ...modeling.loss import IGNORED
from .encoding import Ids
from .epoch_plan import WINDOW, EpochPlan, Indices, Lengths, PairLengths, check_budget, round_up, split_by_budget
from .tokenizer import Tokenizers


class MicroBatch(NamedTuple):
    """Inputs of one forward pass, and their examples: indices in the training data, or locations in a stream."""

    examples: list[int] | list[str]
    inputs: dict[str, torch.Tensor]

    def split(self, count: int) -> list[MicroBatch]:
        """Split into `count` micro-batches of nearly equal size, but at most one for each example."""
        if count == 1:
            return [self]
        number = min(count, len(self.examples)) or 1
        numbers = torch.arange(len(self.examples)).tensor_split(number)
        inputs = {key: value.tensor_split(number) for key, value in self.inputs.items()}
        return [
            MicroBatch([self.examples[row] for row in rows], {key: values[index] for key, values in inputs.items()})
            for index, rows in enumerate(numbers)
        ]


class PaddingShare(NamedTuple):
    """Share of padding in all positions, 0 to 1, on each side."""

    source: float
    target: float


def padding_share(
    lengths: PairLengths, batches: Sequence[Sequence[int] | Indices], pad_to_multiple_of: int = 1
) -> PaddingShare:
    """Return padding positions / all positions over `batches`."""
    sizes = np.array([len(batch) for batch in batches])
    taken = lengths[np.fromiter(chain.from_iterable(batches), np.int64)]
    longest = np.maximum.reduceat(taken, np.cumsum(sizes) - sizes, axis=0)
    positions = (round_up(longest, pad_to_multiple_of) * sizes[:, None]).sum(axis=0)
    source, target = 1 - taken.sum(axis=0) / positions
    return PaddingShare(float(source), float(target))


class TokenBudgetBatchSampler:
    """Yield the batches of one process as lists of example indices, for `DataLoader(batch_sampler=...)`.

    In every epoch each example occurs exactly once over all processes; batches differ between epochs. The global order
    depends only on seed, epoch and world_size * accumulation_steps: micro-batches come in groups of this size, one
    group per optimiser step, and rank r takes numbers r, r + world_size, ... So one process that accumulates two
    batches takes the same steps as two processes with one batch each.

    The sampler shards over ranks itself: the loader must not be sharded again.

    Args:
        lengths: [N, 2] source and target tokens of each example.
        max_tokens: most positions of a batch on either side, padding included.
        seed: determines, with the epoch, batches and order; not negative.
        rank: this process.
        world_size: number of processes.
        accumulation_steps: micro-batches per process and optimiser step.
        pad_to_multiple_of: as in the collator, so that the budget includes its padding.
        window: most examples planned at once.

    Raises:
        ValueError: an example is longer than `max_tokens`, or there are too few examples for the processes.
    """

    def __init__(
        self,
        lengths: PairLengths,
        max_tokens: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        accumulation_steps: int = 1,
        pad_to_multiple_of: int = 1,
        window: int = WINDOW,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank} of world_size {world_size}; ranks count from 0 to world_size - 1")
        check_budget(lengths, max_tokens, pad_to_multiple_of)
        self.lengths, self.max_tokens, self.seed = lengths, max_tokens, seed
        self.rank, self.world_size = rank, world_size
        self.group = world_size * accumulation_steps
        self.multiple, self.window = pad_to_multiple_of, window
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Plan an epoch; iteration starts at batch `start_batch` of this rank, to resume a run."""
        seed = self.seed, epoch
        self.plan = EpochPlan(self.lengths, self.max_tokens, seed, self.group, self.multiple, self.window)
        start = self.plan.locate(start_batch * self.world_size)
        if start is None:
            batches = self.plan.total // self.world_size
            raise ValueError(f"start_batch is {start_batch}, but epoch {epoch} has {batches} batches per process")
        self._start = start
        self.start_batch = start_batch

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of optimiser steps of the complete current epoch; epochs differ by a few.

        For a corpus of several windows, an estimate from the first.
        """
        return round(self.plan.expected / self.group)

    def share_of_epoch(self, steps: int) -> float:
        """Return `steps` as a fraction of the current epoch."""
        return steps / self.steps_per_epoch

    def is_over(self, steps: int) -> bool:
        """Return whether the current epoch ends after `steps` optimiser steps."""
        return self.plan.is_end(steps * self.group)

    def __len__(self) -> int:
        return self.plan.total // self.world_size - self.start_batch

    def __iter__(self) -> Iterator[list[int]]:
        window, first = self._start
        for number in range(window, len(self.plan.windows)):
            for batch in self.plan.batches(number)[first + self.rank :: self.world_size]:
                yield batch.tolist()
            first = 0

    def padding(self) -> PaddingShare:
        """Return the padding share of this rank's batches in the first window of the epoch."""
        return padding_share(self.lengths, self.plan.batches(0)[self.rank :: self.world_size], self.multiple)


def evaluation_batches(lengths: Lengths, max_tokens: int, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    """Return this rank's batches of example indices, longest first, so that a lack of memory shows at once.

    Every example occurs once over all ranks; their numbers of batches may differ by one.

    Raises:
        ValueError: an example is longer than `max_tokens`.
    """
    check_budget(lengths, max_tokens)
    order = np.lexsort((lengths[:, 1], lengths[:, 0]))[::-1]
    return [batch.tolist() for batch in split_by_budget(lengths, order, max_tokens)[rank::world_size]]


@dataclass(frozen=True)
class Seq2SeqCollator:
    """Pad the pairs of a batch to its longest source and longest target, rounded up to a multiple.

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


@dataclass(frozen=True)
class Batching:
    """Settings of batches.

    Attributes:
        tokenizers: of source and target.
        collator: pads the pairs of a batch.
        max_tokens: most positions of a batch on either side, padding included.
        seed: of the run.
        reverse_tag: as in `BothDirections`; None to train on pairs in one direction.
    """

    tokenizers: Tokenizers
    collator: Seq2SeqCollator
    max_tokens: int
    seed: int
    reverse_tag: int | None = None
