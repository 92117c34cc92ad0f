"""Streamed training data: each pair once, in an order independent of processes, resumable at any batch."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest
import torch

from sineformer.training.data import streaming
from sineformer.training.data.batches import StreamedBatches
from sineformer.training.data.batching import Batching, MicroBatch, Seq2SeqCollator
from sineformer.training.data.cleaning import Limits
from sineformer.training.data.loading import _open_shards
from sineformer.training.data.readers.arrow_tables import rows_of_stream
from sineformer.training.data.readers.rows import ColumnNames, Row
from sineformer.training.data.streaming import StreamError, TextStream, distribute
from sineformer.training.data.tokenizer import save_tokenizers
from sineformer.training.preflight import read_settings
from sineformer.training.settings.data_arguments import DataArguments
from sineformer.training.settings.recipe import RecipeError

ROWS = 157


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a simulated process gather only from itself."""
    monkeypatch.setattr("sineformer.training.data.batches.gather_object", lambda values: values)


@pytest.fixture
def rows(small_text: Any) -> list[Row]:
    """Return rows of which numbers 9 and 19 are bad."""
    numbers = [number % len(small_text) for number in range(ROWS)]
    made = [Row(small_text.sources[n], small_text.targets[n], "pairs.txt", row) for row, n in enumerate(numbers, 1)]
    for row in (9, 19):
        made[row - 1] = Row("", "leer", "pairs.txt", row)
    return made


Open = Callable[..., StreamedBatches]


@pytest.fixture
def open_stream(rows: list[Row], small_tokenizers: Any) -> Open:
    """Return a function that makes the batches of one of several processes."""

    def make(rank: int = 0, world: int = 1, accumulation: int = 1, workers: int = 0, seed: int = 1) -> StreamedBatches:
        stream = TextStream(lambda shards, count: distribute(rows, shards, count), Limits(), 200, 60, workers, "digest")
        batching = Batching(small_tokenizers, Seq2SeqCollator(0), 200, seed)
        accelerator: Any = SimpleNamespace(process_index=rank, num_processes=world, print=print)
        return StreamedBatches(stream, batching, accelerator, accumulation)

    return make


def _line(location: Any) -> int:
    return int(location.removeprefix("pairs.txt:"))


def epoch_of(batches: StreamedBatches, epoch: int = 0, start: int = 0, group: int = 4) -> list[list[int]]:
    """Return the lines of the examples of all batches of an epoch, to the last that has any."""
    batches.set_epoch(epoch, start)
    taken: list[list[int]] = []
    iterator = iter(batches)
    while any(step := [[_line(location) for location in batch.examples] for batch in islice(iterator, group)]):
        taken += step
    while taken and not taken[-1]:
        taken.pop()
    return taken


SHARES = [(1, 1, 0), (1, 4, 0), (2, 2, 0), (4, 1, 0), (1, 2, 2), (2, 1, 1), (3, 2, 0)]


@pytest.mark.parametrize(("world", "accumulation", "workers"), SHARES)
def test_every_usable_row_comes_once_over_ranks_and_workers(
    open_stream: Open, world: int, accumulation: int, workers: int
) -> None:
    ranks = [epoch_of(open_stream(rank, world, accumulation, workers), group=12) for rank in range(world)]
    seen = sorted(chain.from_iterable(chain.from_iterable(ranks)))
    assert seen == [number for number in range(1, ROWS + 1) if number not in (9, 19)]


def test_processes_share_the_steps_of_one(open_stream: Open) -> None:
    alone = epoch_of(open_stream(accumulation=4))
    two = [epoch_of(open_stream(rank, 2, 2)) for rank in range(2)]
    four = [epoch_of(open_stream(rank, 4, 1)) for rank in range(4)]
    for ranks in (two, four):
        length = max(map(len, ranks))
        together = zip(*([*batches, *[[]] * (length - len(batches))] for batches in ranks), strict=True)
        examples = list(chain.from_iterable(together))
        assert examples[: len(alone)] == alone
        assert not any(examples[len(alone) :])


def test_the_order_is_that_of_seed_and_epoch(open_stream: Open) -> None:
    assert epoch_of(open_stream()) == epoch_of(open_stream())
    assert epoch_of(open_stream()) != epoch_of(open_stream(seed=2))
    assert epoch_of(open_stream(), 1) != epoch_of(open_stream(), 0)


def test_pairs_are_shuffled_within_the_buffer(open_stream: Open) -> None:
    order = list(chain.from_iterable(epoch_of(open_stream())))
    assert order[:60] != sorted(order[:60])
    assert sorted(order[:60]) == sorted(order)[:60]


def test_each_shard_and_each_buffer_has_an_order_of_its_own(open_stream: Open, rows: list[Row]) -> None:
    rows[:] = [rows[0]._replace(line=line) for line in range(1, 121)]  # of one length: the order is only random
    alone = list(chain.from_iterable(epoch_of(open_stream())))
    assert sorted(alone[:60]) == list(range(1, 61))
    assert alone[:60] != [line - 60 for line in alone[60:]]
    both = epoch_of(open_stream(accumulation=2))
    first, second = (list(chain.from_iterable(both[shard::2]))[:30] for shard in (0, 1))
    assert [sorted(first).index(line) for line in first] != [sorted(second).index(line) for line in second]


