"""Training pairs that are read as they are needed and never all at once: an epoch is one pass over the data.

    rows --dealt out--> lanes --cleaned, tokenised, planned buffer by buffer--> batches, one lane after another

A *lane* is a part of the data that makes batches on its own. There are as many as an optimiser step has batches, in
whatever processes they are, times the workers of a process; batch n of the epoch comes from lane n modulo their number.
So the order of training depends on seed, epoch and world_size * accumulation_steps (and the workers) alone, as it does
for a `TokenBudgetBatchSampler`, and a process reads nothing but what its own lanes need.

Lanes come to their ends at different times. One that has ended gives batches without a target token, which teach
nothing, so that all processes go on together; the epoch is over when a step would have no target token at all.

A run that goes on in the middle of an epoch reads it from its beginning and leaves out the batches it has had.
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
from .cleaning import CleaningReport, Limits, usable_rows_of_stream
from .encoding import encode_usable
from .epoch_plan import check_budget, plan_batches, round_up
from .parallel_text import ParallelText
from .readers.rows import Row


class StreamError(ValueError):
    """The training data cannot be used, which came out while it was read."""


@dataclass(frozen=True)
class TextStream:
    """Training text that is read from its beginning in every epoch.

    Attributes:
        open_lanes: the rows of each of these lanes, out of so many.
        limits: of usable pairs.
        max_length: tokens of the longest usable sentence.
        buffer: pairs in memory in all processes together, of which batches are made.
        workers: of each process, which read and tokenise while it trains; 0: it does so itself.
        digest: tells these data from others, as far as can be seen without reading them.
        max_unusable_share: of the rows; clearly more in a lane as it is read, or more in all of an epoch, end the run.
    """

    open_lanes: Callable[[list[int], int], list[Iterator[Row]]]
    limits: Limits
    max_length: int
    buffer: int
    workers: int
    digest: str
    max_unusable_share: float = 1.0

    @property
    def size(self) -> None:
        """Number of pairs: unknown."""
        return None

    def new_report(self) -> CleaningReport:
        """Return an empty account of bad rows."""
        return CleaningReport(max_unusable_share=self.max_unusable_share)

    def place(self, example: str) -> str:
        """What error messages call an example: examples of a stream are places."""
        return example


def deal(rows: Iterable[Row], lanes: list[int], count: int) -> list[Iterator[Row]]:
    """The rows of these lanes: of every `count` rows one goes to each lane, in an order drawn anew, or text in which
    every n-th line is long would make one lane slower than the others. Lanes have to be read in turn: rows that come
    before their turn wait in memory."""
    waiting: dict[int, deque[Row]] = {lane: deque() for lane in lanes}
    undealt, dice = iter(rows), random.Random(0)
    takers: list[int] = []

    def rows_of(lane: int) -> Iterator[Row]:
        while True:
            while not waiting[lane]:
                try:
                    row = next(undealt)
                except StopIteration:
                    return
                if not takers:
                    takers.extend(dice.sample(range(count), count))
                taker = takers.pop()
                if taker in waiting:
                    waiting[taker].append(row)
            yield waiting[lane].popleft()

    return [rows_of(lane) for lane in lanes]


@dataclass(frozen=True)
class Ended:
    """What a lane gives after its last batch; `failure` says why it could not go on."""

    report: CleaningReport
    failure: str | None = None


@dataclass
class _Lane:
    """One lane of an epoch: iteration gives its batches.

    Attributes:
        report: of what was read so far.
    """

    stream: TextStream
    batching: Batching
    rows: Iterator[Row]
    number: int
    count: int
    epoch: int
    report: CleaningReport

    def batches(self) -> Iterator[MicroBatch]:
        """All batches of the lane."""
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
        pairs = encode_usable(text, batching.tokenizers, self.stream.max_length, self.report)
        self.report.kept += len(pairs)
        check_budget(pairs.lengths, batching.max_tokens, collator.pad_to_multiple_of)
        lengths = round_up(pairs.lengths, collator.pad_to_multiple_of)
        for batch in plan_batches(lengths, batching.max_tokens, (batching.seed, self.epoch, self.number, buffer)):
            examples = [text.place(int(pairs.rows[pair])) for pair in batch]
            yield MicroBatch(examples, collator([pairs[int(pair)] for pair in batch]))


class LanesOfProcess(IterableDataset[Any]):
    """The batches of one process from number `start` on, without end: where a lane has none, `Ended`.

    Its lanes are every `world_size`-th. Of w workers each takes every w-th batch, as the loader asks them in turn, and
    with it every w-th lane.
    """

    def __init__(
        self, stream: TextStream, batching: Batching, lanes: range, count: int, epoch: int, start: int
    ) -> None:
        self.stream, self.batching, self.lanes, self.count = stream, batching, lanes, count
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[MicroBatch | Ended]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        mine = [self.lanes[batch % len(self.lanes)] for batch in self._batches(number, workers, len(self.lanes))]
        try:
            lanes = {
                lane: _Lane(self.stream, self.batching, rows, lane, self.count, self.epoch, self.stream.new_report())
                for lane, rows in zip(mine, self.stream.open_lanes(mine, self.count), strict=True)
            }
            batches = {lane: lanes[lane].batches() for lane in mine}
            # In turn, as in training: a lane that ran ahead would have the rows of the others wait in memory.
            for batch in range(self.start):
                if worker is not None and not _has_parent():
                    return
                if self.lanes[batch % len(self.lanes)] in batches:
                    next(batches[self.lanes[batch % len(self.lanes)]], None)
            for lane in itertools.cycle(mine):
                yield next(batches[lane], None) or Ended(lanes[lane].report)
        except ValueError as error:
            yield Ended(CleaningReport(), str(error))

    def _batches(self, worker: int, workers: int, stop: int) -> range:
        """The first batches of a worker, one of each of its lanes."""
        return range(self.start + worker, self.start + stop, workers)


def _has_parent() -> bool:
    """Whether the process that trains is still there. The loader looks for itself, but only between batches."""
    parent = multiprocessing.parent_process()
    return parent is not None and parent.is_alive()


def begin_worker(number: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive the fork
    # They reach all processes of a group. The one that trains has to end its step first, and it ends this one.
    for request in SIGNALS:
        signal.signal(request, signal.SIG_IGN)
