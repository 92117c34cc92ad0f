"""Reading sentence pairs: every layout gives the same rows, and every fault is named with its location."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from sineformer.training.data.readers.arrow_tables import read_hub
from sineformer.training.data.readers.rows import ColumnNames, Row
from sineformer.training.data.readers.sources import read_files, read_pairs

ENGLISH = ["A dog runs.", 'He says "yes",\tor no.', "Line\u2028separator\x0b\x85 inside.", " Last one  "]
GERMAN = ["Ein Hund läuft.", "Er sagt „ja“, oder nein.", "Zeilentrenner darin.", "Das letzte"]
PLAIN = [(source.replace("\t", " "), target) for source, target in zip(ENGLISH, GERMAN, strict=True)]
EN_DE = ColumnNames("en", "de")


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def pairs(rows: list[Row]) -> list[tuple[str | None, str | None]]:
    assert all(row.problem is None for row in rows), rows
    return [(row.source, row.target) for row in rows]


def problems(rows: list[Row]) -> dict[int, str]:
    return {row.line: row.problem for row in rows if row.problem}


def as_csv(rows: list[tuple[str, str]], header: str) -> str:
    return header + "".join('"{}","{}"\n'.format(*(side.replace('"', '""') for side in row)) for row in rows)


def as_jsonl(rows: list[tuple[str, str]]) -> str:
    return "".join(json.dumps({"id": 7, "de": target, "en": source}) + "\n" for source, target in rows)


TABLES = {
    "pairs.tsv": "id\tde\ten\n" + "".join(f"7\t{target}\t{source}\n" for source, target in PLAIN),
    "pairs.csv": as_csv(PLAIN, "en,de\n"),
    "pairs.jsonl": as_jsonl(PLAIN),
    "translation.jsonl": "".join(json.dumps({"translation": {"en": s, "de": t}}) + "\n" for s, t in PLAIN),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_parallel_files_pair_up_line_by_line_at_newlines_only(
    tmp_path: Path, suffix: str, newline: str, mark: str
) -> None:
    english = write(tmp_path / f"train.en{suffix}", mark + newline.join(ENGLISH))
    german = write(tmp_path / f"train.de{suffix}", newline.join(GERMAN) + newline)
    rows = list(read_files([english, german]))
    assert pairs(rows) == list(zip(ENGLISH, GERMAN, strict=True))
    assert [(row.file, row.line) for row in rows] == [(str(english), line) for line in (1, 2, 3, 4)]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_named_columns_are_found_in_every_text_table(tmp_path: Path, name: str, suffix: str, newline: str) -> None:
    file = write(tmp_path / (name + suffix), "\ufeff" + TABLES[name].replace("\n", newline))
    rows = list(read_files([file], EN_DE))
    assert pairs(rows) == PLAIN
    first = 1 if "jsonl" in name else 2
    assert [row.line for row in rows] == list(range(first, first + len(PLAIN)))


@pytest.mark.parametrize(("name", "separator"), [("pairs.tsv", "\t"), ("pairs.csv", ",")])
def test_without_column_names_the_first_two_columns_of_every_line_are_the_pair(
    tmp_path: Path, name: str, separator: str
) -> None:
    file = write(tmp_path / name, f"Yes.{separator}Ja.{separator}note\nNo.{separator}Nein.{separator}note\n")
    assert pairs(list(read_files([file]))) == [("Yes.", "Ja."), ("No.", "Nein.")]


def test_a_quoted_csv_field_may_span_lines_and_counts_as_its_first(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.csv", 'en,de\n"two\nlines",zwei\nnext,nächste\n')
    rows = list(read_files([file], EN_DE))
    assert pairs(rows) == [("two\nlines", "zwei"), ("next", "nächste")]
    assert [row.line for row in rows] == [2, 4]


def test_several_table_files_are_read_one_after_another(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.jsonl", TABLES["pairs.jsonl"]), write(tmp_path / "b.csv", TABLES["pairs.csv"])]
    rows = list(read_files(files, EN_DE))
    assert pairs(rows) == PLAIN * 2
    assert [row.file for row in rows] == [str(files[0])] * 4 + [str(files[1])] * 4


def test_pairs_of_text_files_and_tables_are_read_one_after_another_and_twice_if_given_twice(tmp_path: Path) -> None:
    english, german = write(tmp_path / "a.en", "One.\nTwo.\n"), write(tmp_path / "a.de", "Eins.\nZwei.\n")
    more = [write(tmp_path / "b.en", "Three.\n"), write(tmp_path / "b.de.gz", "Drei.\n")]
    table = write(tmp_path / "c.jsonl", TABLES["pairs.jsonl"])
    rows = list(read_files([english, german, table, *more, english, german], EN_DE))
    first, second = [("One.", "Eins."), ("Two.", "Zwei.")], [("Three.", "Drei.")]
    assert pairs(rows) == [*first, *PLAIN, *second, *first]
    assert [(Path(row.file).name, row.line) for row in rows if "jsonl" not in row.file] == [
        *(("a.en", 1), ("a.en", 2), ("b.en", 1), ("a.en", 1), ("a.en", 2)),
    ]


def test_unequal_files_are_named_among_several_pairs(tmp_path: Path) -> None:
    files = [write(tmp_path / name, text) for name, text in (("a.en", "1\n"), ("a.de", "1\n"), ("b.en", "1\n"))]
    files.append(write(tmp_path / "b.de", "1\n2\n"))
    with pytest.raises(ValueError, match=r"b\.en has 1 lines and .*b\.de has 2"):
        list(read_files(files))


@pytest.mark.parametrize("translation", [False, True])
def test_parquet_gives_named_columns_and_translation_rows(tmp_path: Path, translation: bool) -> None:
    columns = [{"en": source, "de": target, "id": 7} for source, target in PLAIN]
    table = pyarrow.Table.from_pylist([{"translation": row} for row in columns] if translation else columns)
    parquet.write_table(table, tmp_path / "pairs.parquet", row_group_size=3)
    rows = list(read_files([tmp_path / "pairs.parquet"], EN_DE))
    assert pairs(rows) == PLAIN
    assert [row.line for row in rows] == [1, 2, 3, 4]


def test_pairs_in_memory_become_rows_with_their_number() -> None:
    assert list(read_pairs([("Yes.", "Ja.")], "in memory")) == [Row("Yes.", "Ja.", "in memory", 1)]


def test_a_line_that_is_not_utf8_is_marked_and_the_lines_around_it_survive(tmp_path: Path) -> None:
    english = write(tmp_path / "a.en", b"one\ntw\xff\nthree\nfour\n")
    german = write(tmp_path / "a.de", b"eins\nzwei\ndr\xe9i\nvier\n")
    rows = list(read_files([english, german]))
    assert [(row.file, row.line, row.problem) for row in rows if row.problem] == [
        (str(english), 2, "not UTF-8"),
        (str(german), 3, "not UTF-8"),
    ]
    assert pairs([rows[0], rows[3]]) == [("one", "eins"), ("four", "vier")]


@pytest.mark.parametrize(("name", "separator"), [("pairs.tsv", b"\t"), ("pairs.csv", b",")])
def test_bad_rows_of_a_table_are_marked_one_by_one(tmp_path: Path, name: str, separator: bytes) -> None:
    lines = [b"en,de", b"a,b", b"\xff,b", b"", b"a,b,c", b"a", b"c,d"]
    file = write(tmp_path / name, b"\n".join(lines).replace(b",", separator))
    rows = list(read_files([file], EN_DE))
    wrong = "wrong number of columns"
    assert problems(rows) == {3: "not UTF-8", 4: "empty line", 5: wrong, 6: wrong}
    assert pairs([row for row in rows if not row.problem]) == [("a", "b"), ("c", "d")]


def test_a_column_of_text_is_read_in_every_form_that_writers_give_it(tmp_path: Path) -> None:
    texts, raw = ["a", "ä"], [b"a", "ä".encode()]
    forms = {
        **{str(kind): pyarrow.array(texts, kind) for kind in (pyarrow.string(), pyarrow.large_string())},
        **{str(kind): pyarrow.array(raw, kind) for kind in (pyarrow.binary(), pyarrow.large_binary())},
        **{
            "string_view": pyarrow.array(texts, pyarrow.string_view()),
            "bytes": pyarrow.array(raw, pyarrow.binary_view()),
        },
        "categorical": pyarrow.array(texts).dictionary_encode(),
        "large categorical": pyarrow.array(texts, pyarrow.large_string()).dictionary_encode(),
        "extension": pyarrow.ExtensionArray.from_storage(pyarrow.json_(pyarrow.string()), pyarrow.array(texts)),
    }
    for number, (form, column) in enumerate(forms.items()):
        nested = pyarrow.StructArray.from_arrays([column, column], ["en", "de"])
        for table in (pyarrow.table({"en": column, "de": column}), pyarrow.table({"translation": nested})):
            parquet.write_table(table, tmp_path / f"{number}.parquet")
            rows = list(read_files([tmp_path / f"{number}.parquet"], EN_DE))
            assert pairs(rows) == [("a", "a"), ("ä", "ä")], form


def test_bad_values_of_categories_and_bytes_and_columns_without_any_are_marked(tmp_path: Path) -> None:
    categories = pyarrow.DictionaryArray.from_arrays([0, None, 1], ["a", "b"])
    table = pyarrow.table({"en": categories, "de": [b"x", b"y", b"\xff"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert problems(list(read_files([tmp_path / "a.parquet"], EN_DE))) == {2: "value is not text", 3: "not UTF-8"}
    parquet.write_table(pyarrow.table({"en": ["a"], "de": pyarrow.nulls(1)}), tmp_path / "b.parquet")
    assert problems(list(read_files([tmp_path / "b.parquet"], EN_DE))) == {1: "value is not text"}
    numbers = pyarrow.table({"en": ["a"], "de": pyarrow.array([7]).dictionary_encode()})
    parquet.write_table(numbers, tmp_path / "c.parquet")
    with pytest.raises(ValueError, match="column 'de' holds int64"):
        list(read_files([tmp_path / "c.parquet"], EN_DE))


def test_bad_json_lines_are_marked_one_by_one(tmp_path: Path) -> None:
    lines = [
        b'{"en": "a", "de": "b"}',
        b'{"en": "a"',
        b'{"en": "a"}',
        b'{"en": "a", "de": null}',
        b'["a", "b"]',
        b'{"en": "\xff", "de": "b"}',
        b"",
        b'{"translation": {"en": "a", "fr": "b"}}',
        b"[" * 100_000,
    ]
    rows = list(read_files([write(tmp_path / "a.jsonl", b"\n".join(lines))], EN_DE))
    broken, missing = "broken JSON", "missing column"
    wanted = {2: broken, 3: missing, 4: "value is not text", 5: missing, 6: "not UTF-8", 7: "empty line"}
    assert problems(rows) == wanted | {8: missing, 9: broken}


def test_bad_parquet_rows_are_marked_one_by_one(tmp_path: Path) -> None:
    english = pyarrow.array([b"a", b"\xff", b"c", None, b"e"], pyarrow.binary()).view(pyarrow.string())
    table = pyarrow.table({"en": english, "de": ["x", "y", "z", "w", None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    rows = list(read_files([tmp_path / "a.parquet"], EN_DE))
    assert problems(rows) == {2: "not UTF-8", 4: "value is not text", 5: "value is not text"}
    assert pairs([rows[0], rows[2]]) == [("a", "x"), ("c", "z")]


def test_parallel_files_of_unequal_length_are_refused_with_both_counts(tmp_path: Path) -> None:
    english, german = write(tmp_path / "a.en", "1\n2\n3\n4\n"), write(tmp_path / "a.de", "1\n2\n")
    with pytest.raises(ValueError, match=r"a\.en has 4 lines and .*a\.de has 2"):
        list(read_files([english, german]))
    with pytest.raises(ValueError, match=r"a\.de has 2 lines and .*a\.en has 4"):
        list(read_files([german, english]))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["absent.en", "a.de"], r"absent\.en: no such file"),
        ([], "no files: the format is unknown"),
        (["a.de"], "two parallel text files"),
        (["a.de", "b.de", "c.de"], "two parallel text files"),
        (["a.de", "a.jsonl"], "two parallel text files"),
        (["a.jsonl", "a.de"], "two parallel text files"),
        (["a.de", "a.jsonl", "b.de"], "two parallel text files"),
        (["a.en", "a.de", "b.en"], r"a\.en, .*a\.de, .*b\.en: the format is unknown; .* or several such pairs"),
        (["a.json"], r"ending in \.tsv, \.csv, \.jsonl, \.parquet"),
        (["a.json", "b.json"], r"ending in \.tsv, \.csv, \.jsonl, \.parquet"),
        (["a.parquet.gz"], r"all but \.parquet"),
        (["a.jsonl"], r"a\.jsonl: \.jsonl rows have named columns"),
    ],
)
def test_files_that_make_no_pairs_are_refused_before_reading(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        if name != "absent.en":
            write(tmp_path / name, "x\n")
    with pytest.raises(ValueError, match=message):
        read_files([tmp_path / name for name in names])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "en,fr\na,b\n", r"a\.csv has no column 'de'; its columns are 'en', 'fr'"),
        ("a.tsv", "en\tde\ten\n", "more than one column 'en'"),
        ("a.tsv", "\nx\ty\n", "empty line where the header should be"),
        ("a.tsv", b"\xff\xfe" + "en\tde\n".encode("utf-16-le"), "UTF-16"),
        ("a.tsv", b"\xfe\xff" + "en\tde\n".encode("utf-16-be"), "UTF-16"),
        ("a.parquet", "not parquet", r"a\.parquet is not a readable Parquet file"),
    ],
)
def test_a_table_without_the_named_columns_is_refused(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    file = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        list(read_files([file], EN_DE))


def test_parquet_columns_must_be_there_and_hold_text(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"en": ["a"], "de": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="column 'de' holds int64"):
        list(read_files([tmp_path / "a.parquet"], EN_DE))
    with pytest.raises(ValueError, match="no column 'fr'"):
        list(read_files([tmp_path / "a.parquet"], ColumnNames("en", "fr")))


def test_a_damaged_archive_is_refused_by_name(tmp_path: Path) -> None:
    complete = gzip.compress(b"a\tb\n" * 1000)
    for name, content in {"cut.tsv.gz": complete[:-20], "other.tsv.gz": b"plain text"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} cannot be read"):
            list(read_files([tmp_path / name]))


def test_files_are_read_as_rows_are_asked_for(tmp_path: Path) -> None:
    english, german = write(tmp_path / "a.en", "1\n" * 10), write(tmp_path / "a.de", "1\n" * 9)
    rows = read_files([english, german])
    assert [next(rows).line for _ in range(9)] == list(range(1, 10))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl", "translation.jsonl"])
def test_a_dataset_folder_is_read_by_split(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / name.replace("pairs", "train").replace("translation", "train"), TABLES[name])
    rows = list(read_hub(str(folder), EN_DE))
    assert pairs(rows) == PLAIN
    assert rows[1] == Row(*PLAIN[1], f"{folder} (train)", 2)
    assert pairs(list(read_hub(str(folder), EN_DE, split="train[2:]"))) == PLAIN[2:]


@pytest.mark.usefixtures("hub_cache")
def test_faults_of_a_hub_dataset_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "train.csv", TABLES["pairs.csv"])
    with pytest.raises(ValueError, match=r"nobody/nothing \(train\) cannot be loaded"):
        read_hub("nobody/nothing", EN_DE)
    with pytest.raises(ValueError, match=r"\(validation\) cannot be loaded"):
        read_hub(str(folder), EN_DE, split="validation")
    with pytest.raises(ValueError, match="has no column 'fr'"):
        read_hub(str(folder), ColumnNames("en", "fr"))
