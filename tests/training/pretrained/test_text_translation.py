"""Test the translation of long texts: windows, batches by tokens, and what is kept of an interrupted run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from sineformer.training.pretrained.engines import ModelChoice
from sineformer.training.pretrained.output import open_output
from sineformer.training.pretrained.text_translation import TextTranslator, choose_workers, open_translator, windows_of
from sineformer.training.pretrained.translation import Hypothesis, Search, SourceBatch, token_batches
from sineformer.training.pretrained.translator import TranslationError


def count_tokens(batches: Iterable[SourceBatch]) -> Iterator[list[list[Hypothesis]]]:
    """Stand in for a model: the translation of a text is its number of tokens."""
    for batch in batches:
        yield [[Hypothesis(str(len(ids)))] for ids in batch.ids]


def test_a_batch_has_at_most_so_many_tokens_with_padding(small_tokenizers: Any) -> None:
    lines = ["a", "a long line of many words", "", "two words", "b", "one line more", "no", "on"]
    batches = token_batches(small_tokenizers, lines, 16)
    assert sorted(line for batch in batches for line in batch.lines) == [0, 1, 3, 4, 5, 6, 7]
    lengths = [[len(ids) for ids in batch.ids] for batch in batches]
    assert all(len(each) == 1 or len(each) * max(each) <= 16 for each in lengths)
    assert list(chain(*lengths)) == sorted(chain(*lengths), reverse=True)
    assert max(map(len, lengths)) > 1
    assert [len(batch.lines) for batch in token_batches(small_tokenizers, lines, 1)] == [1] * 7


@pytest.mark.parametrize(
    ("lines", "workers", "sizes"),
    [
        (20, 1, [4, 4, 4, 4, 4]),
        (20, 2, [3, 3, 3, 3, 3, 3, 1, 1]),
        (20, 3, [2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1]),
        (20, 4, [1] * 20),
        (20, 12, [1] * 20),
        (99, 1, [4] * 24 + [3]),
        (97, 2, [4] * 24 + [1]),
        (100, 2, [4] * 24 + [2, 2]),
        (100, 3, [4] * 24 + [2, 2]),
        (100, 4, [4] * 24 + [1, 1, 1, 1]),
    ],
)
def test_several_workers_get_as_many_batches_each(
    small_tokenizers: Any, lines: int, workers: int, sizes: list[int]
) -> None:
    tokens = len(small_tokenizers.source("a")["input_ids"])
    batches = token_batches(small_tokenizers, ["a"] * lines, 4 * tokens, workers)
    assert [len(batch.lines) for batch in batches] == sizes
    assert [line for batch in batches for line in batch.lines] == list(range(lines))
    assert token_batches(small_tokenizers, ["", " "], 4 * tokens, workers) == []


def test_windows_keep_their_order_and_are_read_as_they_are_needed(small_tokenizers: Any) -> None:
    read, reported = [], []

    def lines() -> Iterator[str]:
        for number in range(40):
            read.append(number)
            yield "" if 10 <= number < 20 else "word " * (number % 7 + 1)

    translator = TextTranslator(small_tokenizers, Search(), 30, None, count_tokens)
    seen: list[tuple[str, str]] = []
    for sources, found in translator.translate(windows_of(lines(), 10), reported.append):
        assert len(read) <= len(seen) + 20
        seen += [(source, hypotheses[0].text) for source, hypotheses in zip(sources, found, strict=True)]
    expected = [(line, "" if not line else str(len(small_tokenizers.source(line)["input_ids"]))) for line in lines()]
    assert seen == expected
    assert sum(reported) == 40
    assert len(reported) > 4


def test_lines_are_split_and_joined_within_their_window(small_tokenizers: Any) -> None:
    translator = TextTranslator(small_tokenizers, Search(), 30, lambda line: line.split("|"), count_tokens)
    ((_, found),) = translator.translate([["word|word word", "", "word"]])
    one, two = (len(small_tokenizers.source(text)["input_ids"]) for text in ("word", "word word"))
    assert [[each.text for each in hypotheses] for hypotheses in found] == [[f"{one} {two}"], [""], [f"{one}"]]


def test_a_short_text_has_no_workers_and_a_long_one_has_one_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sineformer.training.pretrained.text_translation.count_cores", lambda: 4)
    choice = ModelChoice("any", device="cpu")
    assert [choose_workers(choice, lines) for lines in (0, 10, 1000, 1_000_000, None)] == [1, 1, 2, 4, 4]


@pytest.mark.parametrize(
    ("search", "tokens"),
    [
        (Search(1), 5120),
        (Search(2), 5120),
        (Search(5), 2048),
        (Search(), 2048),
        (Search(translations=10), 1024),
        (Search(10, translations=3), 1024),
    ],
)
def test_the_tokens_of_a_batch_suit_the_beams(
    make_model_folder: Callable[..., Path], tmp_path: Path, search: Search, tokens: int
) -> None:
    choice = ModelChoice(str(make_model_folder(tmp_path)), device="cpu")
    with open_translator(choice, search) as translator:
        assert translator.max_tokens == tokens
    with open_translator(choice, search, 77) as translator:
        assert translator.max_tokens == 77


def test_memory_that_runs_out_is_an_error_with_the_fix(make_model_folder: Callable[..., Path], tmp_path: Path) -> None:
    choice = ModelChoice(str(make_model_folder(tmp_path)), device="cpu")
    with (
        pytest.raises(TranslationError, match=r"CUDA out of memory.; use fewer --max_tokens than 2,048"),
        open_translator(choice, Search()),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def write_two_lines(path: Path, options: dict[str, Any], resume: bool = False) -> None:
    with open_output(path, options, resume) as output:
        output.write(["one", "two"], "eins\nzwei\n")
        raise KeyboardInterrupt


def test_an_interrupted_output_is_continued_only_with_the_same_options_and_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.txt"
    path.write_text("of last week\n")
    with pytest.raises(KeyboardInterrupt):
        write_two_lines(path, {"num_beams": 2})
    assert capsys.readouterr().err == f"{path}.partial keeps 2 lines; continue with --resume\n"
    with (path.parent / "out.txt.partial").open("ab") as file:
        file.write(b"incompl")  # as after a crash
    with pytest.raises(TranslationError, match="first 2 lines of an interrupted run; continue with --resume, or"):
        write_two_lines(path, {"num_beams": 2})
    with pytest.raises(TranslationError, match="was written with another num_beams; use the same, or remove it"):
        write_two_lines(path, {"num_beams": 3}, resume=True)
    with (
        pytest.raises(TranslationError, match="the first 2 lines of the input differ from those of the interrupted"),
        open_output(path, {"num_beams": 2}, resume=True) as output,
    ):
        output.skip(iter(["one", "other", "three"]))
    assert path.read_text() == "of last week\n"
    with open_output(path, {"num_beams": 2}, resume=True) as output:
        lines = iter(["one", "two", "three"])
        output.skip(lines)
        assert (output.lines, list(lines)) == (2, ["three"])
        output.write(["three"], "drei\n")
    assert path.read_text() == "eins\nzwei\ndrei\n"
    assert [each.name for each in tmp_path.iterdir()] == ["out.txt"]


def test_an_output_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with open_output(path, {}) as output:
        output.write(["one"], "eins\n")
        with pytest.raises(TranslationError, match="is being written by another process; name another output"):
            write_two_lines(path, {})
        output.write(["two"], "zwei\n")
    assert path.read_text() == "eins\nzwei\n"


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    (tmp_path / "out.txt.partial.json").write_text("{")
    with pytest.raises(TranslationError, match="json is damaged; remove it to start again"):
        write_two_lines(path, {}, resume=True)
