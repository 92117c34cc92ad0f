"""Held-out validation pairs: as many as asked for, the same every time, and no sentence on both sides."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from sineformer.training.data import loading
from sineformer.training.data.cleaning import Limits
from sineformer.training.data.holdout import held_out_rows
from sineformer.training.data.loading import Data, load_data
from sineformer.training.data.readers.rows import Row
from sineformer.training.preflight import read_settings
from sineformer.training.settings.recipe import RecipeError


def rows_of(pairs: list[tuple[str, str]]) -> list[Row]:
    return [Row(source, target, "a.tsv", line) for line, (source, target) in enumerate(pairs, 1)]


def connected_pairs(count: int) -> list[tuple[str, str]]:
    """Return pairs of which many have a source or a target in common, some only by way of others."""
    rng = random.Random(0)
    return [(f"source {rng.randrange(count)}", f"target {rng.randrange(2 * count)}") for _ in range(count)]


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (150, 150), (0.1, 100), (0.25, 250)])
def test_as_many_pairs_as_asked_for_are_held_out_and_no_sentence_is_on_both_sides(size: float, expected: int) -> None:
    pairs = connected_pairs(1_000)
    chosen = held_out_rows(rows_of(pairs), Limits(), size)
    assert len(chosen) == expected
    held_out = [pairs[index] for index in chosen]
    others = [pair for index, pair in enumerate(pairs) if index not in chosen]
    for side in (0, 1):
        assert not {pair[side] for pair in held_out} & {pair[side] for pair in others}
    assert held_out_rows(rows_of(pairs), Limits(), size) == chosen


def test_only_usable_rows_are_held_out_and_counted() -> None:
    rows = rows_of([("", "leer") if number % 2 else (f"a {number}", f"b {number}") for number in range(100)])
    chosen = held_out_rows(rows, Limits(), 0.5)
    assert len(chosen) == 25
    assert all(number % 2 == 0 for number in chosen)


@pytest.mark.parametrize(
    ("pairs", "size", "problem"),
    [
        ([("a", "b"), ("c", "d")], 2, "validation_size is 2, but there are 2 usable pairs"),
        ([("a", "b"), ("c", "d")], 0.1, r"validation_size is 0\.1, but there are 2 usable pairs"),
        ([("a", f"b {number}") for number in range(9)], 3, "only 0 are in groups that fit"),
    ],
)
def test_too_few_pairs_are_an_error_with_the_fix(pairs: list[tuple[str, str]], size: float, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        held_out_rows(rows_of(pairs), Limits(), size)


def load(folder: Path, *flags: str) -> Data:
    """Load with these flags, which replace others of the same key."""
    settings = {
        **{"train_files": str(folder / "a.tsv"), "validation_size": "20", "vocab_size": "300", "max_length": "60"},
        **{"source_language": "en", "target_language": "de", "output_dir": str(folder / "run"), "max_steps": "1"},
    }
    kept = [word for key, value in settings.items() if f"--{key}" not in flags for word in (f"--{key}", value)]
    return load_data(read_settings([*kept, *flags]), Accelerator(cpu=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [f"{source}\t{target}\n" for source, target in connected_pairs(120)]
    (tmp_path / "a.tsv").write_text("".join(["en\tde\n", *lines, "no column\n"]), encoding="utf-8")
    return tmp_path


def test_a_run_trains_on_the_others_with_and_without_a_cache(folder: Path) -> None:
    plain = load(folder)
    cached = load(folder, "--cache_dir", str(folder / "cache"), "--seed", "7")
    train: Any = plain.train
    assert (len(plain.held_out["validation"].text), train.size) == (20, 100)
    assert plain.held_out["validation"].text == cached.held_out["validation"].text
    assert train.digest == cached.train.digest
    assert train.report.bad == 1
    assert not train.report.notes.keys() & {"same pair in the training data"}
    other: Any = load(folder, "--cache_dir", str(folder / "cache"), "--validation_size", "0.25").train
    assert other.size == 90


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            ["--streaming", "true", "--tokenizer_sample", "9"],
            "nothing can be held out of a stream; give validation_files",
        ),
        (["--dataset", "some/data", "--train_files", "null"], "of a dataset on the Hub, use slices"),
        (["--validation_size", "1.5"], "validation_size: must be a number of pairs or a share"),
        (["--validation_size", "inf"], "validation_size: must be a number of pairs or a share"),
        (["--dataset", "embedded", "--train_files", "null", "--validation_size", "0.5"], "it is a number of pairs"),
    ],
)
def test_what_cannot_be_held_out_is_refused_before_training(folder: Path, flags: list[str], problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        load(folder, *flags)


def test_validation_files_take_precedence(folder: Path) -> None:
    data = load(folder, "--validation_files", str(folder / "a.tsv"))
    assert (len(data.held_out["validation"].text), data.train.size) == (120, 120)


def test_the_pairs_are_chosen_once_and_again_when_the_files_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[frozenset[int]] = []

    def choose(*arguments: Any) -> frozenset[int]:
        chosen.append(held_out_rows(*arguments))
        return chosen[-1]

    monkeypatch.setattr(loading, "held_out_rows", choose)
    loading._held_out.cache_clear()
    load(folder)
    assert len(chosen) == 1
    with (folder / "a.tsv").open("a", encoding="utf-8") as file:
        file.write("new\tneu\n")
    assert load(folder).train.size == 101
    assert len(chosen) == 2
