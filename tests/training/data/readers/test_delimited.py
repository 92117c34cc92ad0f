"""Quotes in TSV and CSV: quoted fields are read as they were written, and a stray quote affects only its line."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from sineformer.training.data.readers.rows import ColumnNames, Row
from sineformer.training.data.readers.sources import read_files

EN_DE = ColumnNames("en", "de")
BROKEN = "broken CSV (a quote is not closed, or text follows the closing one)"
# Whatever a writer has to quote, and what looks like quoting and is not.
NASTY = [
    ('He says "yes".', "Er sagt \u201eja\u201c."),
    ('"Yes", he says, "or no."', 'Er sagt "ja" oder "nein"'),
    ('"Yes."', '"Ja."'),
    ('"', '""'),
    ('a\tb "c"', "zwei\nZeilen"),
    ("two\nlines", "one"),
    ("one", "drei\n\nZeilen"),
    ("two\nlines, here", 'and "two"\nthere'),
    ('"open', 'closed"'),
    ("3,5", "7"),
    ("plain", "einfach"),
]
SEPARATORS = {".tsv": "\t", ".csv": ","}


def pairs(rows: list[Row]) -> list[tuple[str | None, str | None]]:
    assert all(row.problem is None for row in rows), rows
    return [(row.source, row.target) for row in rows]


def written(rows: list[tuple[str, str]], separator: str, quoting: int) -> str:
    """Return rows as written by Python's csv module, which pandas uses."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator="\n")
    writer.writerows([EN_DE, *rows])
    return text.getvalue()


def read(folder: Path, name: str, text: str, columns: ColumnNames | None = EN_DE) -> list[Row]:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return list(read_files([folder / name], columns))


@pytest.mark.parametrize("suffix", SEPARATORS)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_quoted_fields_are_read_as_they_were_written(tmp_path: Path, suffix: str, quoting: int) -> None:
    plain = [(f"Number {number} sleeps.", f"Nummer {number} schl\u00e4ft.") for number in range(90)]
    for seed in range(20):
        rows = [*plain, *NASTY]
        random.Random(seed).shuffle(rows)
        text = written(rows, SEPARATORS[suffix], quoting)
        assert pairs(read(tmp_path, f"a{suffix}", text)) == rows


@pytest.mark.parametrize("index", [False, True])
def test_pandas_writes_and_the_reader_gets_the_same(tmp_path: Path, index: bool) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(NASTY, columns=list(EN_DE)).to_csv(tmp_path / "a.tsv", sep="\t", index=index)
    assert pairs(list(read_files([tmp_path / "a.tsv"], EN_DE))) == NASTY


def test_quotes_that_are_text_stay_in_a_tsv_without_quoting(tmp_path: Path) -> None:
    rows = [
        ('"Yes."', '"Ja."'),
        ('"Yes, he said.', '"Ja, sagte er.'),
        ('Then he went."', 'Dann ging er."'),
        ("Plain.", '"Offen'),
        ("Closed.", 'geschlossen"'),
        ('He said: "yes"', 'Er sagte: "ja"'),
        ('"a" and "b"', '"a" und "b"'),
        ('"', '"'),
        ('5" long', '"5 lang'),
    ]
    text = "".join(f"{source}\t{target}\n" for source, target in rows)
    for names, columns in (("", None), ("en\tde\n", EN_DE)):
        found = read(tmp_path, "a.tsv", names + text, columns)
        assert pairs(found) == rows
        assert [row.line for row in found] == list(range(1 + bool(names), 1 + bool(names) + len(rows)))


def test_an_open_quote_swallows_no_line_of_a_tsv_not_even_a_bad_one(tmp_path: Path) -> None:
    lines = ["a\tb", 'open\t"quote', *(f"{n}\t{n}" for n in range(50)), 'no column"', "c\td"]
    rows = read(tmp_path, "a.tsv", "\n".join(lines), None)
    assert [row.line for row in rows] == list(range(1, len(lines) + 1))
    assert [row.line for row in rows if row.problem] == [53]
    assert (rows[1].source, rows[1].target) == ("open", '"quote')


