"""Training does not start on mostly unusable data; the error has counts, reasons and first locations."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import Accelerator

from sineformer.training.data import batches as batches_module
from sineformer.training.data import loading as data_module
from sineformer.training.data.batches import StreamedBatches
from sineformer.training.data.batching import Batching, Seq2SeqCollator
from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.loading import DataError, load_data
from sineformer.training.data.streaming import StreamError, TextStream
from sineformer.training.preflight import read_settings
from sineformer.training.system import processes
from sineformer.training.train import main

ROWS = [f"{source}\t{target}" for source, target in load_split("train", 100, seed=5)]
BAD_AT = (3, 20, 41, 42, 60, 61, 70, 71, 80, 81, 90)  # lines, eleven of a hundred
SMALL = [
    *("--source_language", "en", "--target_language", "de"),
    *("--train_files", "train.tsv", "--validation_files", "validation.tsv"),
    *("--test_files", "test.tsv", "--vocab_size", "400", "--max_steps", "1", "--use_cpu"),
]
STREAM = ["--streaming", "true", "--tokenizer_sample", "500"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return three splits of a hundred good rows."""
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.tsv").write_text("\n".join(ROWS) + "\n")
    return tmp_path


def spoil(folder: Path, split: str, lines: tuple[int, ...] = BAD_AT) -> None:
    """Write a split with rows that lack their target."""
    rows = [row.partition("\t")[0] if line in lines else row for line, row in enumerate(ROWS, 1)]
    (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")


def flags(folder: Path, *more: str) -> list[str]:
    return [*SMALL, "--data_dir", str(folder), "--output_dir", str(folder / "run"), *more]


WAYS = {"memory": [], "cache": ["--cache_dir", "CACHE"], "stream": STREAM}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_run_does_not_start_if_too_much_of_a_split_is_unusable(
    folder: Path, split: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(folder, split)
    assert main(flags(folder, *(str(folder / "cache") if word == "CACHE" else word for word in WAYS[way]))) == 1
    error = capsys.readouterr().err
    for part in (
        f"error: {split} data: 11 of 100 rows (11.0%) cannot be used, and max_unusable_share allows 10.0%; ",
        "100 sentence pairs read, 89 usable, 11 bad",
        f"wrong number of columns: 11 ({folder}/{split}.tsv:3, {folder}/{split}.tsv:20, {folder}/{split}.tsv:41, ...)",
    ):
        assert part in error
    assert not (folder / "run").exists()


@pytest.mark.parametrize("way", [[], STREAM])
def test_the_share_can_be_set(folder: Path, way: list[str]) -> None:
    spoil(folder, "train", BAD_AT[:6])
    load_data(read_settings(flags(folder, *way)), Accelerator(cpu=True))
    spoil(folder, "train")
    load_data(read_settings(flags(folder, *way, "--max_unusable_share", "0.11")), Accelerator(cpu=True))
    spoil(folder, "train", BAD_AT[:1])
    with pytest.raises(DataError, match="train data: 1 of 100 rows"):
        load_data(read_settings(flags(folder, *way, "--max_unusable_share", "0")), Accelerator(cpu=True))


def test_sentences_over_the_limit_of_tokens_count_too(folder: Path) -> None:
    with pytest.raises(DataError, match=r"train data: (.|\n)*longer than 8 tokens"):
        load_data(read_settings(flags(folder, "--max_length", "8")), Accelerator(cpu=True))


@pytest.mark.parametrize(("fault", "usable"), [("\t", 99), ('\t"', 99)])
def test_one_stray_character_in_the_first_row_affects_no_other(folder: Path, fault: str, usable: int) -> None:
    (folder / "train.tsv").write_text("\n".join([ROWS[0] + fault, *ROWS[1:]]) + "\n")
    data = load_data(read_settings(flags(folder)), Accelerator(cpu=True))
    assert len(data.train.pairs) == usable  # type: ignore[union-attr]


def test_a_stream_for_a_model_with_a_vocabulary_is_checked_before_training(folder: Path, small_tokenizers: Any) -> None:
    settings = read_settings(flags(folder, *STREAM))
    settings.tokenizer.tokenizer_sample = None
    data = load_data(settings, Accelerator(cpu=True), small_tokenizers)
    assert data.tokenizers is small_tokenizers
    spoil(folder, "train")
    with pytest.raises(DataError, match="train data: 11 of 100 rows"):
        load_data(settings, Accelerator(cpu=True), small_tokenizers)


def test_the_other_processes_get_the_error_of_the_main_one_without_a_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(processes, "broadcast_object_list", lambda made: sent.append(made))

    def fail() -> Any:
        raise ValueError("nearly all of it is unusable")

    main_process: Any = SimpleNamespace(is_main_process=True)
    with pytest.raises(ValueError, match="nearly all"):
        processes.on_main_process(main_process, fail)
    monkeypatch.setattr(processes, "broadcast_object_list", lambda made: made.__setitem__(slice(None), sent[0]))
    with pytest.raises(ValueError, match="nearly all"):
        processes.on_main_process(SimpleNamespace(is_main_process=False), fail)  # type: ignore[arg-type]


def batches_of(folder: Path, tokenizers: Any, share: float, workers: int = 0) -> StreamedBatches:
    settings = read_settings(flags(folder, *STREAM)).data
    stream = TextStream(
        lambda shards, count: data_module._open_shards(settings, shards, count),
        data_module._train_limits(settings),
        *(200, 60, workers, "digest", share),
    )
    process: Any = SimpleNamespace(process_index=0, num_processes=1, print=print)
    return StreamedBatches(stream, Batching(tokenizers, Seq2SeqCollator(0), 200, 1), process, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_that_gets_bad_after_the_first_check_ends_the_run(
    folder: Path, small_tokenizers: Any, workers: int
) -> None:
    (folder / "train.tsv").write_text("\n".join([*ROWS, *["no column"] * 3_000]) + "\n")
    batches = iter(batches_of(folder, small_tokenizers, 0.5, workers))
    next(batches)
    with pytest.raises(StreamError, match=r"train data: 900 of 1,000 rows \(90\.0%\) cannot be used"):
        list(batches)


def test_a_short_stream_is_checked_at_the_end_of_its_first_epoch(
    folder: Path, small_tokenizers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "gather_object", lambda values: values)
    spoil(folder, "train")
    for share in (0.1, 0.11):
        batches = batches_of(folder, small_tokenizers, share)
        steps = 0
        for batch in batches:
            if not batch.examples:
                break
            steps += 1
        if share == 0.1:
            with pytest.raises(StreamError, match="train data: 11 of 100 rows"):
                batches.end_epoch(steps)
        else:
            batches.end_epoch(steps)
