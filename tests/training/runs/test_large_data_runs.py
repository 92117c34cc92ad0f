"""Test runs with cached and streamed training data: killed, stopped, resumed, and in several processes."""

import os
import signal
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from sineformer.training.data.embedded_task import load_split

EPOCHS = ["--num_epochs", "2", "--gradient_accumulation_steps", "2", "--max_tokens", "100"]
STREAM = ["--streaming", "true", "--tokenizer_sample", "150", "--shuffle_buffer", "40"]
NOT_DRAWN = ["--dropout", "0", "--attention_dropout", "0"]


def flags_of(way: str, tmp_path: Path) -> list[str]:
    """Return the flags for the storage of the training data."""
    if way == "cache":
        return ["--train_size", "203", "--cache_dir", str(tmp_path / "cache")]
    return ["--train_size", "203", *STREAM, "--stream_workers", str(int(way == "stream_workers"))]


def end(runs: Any, folder: Path, *flags: str, processes: int = 1) -> None:
    """Resume a run to its end."""
    runs.start(folder, *flags, processes=processes)
    assert runs.end() == [0] * processes, runs.log.read_text()


def interrupt(runs: Any, folder: Path, checkpoint: int, number: int, *flags: str, processes: int = 1) -> list[int]:
    """Send a signal to a run after a checkpoint; return its exit statuses."""
    runs.start(folder, *flags, processes=processes)
    assert runs.wait_until(lambda: (folder / "checkpoints" / f"step-{checkpoint}").exists()), runs.log.read_text()
    runs.send(number)
    return runs.end()


def test_a_killed_run_over_a_stream_equals_an_uninterrupted_one(runs: Any, tmp_path: Path) -> None:
    flags = ["--train_size", "60", *STREAM, *EPOCHS]
    end(runs, tmp_path / "undisturbed", *flags)
    assert interrupt(runs, tmp_path / "killed", 3, signal.SIGKILL, *flags) == [-signal.SIGKILL]
    end(runs, tmp_path / "killed", *flags, "--resume")
    runs.assert_same(tmp_path / "killed", tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize(("way", "processes"), [("cache", 1), ("stream", 2), ("stream_workers", 2)])
def test_killed_and_stopped_runs_equal_uninterrupted_ones(runs: Any, tmp_path: Path, way: str, processes: int) -> None:
    flags, killed = [*flags_of(way, tmp_path), *EPOCHS], tmp_path / "killed"
    end(runs, tmp_path / "undisturbed", *flags, processes=processes)
    steps = [line["step"] for line in runs.metrics(tmp_path / "undisturbed") if line["kind"] == "train"]
    assert interrupt(runs, killed, 3, signal.SIGKILL, *flags, processes=processes) == [-signal.SIGKILL] * processes
    in_second_epoch = steps[-1] * 2 // 9 * 3
    assert steps[-1] - 3 > in_second_epoch > 3
    flags.append("--resume")
    statuses = interrupt(runs, killed, in_second_epoch, signal.SIGTERM, *flags, processes=processes)
    assert statuses == [75] * processes, runs.log.read_text()
    end(runs, killed, *flags, processes=processes)
    runs.assert_same(killed, tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_signal_to_the_workers_too_stops_with_a_checkpoint(runs: Any, tmp_path: Path) -> None:
    runs.start(tmp_path / "run", *flags_of("stream_workers", tmp_path), *EPOCHS)
    assert runs.wait_until(lambda: (tmp_path / "run" / "checkpoints" / "step-3").exists()), runs.log.read_text()
    (main,) = runs.processes
    workers = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    assert workers
    for process in [*map(int, workers), main]:
        os.kill(process, signal.SIGTERM)
    assert runs.end() == [75], runs.log.read_text()


@pytest.mark.slow
def test_the_cache_does_not_change_the_result(runs: Any, tmp_path: Path) -> None:
    end(runs, tmp_path / "memory", "--train_size", "203", *EPOCHS)
    for name in ("making", "finding"):
        end(runs, tmp_path / name, "--train_size", "203", *EPOCHS, "--cache_dir", str(tmp_path / "cache"))
        runs.assert_same(tmp_path / name, tmp_path / "memory")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["cache", "stream", "stream_workers"])
def test_two_processes_equal_one(runs: Any, tmp_path: Path, way: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    flags = [*flags_of(way, tmp_path), "--num_epochs", "2", *NOT_DRAWN, "--gradient_accumulation_steps"]
    end(runs, one, *flags, "4")
    end(runs, two, *flags, "2", processes=2)
    runs.assert_close(one, two)


@pytest.fixture
def unequal(tmp_path: Path) -> list[str]:
    """Return flags for two files, one six times as long as the other; each process reads one."""
    pairs = load_split("train", 175, seed=5)
    (tmp_path / "data").mkdir()
    for name, part in (("train-0", pairs[:25]), ("train-1", pairs[25:]), ("validation", pairs[:6])):
        sources, targets = zip(*part, strict=True)
        Dataset.from_dict({"en": sources, "de": targets}).to_parquet(tmp_path / "data" / f"{name}.parquet")
    languages = ["--source_language", "en", "--target_language", "de"]
    return [
        "--dataset",
        str(tmp_path / "data"),
        *languages,
        *STREAM,
        *("--validation_size", "null", "--max_length", "150", "--max_position_embeddings", "150"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_processes_with_unequal_data_end_together_and_take_each_pair_once_in_an_epoch(
    runs: Any, tmp_path: Path, unequal: list[str], workers: str
) -> None:
    shares = ["--num_epochs", "2", "--gradient_accumulation_steps", "1", "--stream_workers", workers]
    end(runs, tmp_path / "run", *unequal, *shares, processes=2)
    taken = runs.examples(tmp_path / "run")
    steps = max(step for step, _ in taken)
    assert sorted(taken) == [(step, rank) for step in range(1, steps + 1) for rank in (0, 1)]
    counts: list[Counter[int]] = [Counter(), Counter()]
    for (_, rank), batches in taken.items():
        counts[rank].update(chain.from_iterable(batches))
    assert [len(count) for count in counts] == [25, 150]
    assert set(chain.from_iterable(count.values() for count in counts)) == {2}
    assert not counts[0].keys() & counts[1].keys()
