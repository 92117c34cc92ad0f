"""Yield the training batches of a process, epoch by epoch: from memory, memory-mapped files or a stream.

The training loop sees one interface. Micro-batches come in groups, one group per optimiser step, in an order that
depends only on seed, epoch and world_size * accumulation_steps (for a stream, also on its workers). A run that resumes
within an epoch starts at the first batch that it has not trained on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset

from ...modeling.loss import IGNORED
from ...modeling.tokenization_sineformer import tag_of
from ..settings.arguments import Settings
from .batching import Batching, MicroBatch, Seq2SeqCollator, TokenBudgetBatchSampler
from .both_directions import BothDirections, examples_of
from .bpe_dropout import BpeDropoutPairs
from .cleaning import CleaningReport
from .encoding import EncodedPairs
from .loading import Data, DataError
from .streaming import ShardsOfProcess, StreamError, TextStream, begin_worker
from .tokenizer import Tokenizers


class Batches(Protocol):
    """Batches of one process.

    Attributes:
        collator: pads the pairs of a batch.
        accumulation_steps: micro-batches of this process in an optimiser step.
        group: micro-batches of all processes in an optimiser step.
    """

    collator: Seq2SeqCollator
    accumulation_steps: int
    group: int

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Start an epoch at batch `start_batch` of this process."""

    def __iter__(self) -> Iterator[MicroBatch]:
        """Yield the batches of the epoch from `start_batch`; every process gets the same number."""

    def ends(self, steps: int, target_tokens: int) -> bool:
        """Return whether the epoch ends after `steps` optimiser steps; `target_tokens` are those of the next batches of
        all processes. Every process must call it."""

    def is_over(self, steps: int) -> bool:
        """Return whether the epoch is known to end after `steps` optimiser steps."""

    @property
    def steps_per_epoch(self) -> int | None:
        """Return the number of optimiser steps of a complete epoch, or None if unknown."""

    def share_of_epoch(self, steps: int) -> float:
        """Return `steps` as a fraction of the epoch."""

    def describe(self) -> str:
        """Return a description of the data for the log."""


def build_collator(settings: Settings, tokenizers: Tokenizers, accelerator: Accelerator) -> Seq2SeqCollator:
    """Return the collator for the device of a run: it pads to multiples of 8 for tensor cores."""
    uses_tensor_cores = accelerator.device.type == "cuda" and settings.optimisation.mixed_precision != "no"
    return Seq2SeqCollator(tokenizers.source.pad_token_id, 8 if uses_tensor_cores else 1)


def open_batches(settings: Settings, data: Data, collator: Seq2SeqCollator, accelerator: Accelerator) -> Batches:
    """Return the training batches of this process.

    Raises:
        DataError: a pair does not fit into a batch, there are too few pairs for the processes, or BPE-dropout is not
            possible with the tokenizers.
    """
    train, how = data.train, settings.optimisation
    reverse_tag = _reverse_tag(settings, data.tokenizers)
    batching = Batching(data.tokenizers, collator, how.max_tokens, settings.run.seed, reverse_tag)
    if isinstance(train, TextStream):
        return StreamedBatches(train, batching, accelerator, how.gradient_accumulation_steps)
    try:
        pairs = _with_dropout(train.pairs, settings, batching) if settings.tokenizer.bpe_dropout else train.pairs
        return MappedBatches(pairs, batching, accelerator, how.gradient_accumulation_steps)
    except ValueError as error:
        raise DataError(f"training data: {error}") from error


def _reverse_tag(settings: Settings, tokenizers: Tokenizers) -> int | None:
    """Return `Batching.reverse_tag`: a reverse is translated into the source language of the settings."""
    if not settings.data.both_directions:
        return None
    tag: Any = tokenizers.source.convert_tokens_to_ids(tag_of(str(settings.data.source_language)))
    return int(tag)