def test_shards_share_the_buffer(open_stream: Open, rows: list[Row]) -> None:
    both = epoch_of(open_stream(accumulation=2))
    shard = list(chain.from_iterable(both[0::2]))
    assert sorted(shard[:30]) == sorted(shard)[:30]  # half of the 60


def test_reading_a_stream_draws_nothing_from_the_generator_of_dropout(open_stream: Open) -> None:
    before = torch.random.get_rng_state()
    next(iter(open_stream()))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("accumulation", "workers"), [(1, 0), (3, 0), (2, 1), (2, 2)])
def test_a_stream_resumes_at_any_step(open_stream: Open, accumulation: int, workers: int) -> None:
    full = epoch_of(open_stream(accumulation=accumulation, workers=workers), 2, group=accumulation * 2)
    for steps in (1, 2, 5):
        start = steps * accumulation
        stream = open_stream(accumulation=accumulation, workers=workers)
        assert epoch_of(stream, 2, start, group=accumulation * 2) == full[start:]


def test_resuming_reads_shards_in_turn_and_keeps_few_rows_in_memory(
    open_stream: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 0

    class Watched(deque):  # type: ignore[type-arg]
        def append(self, row: Any) -> None:
            nonlocal longest
            super().append(row)
            longest = max(longest, len(self))

    monkeypatch.setattr(streaming, "deque", Watched)
    epoch_of(open_stream(accumulation=2), group=2)
    undisturbed, longest = longest, 0
    epoch_of(open_stream(accumulation=2), 0, 16, group=2)
    assert 0 < longest <= undisturbed


def test_text_in_which_every_other_line_is_long_fills_all_shards_alike(rows: list[Row]) -> None:
    """A shard of only long lines would be read more slowly, and rows of the others would wait in memory."""
    longs = [sum(row.line % 2 for row in islice(shard, 50)) for shard in distribute(rows, [0, 1], 2)]
    assert all(15 <= odd <= 35 for odd in longs)
    assert sorted(row.line for shard in distribute(rows, [0, 1], 2) for row in shard) == list(range(1, ROWS + 1))


def test_a_process_with_one_shard_gets_the_same_rows_as_one_with_all_shards(rows: list[Row]) -> None:
    together = [list(shard) for shard in distribute(rows, [0, 1, 2], 3)]
    assert together == [list(distribute(rows, [shard], 3)[0]) for shard in range(3)]


ORPHAN = """
import sys, time
from types import SimpleNamespace
from sineformer.training.data import streaming
from sineformer.training.data.batches import StreamedBatches
from sineformer.training.data.batching import Batching, Seq2SeqCollator
from sineformer.training.data.cleaning import Limits
from sineformer.training.data.readers.rows import Row
from sineformer.training.data.tokenizer import load_tokenizers

def slow():
    for line in range(1, 10**6):
        time.sleep(0.01)
        if line == 20:
            print("reading", flush=True)
        yield Row("ein", "one", "pairs.txt", line)

open_shards = lambda shards, count: streaming.distribute(slow(), shards, count)
stream = streaming.TextStream(open_shards, Limits(), 200, 4, 1, "digest")
batching = Batching(load_tokenizers(sys.argv[1]), Seq2SeqCollator(0), 200, 1)
batches = StreamedBatches(stream, batching, SimpleNamespace(process_index=0, num_processes=1), 1)
batches.set_epoch(0, 10**6)
next(iter(batches))
"""


@pytest.mark.slow
def test_a_reader_ends_with_the_process_it_reads_for(small_tokenizers: Any, tmp_path: Path) -> None:
    save_tokenizers(small_tokenizers, tmp_path)
    program = [sys.executable, "-c", ORPHAN, str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
        process.communicate(timeout=60)  # returns when nobody has the output open any more


def test_a_stream_that_breaks_off_says_how_to_resume() -> None:
    def broken() -> Iterator[Any]:
        yield pyarrow.RecordBatch.from_pydict({"en": ["one"], "de": ["eins"]})
        raise ConnectionError("reset by peer")

    table: Any = SimpleNamespace(with_format=lambda name: SimpleNamespace(iter=lambda size: broken()))
    rows = rows_of_stream(table, ColumnNames("en", "de"), "some/data (train)")
    assert next(rows).source == "one"
    with pytest.raises(ValueError, match=r"some/data \(train\) cannot be read further: reset by peer; .*--resume"):
        next(rows)


def test_shards_that_have_ended_give_batches_without_target_tokens(
    open_stream: Open, small_model: Any, small_tokenizers: Any
) -> None:
    batches = open_stream(accumulation=4)
    first_empty = next(batch for batch in batches if not batch.examples)
    assert (first_empty.inputs["labels"] == -100).all()
    full: MicroBatch = next(iter(open_stream()))
    small_model.train()
    gradients = []
    for parts in ([full], [full, first_empty]):
        small_model.zero_grad()
        for part in parts:
            small_model(**part.inputs, num_items_in_batch=50, label_smoothing=0.1).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in small_model.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def test_the_end_of_an_epoch_prints_the_report_of_all_shards(
    open_stream: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = open_stream(accumulation=3)
    steps = len(epoch_of(batches, group=3)) // 3
    assert not batches.is_over(steps)
    batches.end_epoch(steps)
    assert batches.is_over(steps)
    assert not batches.is_over(steps - 1)
    assert "train: 157 sentence pairs read, 155 usable, 2 bad" in capsys.readouterr().err


def test_a_stream_without_a_usable_pair_is_an_error(open_stream: Open, rows: list[Row]) -> None:
    rows[:] = rows[8:9]
    batches = open_stream()
    assert epoch_of(batches) == []
    with pytest.raises(StreamError, match="no usable sentence pair"):
        batches.end_epoch(0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_a_file_is_the_same_error_as_without_a_stream(
    small_tokenizers: Any, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "a.en").write_text("A dog.\nA cat.\n")
    (tmp_path / "a.de").write_text("Ein Hund.\n")
    data = DataArguments(dataset="files", data_dir=str(tmp_path), train_files=["a.en", "a.de"])
    stream = TextStream(lambda shards, count: _open_shards(data, shards, count), Limits(), 200, 60, workers, "digest")
    accelerator: Any = SimpleNamespace(process_index=0, num_processes=1, print=print)
    batches = StreamedBatches(stream, Batching(small_tokenizers, Seq2SeqCollator(0), 200, 1), accelerator, 1)
    with pytest.raises(StreamError, match=r"train data: .*a\.en has 2 lines and .*a\.de has 1"):
        epoch_of(batches)


def test_shards_have_the_rows_of_several_pairs_of_files(tmp_path: Path) -> None:
    for name in ("a.en", "a.de", "b.en", "b.de"):
        (tmp_path / name).write_text("".join(f"{name} {line}\n" for line in range(5)))
    names = ["a.en", "a.de", "b.en", "b.de", "b.en", "b.de"]
    data = DataArguments(dataset="files", data_dir=str(tmp_path), train_files=names)
    rows = [row.source for shard in (0, 1) for row in _open_shards(data, [shard], 2)[0]]
    assert sorted(map(str, rows)) == sorted(f"{name} {line}" for name in ("a.en", "b.en", "b.en") for line in range(5))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_dataset_is_split_by_its_files_where_they_divide(tmp_path: Path, count: int) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for shard in range(4):
        values = [f"{shard}-{row}" for row in range(5 + shard)]
        parquet.write_table(pyarrow.table({"en": values, "de": values}), tmp_path / f"train-{shard}.parquet")
    data = DataArguments(dataset=str(tmp_path), source_language="en", target_language="de", streaming=True)
    shards = [[row.source for row in _open_shards(data, [shard], count)[0]] for shard in range(count)]
    assert sorted(chain.from_iterable(shards)) == sorted(f"{s}-{row}" for s in range(4) for row in range(5 + s))
    files = [{str(value).partition("-")[0] for value in shard} for shard in shards]
    shared = set.intersection(*files) if count > 1 else set()
    assert bool(shared) is (count == 3), "where files divide, no file is read twice"


BASE = ["--output_dir", "run", "--max_steps", "5", "--streaming", "true", "--dataset", "embedded"]
SAMPLE = ["--tokenizer_sample", "100"]
HUB = ["--dataset", "some/data", "--source_language", "en", "--target_language", "de"]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ([*BASE, *SAMPLE, "--cache_dir", "cache"], "streaming, cache_dir: a stream is not cached"),
        (
            [*BASE, *SAMPLE, "--on_bad_rows", "refuse"],
            "streaming, on_bad_rows: bad rows of a stream are found only while",
        ),
        (BASE, "tokenizer_sample: set the number of pairs of the stream to train"),
        ([*BASE[:2], "--num_epochs", "2", *BASE[4:], *SAMPLE, "--lr_scheduler_type", "linear"], "max_steps: set it"),
        ([*BASE[:4], *BASE[6:], "--stream_workers", "1"], "stream_workers: only for streaming"),
        *(
            (
                [*BASE[:6], *SAMPLE, *HUB, "--train_split", split],
                "train_split: a stream takes no slices",
            )
            for split in ("train[:90%]", "train[10:20]", "train+validation")
        ),
        ([*BASE, *SAMPLE, "--shuffle_buffer", "0"], "shuffle_buffer: must be at least 1"),
    ],
)
def test_what_a_stream_cannot_do_is_refused_before_it_starts(flags: list[str], problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        read_settings(flags)
    read_settings([*BASE, *SAMPLE])
