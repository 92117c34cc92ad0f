"""`max_train_samples`: the first usable pairs, read in memory, into the cache, beside held-out pairs and streamed."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from accelerate import Accelerator
from pyarrow import parquet

from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.loading import Data, _open_shards, load_data
from sineformer.training.data.streaming import TextStream
from sineformer.training.preflight import read_settings
from sineformer.training.settings.data_arguments import DataArguments
from sineformer.training.settings.recipe import RecipeError

PAIRS = load_split("train", 60, seed=5)
BAD_AT = (2, 5)  # lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return training data of which two of the first lines have no target, and validation data."""
    rows = [source if line in BAD_AT else f"{source}\t{target}" for line, (source, target) in enumerate(PAIRS, 1)]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    rows = [f"{source}\t{target}" for source, target in load_split("validation", 9, seed=5)]
    (tmp_path / "validation.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def load(folder: Path, *flags: str, samples: int = 10) -> Data:
    settings = ["--data_dir", str(folder), "--output_dir", str(folder / "run"), "--train_files", "train.tsv"]
    settings += ["--vocab_size", "300", "--max_steps", "1", "--max_unusable_share", "0.5"]
    settings += ["--source_language", "en", "--target_language", "de", "--max_train_samples", str(samples)]
    return load_data(read_settings([*settings, *flags]), Accelerator(cpu=True))


VALIDATION = ("--validation_files", "validation.tsv")


def test_memory_and_cache_have_the_first_usable_pairs(folder: Path) -> None:
    plain: Any = load(folder, *VALIDATION).train
    assert (plain.size, plain.report.read, plain.report.bad) == (10, 12, 2)
    assert [plain.location(pair) for pair in (0, 1, 9)] == [f"{folder}/train.tsv:{line}" for line in (1, 3, 12)]
    for samples in (10, 20):  # the cache of one is not taken for the other
        cached: Any = load(folder, *VALIDATION, "--cache_dir", str(folder / "cache"), samples=samples).train
        assert cached.size == samples
        assert (cached.digest == plain.digest) is (samples == 10)


def test_more_than_there_are_is_all(folder: Path) -> None:
    assert load(folder, *VALIDATION, samples=1_000).train.size == 58


def test_held_out_pairs_are_of_all_pairs_and_the_first_of_the_others_are_trained_on(folder: Path) -> None:
    data = load(folder, "--validation_size", "20")
    train: Any = data.train
    held_out = data.held_out["validation"].text
    assert (train.size, len(held_out)) == (10, 20)
    lines = [int(train.location(pair).rpartition(":")[2]) for pair in range(train.size)]
    assert lines == [line for line in range(1, 61) if line not in BAD_AT and line not in held_out.lines][:10]


@pytest.mark.parametrize("count", [1, 3])
def test_the_shards_of_a_stream_share_the_first_pairs(folder: Path, count: int) -> None:
    stream = load(folder, *VALIDATION, "--streaming", "true", "--tokenizer_sample", "50").train
    assert isinstance(stream, TextStream)
    rows = chain.from_iterable(stream.open_shards([shard], count)[0] for shard in range(count))
    assert sorted(row.line for row in rows) == list(range(1, 13))


def test_the_files_of_a_streamed_dataset_share_the_first_pairs(tmp_path: Path) -> None:
    for shard in range(2):
        values = [f"{shard}-{row}" for row in range(5)]
        parquet.write_table(pyarrow.table({"en": values, "de": values}), tmp_path / f"train-{shard}.parquet")
    data = DataArguments(str(tmp_path), source_language="en", target_language="de", max_train_samples=7)
    shards = [[row.source for row in _open_shards(data, [shard], 2)[0]] for shard in range(2)]
    assert sorted(chain.from_iterable(shards)) == ["0-0", "0-1", "0-2", "0-3", "0-4", "1-0", "1-1"]


def test_none_at_all_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="max_train_samples: must be at least 1"):
        load(folder, *VALIDATION, samples=0)