def _with_dropout(pairs: EncodedPairs, settings: Settings, batching: Batching) -> BpeDropoutPairs:
    """Return pairs that are segmented differently in each epoch, each short enough for a padded batch."""
    dropout, multiple = settings.tokenizer.bpe_dropout, batching.collator.pad_to_multiple_of
    tag = int(batching.reverse_tag is not None)  # before the source of a reverse
    longest = min(settings.data.max_length, batching.max_tokens // multiple * multiple - tag)
    return BpeDropoutPairs(pairs, batching.tokenizers, dropout, batching.seed, longest)


@dataclass(frozen=True)
class _MicroBatches(Dataset[MicroBatch]):
    """Dataset for the loader: maps the indices of pairs to a micro-batch."""

    pairs: EncodedPairs | BothDirections
    collator: Seq2SeqCollator

    def __getitem__(self, indices: list[int]) -> MicroBatch:
        return MicroBatch(indices, self.collator([self.pairs[index] for index in indices]))


class MappedBatches:
    """`Batches` of pairs with random access, in memory or in memory-mapped files.

    Args:
        source: returns the pairs of each epoch: always the same text, which may be segmented differently.
        batching: settings of the batches.
        accelerator: of the run, prepared for its processes.
        accumulation_steps: micro-batches per process and optimiser step.

    Raises:
        ValueError: as `TokenBudgetBatchSampler` does.
    """

    def __init__(
        self,
        source: EncodedPairs | BpeDropoutPairs,
        batching: Batching,
        accelerator: Accelerator,
        accumulation_steps: int,
    ) -> None:
        self.source, self.collator, self.accelerator = source, batching.collator, accelerator
        self.reverse_tag = batching.reverse_tag
        self.epoch, self.pairs = 0, examples_of(source.of_epoch(0), self.reverse_tag)
        self.sampler = TokenBudgetBatchSampler(
            self.pairs.lengths_on_demand,
            batching.max_tokens,
            batching.seed,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            accumulation_steps=accumulation_steps,
            pad_to_multiple_of=batching.collator.pad_to_multiple_of,
        )
        self.accumulation_steps, self.group = accumulation_steps, self.sampler.group

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Start an epoch at batch `start_batch` of this process."""
        if epoch != self.epoch:
            self.epoch, self.pairs = epoch, examples_of(self.source.of_epoch(epoch), self.reverse_tag)
            self.sampler.lengths = self.pairs.lengths_on_demand
        self.sampler.set_epoch(epoch, start_batch)

    def __iter__(self) -> Iterator[MicroBatch]:
        return iter(
            DataLoader(
                _MicroBatches(self.pairs, self.collator),
                sampler=self.sampler,  # one item of the data set is a micro-batch
                batch_size=None,
                collate_fn=_as_it_is,
                pin_memory=self.accelerator.device.type == "cuda",
                generator=torch.Generator(),  # otherwise the loader draws from the generator of dropout
            )
        )

    def ends(self, steps: int, target_tokens: int) -> bool:
        """Return False: iteration stops at the end of the epoch."""
        return False

    def is_over(self, steps: int) -> bool:
        """Return whether the epoch ends after `steps` optimiser steps."""
        return self.sampler.is_over(steps)

    @property
    def steps_per_epoch(self) -> int:
        """Return `TokenBudgetBatchSampler.steps_per_epoch`."""
        return self.sampler.steps_per_epoch

    def share_of_epoch(self, steps: int) -> float:
        """Return `steps` as a fraction of the epoch."""
        return self.sampler.share_of_epoch(steps)

    def describe(self) -> str:
        """Return the numbers of pairs and steps and the padding, for the log."""
        padding = self.sampler.padding()
        return (
            f"{len(self.pairs):,} pairs; about {self.steps_per_epoch:,} steps per epoch; padding "
            f"{padding.source:.1%} of source and {padding.target:.1%} of target positions"
        )


class StreamedBatches:
    """`Batches` of a stream. Iteration does not stop at the end of an epoch: see `ends`.

    Args:
        stream: the training text.
        batching: settings of the batches.
        accelerator: of the run, prepared for its processes.
        accumulation_steps: micro-batches per process and optimiser step.
    """

    def __init__(
        self, stream: TextStream, batching: Batching, accelerator: Accelerator, accumulation_steps: int
    ) -> None:
        self.stream, self.batching, self.accelerator = stream, batching, accelerator
        self.collator = batching.collator
        self.accumulation_steps, self.group = accumulation_steps, accelerator.num_processes * accumulation_steps
        self.shards = self.group * max(1, stream.workers)
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Start an epoch at batch `start_batch` of this process."""
        self.epoch, self.start_batch = epoch, start_batch
        self.steps: int | None = None
        self.reports: dict[int, CleaningReport] = {}

    def ends(self, steps: int, target_tokens: int) -> bool:
        """Return whether the shards of all processes have ended: then the next batches have no target token.

        Raises:
            StreamError: there was no usable pair, or too large a share of the rows is unusable.
        """
        if not target_tokens:
            self.end_epoch(steps)
        return not target_tokens

    def is_over(self, steps: int) -> bool:
        """Return whether the current epoch is known to end after `steps` optimiser steps."""
        return steps == self.steps

    @property
    def steps_per_epoch(self) -> None:
        """Return None: unknown."""
        return None

    def share_of_epoch(self, steps: int) -> float:
        """Return 1 at the end of the epoch, otherwise 0: its length is unknown."""
        return float(self.is_over(steps))

    def end_epoch(self, steps: int) -> None:
        """Record that the epoch ended after `steps` steps, and check the reports; every process must call it.

        Raises:
            StreamError: there was no usable pair, or too large a share of the rows is unusable.
        """
        self.steps = steps
        total = self.stream.new_report()
        for report in gather_object(list(self.reports.values())):
            total.add_all(report)
        if self.epoch == 0 or not steps:
            self.accelerator.print(f"train: {total}", file=sys.stderr)
        if not steps:
            raise StreamError("train data: no usable sentence pair; check the files, the columns and the limits")
        try:
            total.check_share()
        except ValueError as error:
            raise StreamError(f"train data: {error}") from error

    def __iter__(self) -> Iterator[MicroBatch]:
        shards = range(self.accelerator.process_index, self.shards, self.accelerator.num_processes)
        dataset = ShardsOfProcess(self.stream, self.batching, shards, self.shards, self.epoch, self.start_batch)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.stream.workers,
            worker_init_fn=begin_worker,
            generator=torch.Generator(),  # otherwise the loader draws from the generator of dropout
        )
        for number, item in enumerate(loader, self.start_batch):
            if isinstance(item, MicroBatch):
                yield item
            elif item.failure is not None:
                raise StreamError(f"train data: {item.failure}")
            else:
                self.reports[number % len(shards)] = item.report
                yield self._empty()

    def describe(self) -> str:
        """Return the size of the shuffle buffer, for the log."""
        return f"a stream of pairs, {self.stream.buffer:,} at a time"

    def _empty(self) -> MicroBatch:
        """Return a batch without target tokens, which has no gradient."""
        end = torch.tensor([[self.batching.tokenizers.source.eos_token_id]])
        labels = torch.full_like(end, IGNORED)
        return MicroBatch([], {"input_ids": end, "attention_mask": torch.ones_like(end), "labels": labels})


def _as_it_is(item: Any) -> Any:
    return item