@pytest.mark.parametrize(("number", "suffix"), [(2, ""), (120, ""), (2, '"'), (150, '"')])
def test_a_stray_quote_of_a_csv_affects_only_its_line(tmp_path: Path, number: int, suffix: str) -> None:
    lines = ["en,de", *(f"The dog no. {n} sleeps.,Hund {n} schl\u00e4ft." for n in range(200))]
    lines[number - 1] = f'"{lines[number - 1]}'
    lines[number + 40] += suffix  # later, by chance, another quote
    rows = read(tmp_path, "a.csv", "\n".join(lines))
    assert [row.line for row in rows] == list(range(2, 202))
    assert {row.line: row.problem for row in rows if row.problem} == {number: BROKEN}


def test_text_after_a_closing_quote_is_a_fault_of_its_line(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.csv", 'en,de\na,b\n"c" x,d\ne,f\n')
    assert {row.line: row.problem for row in rows if row.problem} == {3: BROKEN}


@pytest.mark.parametrize("stray", [0, 1, 7])
@pytest.mark.parametrize("suffix", SEPARATORS)
def test_a_stray_separator_affects_only_its_row(tmp_path: Path, suffix: str, stray: int) -> None:
    separator = SEPARATORS[suffix]
    lines = [f"{number}{separator}{number}" for number in range(20)]
    lines[stray] += separator
    rows = read(tmp_path, f"a{suffix}", "\n".join(lines), None)
    assert [row.line for row in rows if row.problem == "wrong number of columns"] == [stray + 1]
    assert sum(row.problem is None for row in rows) == 19


def test_records_of_several_lines_tell_the_width_of_a_file_without_header(tmp_path: Path) -> None:
    text = "".join(f'"one {number}\n{number}"\teins\n' for number in range(9))
    assert pairs(read(tmp_path, "a.tsv", text, None)) == [(f"one {number}\n{number}", "eins") for number in range(9)]


def test_a_file_with_another_separator_has_only_bad_rows(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.tsv", "a;b\n" * 5, None)
    assert [row.problem for row in rows] == ["wrong number of columns"] * 5


def test_sentences_in_quotes_under_a_plain_header_are_text(tmp_path: Path) -> None:
    assert pairs(read(tmp_path, "a.tsv", "en\tde\n" + '"Yes."\t"Ja."\n' * 9)) == [('"Yes."', '"Ja."')] * 9
    quoted = read(tmp_path, "a.tsv", '"en"\t"de"\n' + '"Yes."\t"Ja."\n' * 9)
    assert pairs(quoted) == [("Yes.", "Ja.")] * 9


def test_lines_with_commas_inside_a_quoted_field_of_csv_are_no_rows(tmp_path: Path) -> None:
    assert pairs(read(tmp_path, "a.csv", 'en,de\n"Yes, sir\nno",Ja nein\n')) == [("Yes, sir\nno", "Ja nein")]


@pytest.mark.parametrize("suffix", SEPARATORS)
def test_a_line_that_is_no_text_ends_an_open_quote_and_is_counted(tmp_path: Path, suffix: str) -> None:
    separator = SEPARATORS[suffix].encode()
    (tmp_path / f"a{suffix}").write_bytes(b'en|de\na|b\n"c\n\xff\nd"|e\nf|g\n'.replace(b"|", separator))
    rows = list(read_files([tmp_path / f"a{suffix}"], EN_DE))
    assert [row.line for row in rows] == [2, 3, 4, 5, 6]
    assert rows[2].problem == "not UTF-8"


def test_many_open_quotes_are_read_in_a_moment(tmp_path: Path) -> None:
    lines = [f'"open {number}\t"{"x" * 1_000}' for number in range(3_000)]
    assert len(pairs(read(tmp_path, "a.tsv", "\n".join(lines), None))) == 3_000
