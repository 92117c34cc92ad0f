"""Stream training pairs: an epoch is one pass over the data, which is never in memory completely.

    rows --distributed--> shards --cleaned, tokenised, planned buffer by buffer--> batches, from the shards in turn

Each *shard* of the stream makes its own batches. The number of shards is that of batches in an optimiser step, over all
processes, times the workers of a process; batch n of the epoch is from shard n modulo this number. So the order depends
only on seed, epoch and world_size * accumulation_steps (and the workers), as with `TokenBudgetBatchSampler`.

Shards end at different times. A shard that has ended yields batches without target tokens, which have no gradient, so
that all processes stay in step; the epoch ends when a step would have no target token in any process.

A run that resumes within an epoch reads it from the beginning and skips the batches that it has trained on.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from ..system.signals import SIGNALS
from .batching import Batching, MicroBatch
from .both_directions import examples_of
from .cleaning import CleaningReport, Limits, usable_rows_of_stream
from .encoding import encode_usable
from .epoch_plan import check_budget, plan_batches, round_up
from .parallel_text import ParallelText
from .readers.rows import Row


class StreamError(ValueError):
    """The training data cannot be used, which was found during training."""


@dataclass(frozen=True)
class TextStream:
    """Training text that is read from the beginning in every epoch.

    Attributes:
        open_shards: returns the rows of each of the given shards; the second argument is the number of all shards.
        limits: of usable pairs.
        max_length: tokens of the longest usable sentence.
        buffer: pairs in memory over all processes, from which batches are made.
        workers: processes that read and tokenise during training, for each training process; 0 for none.
        digest: identity of the data, computed without reading them.
        max_unusable_share: of the rows; the run ends if clearly more of a shard, or more of an epoch, are unusable.
    """

    open_shards: Callable[[list[int], int], list[Iterator[Row]]]
    limits: Limits
    max_length: int
    buffer: int
    workers: int
    digest: str
    max_unusable_share: float = 1.0

    @property
    def size(self) -> None:
        """Return None: the number of pairs is unknown."""
        return None

    def new_report(self) -> CleaningReport:
        """Return an empty report."""
        return CleaningReport(max_unusable_share=self.max_unusable_share)

    def location(self, example: str) -> str:
        """Return the name of an example in messages: examples of a stream are locations."""
        return example


def distribute(rows: Iterable[Row], shards: list[int], count: int) -> list[Iterator[Row]]:
    """Distribute rows over `count` shards and return the iterators of the given ones.

    Of every `count` rows each shard gets one, in random order: in a fixed order, text in which every n-th line is long
    would make one shard slower. Read the shards in turn, because rows of the other given shards wait in memory.
    """
    waiting: dict[int, deque[Row]] = {shard: deque() for shard in shards}
    remaining, rng = iter(rows), random.Random(0)
    order: list[int] = []

    def rows_of(shard: int) -> Iterator[Row]:
        while True:
            while not waiting[shard]:
                try:
                    row = next(remaining)
                except StopIteration:
                    return
                if not order:
                    order.extend(rng.sample(range(count), count))
                receiver = order.pop()
                if receiver in waiting:
                    waiting[receiver].append(row)
            yield waiting[shard].popleft()

    return [rows_of(shard) for shard in shards]


@dataclass(frozen=True)
class Ended:
    """Item that a shard yields after its last batch; `failure` is the error that ended it, if any."""

    report: CleaningReport
    failure: str | None = None


@dataclass
class _Shard:
    """One shard of the stream in an epoch.

    Attributes:
        report: of the rows read so far.
    """

    stream: TextStream
    batching: Batching
    rows: Iterator[Row]
    number: int
    count: int
    epoch: int
    report: CleaningReport

    def batches(self) -> Iterator[MicroBatch]:
        """Yield all batches of the shard."""
        usable = usable_rows_of_stream(self.rows, self.stream.limits, self.report)
        size = max(1, self.stream.buffer // self.count)
        for buffer in itertools.count():
            text = ParallelText()
            for row in itertools.islice(usable, size):
                text.append(row)
            if not len(text):
                return
            yield from self._batches_of(text, buffer)

    def _batches_of(self, text: ParallelText, buffer: int) -> Iterator[MicroBatch]:
        batching, collator = self.batching, self.batching.collator
        usable = encode_usable(text, batching.tokenizers, self.stream.max_length, self.report)
        self.report.kept += len(usable)
        pairs = examples_of(usable, batching.reverse_tag)
        rows, lengths = pairs.rows, pairs.lengths
        check_budget(lengths, batching.max_tokens, collator.pad_to_multiple_of)
        lengths = round_up(lengths, collator.pad_to_multiple_of)
        for batch in plan_batches(lengths, batching.max_tokens, (batching.seed, self.epoch, self.number, buffer)):
            examples = [text.location(int(rows[pair])) for pair in batch]
            yield MicroBatch(examples, collator([pairs[int(pair)] for pair in batch]))


class ShardsOfProcess(IterableDataset[Any]):
    """Batches of one process from number `start`, endlessly: a shard without further batches yields `Ended`.

    The process has every `world_size`-th shard. The loader asks its w workers in turn, so each worker has every w-th
    batch and every w-th shard of the process.
    """

    def __init__(
        self, stream: TextStream, batching: Batching, shards: range, count: int, epoch: int, start: int
    ) -> None:
        self.stream, self.batching, self.shards, self.count = stream, batching, shards, count
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[MicroBatch | Ended]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        mine = [self.shards[batch % len(self.shards)] for batch in self._batches(number, workers, len(self.shards))]
        try:
            shards = {
                shard: _Shard(self.stream, self.batching, rows, shard, self.count, self.epoch, self.stream.new_report())
                for shard, rows in zip(mine, self.stream.open_shards(mine, self.count), strict=True)
            }
            batches = {shard: shards[shard].batches() for shard in mine}
            # In turn, as in training: if a shard were read ahead, the rows of the others would wait in memory.
            for batch in range(self.start):
                if worker is not None and not _has_parent():
                    return
                if self.shards[batch % len(self.shards)] in batches:
                    next(batches[self.shards[batch % len(self.shards)]], None)
            for shard in itertools.cycle(mine):
                yield next(batches[shard], None) or Ended(shards[shard].report)
        except ValueError as error:
            yield Ended(CleaningReport(), str(error))

    def _batches(self, worker: int, workers: int, stop: int) -> range:
        """Return the first batches of a worker, one for each of its shards."""
        return range(self.start + worker, self.start + stop, workers)


def _has_parent() -> bool:
    """Return whether the training process is still alive. The loader checks this too, but only between batches."""
    parent = multiprocessing.parent_process()
    return parent is not None and parent.is_alive()


def begin_worker(number: int) -> None:
    """Set up a worker process of the loader."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive the fork
    # Signals reach all processes of a group. The training process finishes its step first, then ends this worker.
    for request in SIGNALS:
        signal.signal(request, signal.SIG_IGN)
