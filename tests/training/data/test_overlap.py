"""Repeated pairs and held-out pairs that are in the training data are counted, with their first locations."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator

from sineformer.training.data import overlap
from sineformer.training.data.cleaning import CleaningReport
from sineformer.training.data.loading import load_data
from sineformer.training.data.overlap import PairHashes, note_overlap, note_repeats
from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.data.readers.rows import Row
from sineformer.training.preflight import read_settings

TRAIN = [("a", "A"), ("b", "B"), ("a", "A"), ("a", "Z"), ("c", "C"), ("b", "B"), ("a", "A")]


def text_of(pairs: Sequence[tuple[str, str]], file: str) -> ParallelText:
    text = ParallelText()
    for line, (source, target) in enumerate(pairs, 1):
        text.append(Row(source, target, file, line))
    return text


def notes(report: CleaningReport) -> list[str]:
    return [line.strip() for line in str(report).splitlines() if "kept," in line]


def test_repeats_and_overlaps_are_noted_with_counts_and_first_locations() -> None:
    train, report = text_of(TRAIN, "t"), CleaningReport()
    held_out = {
        "validation": (text_of([("a", "A"), ("a", "other"), ("new", "A"), ("c", "C")], "v"), CleaningReport()),
        "test": (text_of([("A", "a"), ("new", "neu")], "x"), CleaningReport()),
    }
    hashes = PairHashes.of(train.pairs())
    note_repeats(report, hashes, train.location)
    note_overlap(held_out, hashes)
    assert notes(report) == ["kept, same pair as an earlier one: 3 (t:3, t:6, t:7)"]
    assert notes(held_out["validation"][1]) == [
        "kept, same pair in the training data: 2 (v:1, v:4)",
        "kept, same source in the training data, with another target: 1 (v:2)",
    ]
    assert notes(held_out["test"][1]) == []


def test_only_the_first_three_locations_are_shown() -> None:
    train, report = text_of([("a", "A")] * 6, "t"), CleaningReport()
    note_repeats(report, PairHashes.of(train.pairs()), train.location)
    assert notes(report) == ["kept, same pair as an earlier one: 5 (t:2, t:3, t:4, ...)"]


def test_a_boundary_between_source_and_target_tells_pairs_apart() -> None:
    hashes = PairHashes.of([("a b", "c"), ("a", "b c"), ("ab", "c"), ("", "abc")])
    assert len(hashes.repeated()) == 0


@pytest.mark.parametrize("chunk", [overlap.CHUNK, 300])
def test_many_pairs_are_counted_as_sets_of_python_count_them(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "CHUNK", chunk)
    generator = np.random.default_rng(7)
    train, held_out = ([(str(a), str(b)) for a, b in generator.integers(0, 60, (2000, 2))] for _ in range(2))
    seen: set[tuple[str, str]] = set()
    repeated = [index for index, pair in enumerate(train) if pair in seen or seen.add(pair)]  # type: ignore[func-returns-value]
    sources = {source for source, _ in train}
    hashes = PairHashes.of(train)
    assert hashes.repeated().tolist() == repeated
    pairs, alone = PairHashes.of(held_out).known_to(hashes)
    assert pairs.tolist() == [index for index, pair in enumerate(held_out) if pair in seen]
    assert alone.tolist() == [index for index, pair in enumerate(held_out) if pair not in seen and pair[0] in sources]


def test_sixteen_bytes_are_kept_of_a_pair() -> None:
    tracemalloc.start()
    try:
        hashes = PairHashes.of((f"{number} x" * 100, f"{number} y" * 100) for number in range(5000))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(hashes.pairs) == 5000
    assert 5000 * 16 <= kept < 5000 * 24  # arrays grow by an eighth at a time


def test_of_many_pairs_a_chunk_is_sorted_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = PairHashes.of((str(number), "x") for number in range(50_000))
    peaks = []
    for chunk in (5_000, 50_000):
        monkeypatch.setattr(overlap, "CHUNK", chunk)
        tracemalloc.start()
        try:
            assert len(hashes.repeated()) == 0
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[0] < peaks[1] / 4


@pytest.mark.parametrize("way", ["memory", "cache", "stream"])
def test_a_run_shows_them_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    lines = [f"dog number {number} sleeps" for number in range(40)]
    long = " ".join(map(str, range(100)))
    for name, texts in (("train", [*lines, lines[0], long, long]), ("validation", [*lines[:2], lines[0]])):
        for side in ("en", "de"):
            (tmp_path / f"{name}.{side}").write_text("\n".join(texts) + "\n")
    flags = [
        "--source_language",
        "en",
        "--target_language",
        "de",
        "--data_dir",
        str(tmp_path),
        "--vocab_size",
        "300",
        "--max_length",
        "40",
    ]
    flags += ["--train_files", "train.en", "train.de", "--validation_files", "validation.en", "validation.de"]
    flags += ["--output_dir", str(tmp_path / "out"), "--max_steps", "1"]
    ways = {"memory": [], "cache": ["--cache_dir", str(tmp_path / "cache")]}
    ways["stream"] = ["--streaming", "true", "--tokenizer_sample", "40"]
    for start in range(2):  # the second finds what the first left in the cache
        load_data(read_settings([*flags, *ways[way]]), Accelerator(cpu=True))
        shown = capsys.readouterr().err
        if way == "stream":
            assert "train: a stream; repeated pairs and pairs of other splits are not counted" in shown
            assert "kept," not in shown
            continue
        assert re.search(r"  kept, same pair as an earlier one: 1 \(\S*train.en:41\)\n", shown), start
        file = f"{tmp_path}/validation.en"
        assert f"  kept, same pair in the training data: 3 ({file}:1, {file}:2, {file}:3)\n" in shown
