"""The training batches of a process, epoch by epoch: of pairs in memory or in mapped files, or of a stream.

Both kinds look alike to the training loop. Micro-batches come in groups, one group per optimiser step, in an order that
depends on seed, epoch and world_size * accumulation_steps alone (of a stream, on its workers too). A run that resumes
in the middle of an epoch begins it at the batch before which it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset

from ...modeling.loss import IGNORED
from ..settings.arguments import Settings
from .batching import Batching, MicroBatch, Seq2SeqCollator, TokenBudgetBatchSampler
from .bpe_dropout import BpeDropoutPairs
from .cleaning import CleaningReport
from .encoding import EncodedPairs
from .loading import Data, DataError
from .streaming import LanesOfProcess, StreamError, TextStream, begin_worker
from .tokenizer import Tokenizers


class Batches(Protocol):
    """The batches of one process.

    Attributes:
        collator: pads the pairs of a batch.
        accumulation_steps: micro-batches of this process in an optimiser step.
        group: micro-batches of all processes in an optimiser step.
    """

    collator: Seq2SeqCollator
    accumulation_steps: int
    group: int

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Begin an epoch at this process's batch `start_batch`."""

    def __iter__(self) -> Iterator[MicroBatch]:
        """Yield the batches of the epoch from `start_batch` on; every process gets as many."""

    def ends(self, steps: int, target_tokens: int) -> bool:
        """Return whether the epoch ends after this many optimiser steps, given the target tokens that the next batches
        of all processes have; every process has to call it."""

    def is_over(self, steps: int) -> bool:
        """Return whether the epoch is known to end after this many optimiser steps."""

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimiser steps of the complete epoch; None where they are unknown."""

    def share_of_epoch(self, steps: int) -> float:
        """Return which fraction of the epoch this many optimiser steps are."""

    def describe(self) -> str:
        """Return what there is to learn from, in words."""


def build_collator(settings: Settings, tokenizers: Tokenizers, accelerator: Accelerator) -> Seq2SeqCollator:
    """Return what pads batches for the device of a run: tensor cores work on multiples of 8."""
    uses_tensor_cores = accelerator.device.type == "cuda" and settings.optimisation.mixed_precision != "no"
    return Seq2SeqCollator(tokenizers.source.pad_token_id, 8 if uses_tensor_cores else 1)


def open_batches(settings: Settings, data: Data, collator: Seq2SeqCollator, accelerator: Accelerator) -> Batches:
    """Return the batches of the training data that this process learns from.

    Raises:
        DataError: a pair does not fit into a batch, there are too few pairs for the processes, or BPE-dropout is not
            possible with the tokenizers.
    """
    train, how = data.train, settings.optimisation
    batching = Batching(data.tokenizers, collator, how.max_tokens, settings.run.seed)
    if isinstance(train, TextStream):
        return StreamedBatches(train, batching, accelerator, how.gradient_accumulation_steps)
    try:
        pairs = _with_dropout(train.pairs, settings, batching) if settings.tokenizer.bpe_dropout else train.pairs
        return MappedBatches(pairs, batching, accelerator, how.gradient_accumulation_steps)
    except ValueError as error:
        raise DataError(f"training data: {error}") from error


def _with_dropout(pairs: EncodedPairs, settings: Settings, batching: Batching) -> BpeDropoutPairs:
    """Return the pairs with other subwords in each epoch, none of which is too long for a batch, padding included."""
    dropout, multiple = settings.tokenizer.bpe_dropout, batching.collator.pad_to_multiple_of
    longest = min(settings.data.max_length, batching.max_tokens // multiple * multiple)
    return BpeDropoutPairs(pairs, batching.tokenizers, dropout, batching.seed, longest)


@dataclass(frozen=True)
class _MicroBatches(Dataset[MicroBatch]):
    """Micro-batches, each found by the indices of its pairs: what the loader reads."""

    pairs: EncodedPairs
    collator: Seq2SeqCollator

    def __getitem__(self, indices: list[int]) -> MicroBatch:
        return MicroBatch(indices, self.collator([self.pairs[index] for index in indices]))


class MappedBatches:
    """`Batches` of pairs that can be read in any order, in memory or in mapped files.

    Args:
        source: gives the pairs of each epoch, the same ones, perhaps in other subwords.
        batching: what makes batches of them.
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
        self.epoch, self.pairs = 0, source.of_epoch(0)
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
        """Begin an epoch at this process's batch `start_batch`."""
        if epoch != self.epoch:
            self.epoch, self.pairs = epoch, self.source.of_epoch(epoch)
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
                generator=torch.Generator(),  # otherwise it draws from the one of dropout whenever it is opened
            )
        )

    def ends(self, steps: int, target_tokens: int) -> bool:
        """Return False: there is no batch after the last one."""
        return False

    def is_over(self, steps: int) -> bool:
        """Return whether the epoch ends after this many optimiser steps."""
        return self.sampler.is_over(steps)

    @property
    def steps_per_epoch(self) -> int:
        """As `TokenBudgetBatchSampler.steps_per_epoch`."""
        return self.sampler.steps_per_epoch

    def share_of_epoch(self, steps: int) -> float:
        """Return which fraction of the epoch this many optimiser steps are."""
        return self.sampler.share_of_epoch(steps)

    def describe(self) -> str:
        """Return how many pairs and steps there are and how much padding, in words."""
        padding = self.sampler.padding()
        return (
            f"{len(self.pairs):,} pairs; about {self.steps_per_epoch:,} steps per epoch; padding "
            f"{padding.source:.1%} of source and {padding.target:.1%} of target positions"
        )


