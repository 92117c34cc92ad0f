"""Repeated pairs and held-out pairs that the training data gives away are counted, with their first places."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sineformer.training.cleaning import CleaningReport, ParallelText
from sineformer.training.overlap import PairHashes, note_repeats
from sineformer.training.rows import Row
from sineformer.training.train import main

TRAIN = [("a", "A"), ("b", "B"), ("a", "A"), ("a", "Z"), ("c", "C"), ("b", "B"), ("a", "A")]


def text_of(pairs: Sequence[tuple[str, str]], file: str) -> ParallelText:
    text = ParallelText()
    for line, (source, target) in enumerate(pairs, 1):
        text.append(Row(source, target, file, line))
    return text


def notes(report: CleaningReport) -> list[str]:
    return [line.strip() for line in str(report).splitlines() if "kept," in line]


def test_repeats_and_overlaps_are_noted_with_counts_and_first_places() -> None:
    splits = {
        "train": (text_of(TRAIN, "t"), CleaningReport()),
        "validation": (text_of([("a", "A"), ("a", "other"), ("new", "A"), ("c", "C")], "v"), CleaningReport()),
        "test": (text_of([("A", "a"), ("new", "neu")], "x"), CleaningReport()),
    }
    note_repeats(splits)
    assert notes(splits["train"][1]) == ["kept, same pair as an earlier one: 3 (t:3, t:6, t:7)"]
    assert notes(splits["validation"][1]) == [
        "kept, same pair in the training data: 2 (v:1, v:4)",
        "kept, same source in the training data, with another target: 1 (v:2)",
    ]
    assert notes(splits["test"][1]) == []


def test_only_the_first_three_places_are_shown() -> None:
    splits = {"train": (text_of([("a", "A")] * 6, "t"), CleaningReport())}
    note_repeats(splits)
    assert notes(splits["train"][1]) == ["kept, same pair as an earlier one: 5 (t:2, t:3, t:4, ...)"]


def test_a_boundary_between_source_and_target_tells_pairs_apart() -> None:
    hashes = PairHashes.of(text_of([("a b", "c"), ("a", "b c"), ("ab", "c"), ("", "abc")], "t"))
    assert len(hashes.repeated()) == 0


def test_many_pairs_are_counted_as_sets_of_python_count_them() -> None:
    generator = np.random.default_rng(7)
    train, held_out = ([(str(a), str(b)) for a, b in generator.integers(0, 60, (2000, 2))] for _ in range(2))
    seen: set[tuple[str, str]] = set()
    repeated = [index for index, pair in enumerate(train) if pair in seen or seen.add(pair)]  # type: ignore[func-returns-value]
    sources = {source for source, _ in train}
    hashes = PairHashes.of(text_of(train, "t"))
    assert hashes.repeated().tolist() == repeated
    pairs, alone = PairHashes.of(text_of(held_out, "v")).known_to(hashes)
    assert pairs.tolist() == [index for index, pair in enumerate(held_out) if pair in seen]
    assert alone.tolist() == [index for index, pair in enumerate(held_out) if pair not in seen and pair[0] in sources]


def test_sixteen_bytes_are_kept_of_a_pair() -> None:
    hashes = PairHashes()
    tracemalloc.start()
    try:
        for number in range(5000):
            hashes.add(f"{number} x" * 100, f"{number} y" * 100)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 5000 * 16 <= kept < 5000 * 24  # arrays grow by an eighth at a time


def test_a_run_shows_them_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"dog number {number} sleeps" for number in range(40)]
    for name, count in (("train", 40), ("validation", 2)):
        for side in ("en", "de"):
            (tmp_path / f"{name}.{side}").write_text("\n".join([*lines[:count], lines[0]]) + "\n")
    files = [f"--{name}_files {tmp_path}/{name}.en {tmp_path}/{name}.de" for name in ("train", "validation")]
    sizes = "--d_model 8 --encoder_layers 1 --decoder_layers 1 --encoder_attention_heads 1 --decoder_attention_heads 1"
    flags = f"--dataset files {' '.join(files)} {sizes} --max_steps 1 --vocab_size 300 --output_dir {tmp_path}/out"
    assert main([*flags.split(), "--encoder_ffn_dim", "8", "--decoder_ffn_dim", "8", "--use_cpu"]) == 0
    shown = capsys.readouterr().out
    assert f"kept, same pair as an earlier one: 1 ({tmp_path}/train.en:41)" in shown
    assert f"kept, same pair in the training data: 3 ({tmp_path}/validation.en:1, " in shown
