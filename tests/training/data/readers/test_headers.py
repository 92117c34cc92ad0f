"""A header of TSV and CSV never becomes a pair, and ordinary first rows are read as pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sineformer.training.data.readers.rows import ColumnNames
from sineformer.training.data.readers.sources import read_files

EN_FR = ColumnNames("en", "fr")
SEPARATORS = {".tsv": "\t", ".csv": ","}


def read(folder: Path, *rows: tuple[str, ...], suffix: str = ".tsv") -> list[tuple[str | None, str | None]]:
    file = folder / f"a{suffix}"
    file.write_text("".join(SEPARATORS[suffix].join(row) + "\n" for row in rows), encoding="utf-8")
    return [(row.source, row.target) for row in read_files([file], None, EN_FR)]


@pytest.mark.parametrize("suffix", SEPARATORS)
@pytest.mark.parametrize(
    "header", [("en", "fr"), ("EN", " fr"), ("fr", "en"), ("id", "fr", "en"), ("", "en", "fr"), ('"en"', '"fr"')]
)
def test_a_header_with_both_languages_names_the_columns(tmp_path: Path, header: tuple[str, ...], suffix: str) -> None:
    names = [name.strip(' "').lower() for name in header]
    row = [{"en": "One.", "fr": "Un."}.get(name, "7") for name in names]
    assert read(tmp_path, header, tuple(row), suffix=suffix) == [("One.", "Un.")]


@pytest.mark.parametrize(
    "header",
    [
        *(("source", "target"), ("Source Text", "Target Text"), ("src", "trg"), ("sentence1", "sentence2")),
        *(("English", "French"), ("en", "de"), ("text_en", "text_fr"), ("my_corpus_a", "my_corpus_b")),
        *(("id", "English sentence", "French sentence"), ("url", "source", "target"), ("", "input", "output")),
    ],
)
def test_a_header_that_does_not_name_the_languages_is_refused_with_the_fix(
    tmp_path: Path, header: tuple[str, ...]
) -> None:
    with pytest.raises(
        ValueError, match=r"a\.tsv: the first line looks like a header .*source_column: .*target_column"
    ):
        read(tmp_path, header, tuple("x" for _ in header))


@pytest.mark.parametrize(
    "first",
    [
        *(("Text", "Texte écrit."), ("The source", "La source"), ("Source text.", "Texte source.")),
        *(("house", "maison"), ("it is so", "c'est ainsi"), ("No", "Non"), ("in", "dans"), ("1", "1")),
        *(("I read the text", "Je lis le texte"), ("snake_case", "notation")),
    ],
)
def test_a_first_row_of_text_is_a_pair(tmp_path: Path, first: tuple[str, str]) -> None:
    assert read(tmp_path, first, ("Two.", "Deux.")) == [first, ("Two.", "Deux.")]


def test_a_pair_like_a_header_is_read_below_a_header(tmp_path: Path) -> None:
    assert read(tmp_path, ("en", "fr"), ("source", "input")) == [("source", "input")]


def test_rows_keyed_by_language_need_no_names_of_columns(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"fr": "Un.", "en": "One."}\n{"translation": {"en": "Two.", "fr": "Deux."}}\n', encoding="utf-8")
    assert [row[:2] for row in read_files([file], None, EN_FR)] == [("One.", "Un."), ("Two.", "Deux.")]


@pytest.mark.parametrize("row", ['{"src": "One.", "tgt": "Un."}', '{"translation": {"src": "One.", "tgt": "Un."}}'])
def test_rows_of_other_keys_are_refused_with_the_keys_that_are_there(tmp_path: Path, row: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f"{row}\n" * 3, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.jsonl has no columns 'en' and 'fr'; its columns are 'src', 'tgt'"):
        list(read_files([file], None, EN_FR))