class StreamedBatches:
    """`Batches` of a stream. An epoch is without end: see `ends`.

    Args:
        stream: the training text.
        batching: what makes batches of it.
        accelerator: of the run, prepared for its processes.
        accumulation_steps: micro-batches per process and optimiser step.
    """

    def __init__(
        self, stream: TextStream, batching: Batching, accelerator: Accelerator, accumulation_steps: int
    ) -> None:
        self.stream, self.batching, self.accelerator = stream, batching, accelerator
        self.collator = batching.collator
        self.accumulation_steps, self.group = accumulation_steps, accelerator.num_processes * accumulation_steps
        self.lanes = self.group * max(1, stream.workers)
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Begin an epoch, at this process's batch `start_batch`."""
        self.epoch, self.start_batch = epoch, start_batch
        self.steps: int | None = None
        self.reports: dict[int, CleaningReport] = {}

    def ends(self, steps: int, target_tokens: int) -> bool:
        """Return whether all lanes have ended, in all processes: the next batches have no target token then.

        Raises:
            StreamError: they had no pair at all, or too large a share of the rows is unusable.
        """
        if not target_tokens:
            self.end_epoch(steps)
        return not target_tokens

    def is_over(self, steps: int) -> bool:
        """Whether the current epoch is known to end after so many optimiser steps."""
        return steps == self.steps

    @property
    def steps_per_epoch(self) -> None:
        """Unknown."""
        return None

    def share_of_epoch(self, steps: int) -> float:
        """Unknown before its end, so none of it."""
        return float(self.is_over(steps))

    def end_epoch(self, steps: int) -> None:
        """Take note that no process has a batch after so many steps; every process has to call it.

        Raises:
            StreamError: there was none before either, or too large a share of the rows is unusable.
        """
        self.steps = steps
        total = self.stream.new_report()
        for report in gather_object(list(self.reports.values())):
            total.add_all(report)
        if self.epoch == 0 or not steps:
            self.accelerator.print(f"train: {total}")
        if not steps:
            raise StreamError("train data: no usable sentence pair; check the files, the columns and the limits")
        try:
            total.check_share()
        except ValueError as error:
            raise StreamError(f"train data: {error}") from error

    def __iter__(self) -> Iterator[MicroBatch]:
        lanes = range(self.accelerator.process_index, self.lanes, self.accelerator.num_processes)
        dataset = LanesOfProcess(self.stream, self.batching, lanes, self.lanes, self.epoch, self.start_batch)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.stream.workers,
            worker_init_fn=begin_worker,
            generator=torch.Generator(),  # otherwise it draws from the one of dropout whenever it is opened
        )
        for number, item in enumerate(loader, self.start_batch):
            if isinstance(item, MicroBatch):
                yield item
            elif item.failure is not None:
                raise StreamError(f"train data: {item.failure}")
            else:
                self.reports[number % len(lanes)] = item.report
                yield self._empty()

    def describe(self) -> str:
        """Return what is known of the stream, in words."""
        return f"a stream of pairs, {self.stream.buffer:,} at a time"

    def _empty(self) -> MicroBatch:
        """A batch that teaches nothing."""
        end = torch.tensor([[self.batching.tokenizers.source.eos_token_id]])
        labels = torch.full_like(end, IGNORED)
        return MicroBatch([], {"input_ids": end, "attention_mask": torch.ones_like(end), "labels": labels})


def _as_it_is(item: Any) -> Any:
    return item
