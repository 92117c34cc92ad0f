"""Read rows of text tables: TSV, CSV and JSONL."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .delimited import COMMA, SAMPLE_LINES, TAB, Record, read_records
from .rows import BROKEN_JSON, EMPTY_LINE, MISSING_COLUMN, NOT_TEXT, WRONG_COLUMN_COUNT, ColumnNames, Row, decode
from .text_files import raw_lines, text_lines

# Column of Hub datasets that maps language codes to sentences.
TRANSLATION = "translation"


def read_tsv(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """Yield the rows of a TSV file; the first two fields are the pair unless `columns` are named in a header."""
    return _read_columns(path, TAB, columns)


def read_csv(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """Yield the rows of a CSV file (RFC 4180), with columns as in `read_tsv`."""
    return _read_columns(path, COMMA, columns)


def _read_columns(path: Path, separator: str, columns: ColumnNames | None) -> Iterator[Row]:
    """Yield two columns. A row wider or narrower than others has a stray separator, so its columns are uncertain."""
    layout, records = read_records(text_lines(path), separator, columns is not None)
    source_column, target_column = 0, 1
    if columns is not None:
        header = next(records, Record(0, [], EMPTY_LINE))
        if header.problem is not None:
            raise ValueError(
                f"{path}: {header.problem} where the header should be; the first line must name the columns"
            )
        source_column, target_column = (_position(name, header.fields, path) for name in columns)
    for line, fields, problem in records:
        if problem is None and len(fields) != layout.width:
            problem = WRONG_COLUMN_COUNT
        if problem is None:
            yield Row(fields[source_column], fields[target_column], str(path), line)
        else:
            yield Row(None, None, str(path), line, problem)


def _position(name: str, names: list[str], path: Path) -> int:
    if names.count(name) != 1:
        fault = "no" if name not in names else "more than one"
        raise ValueError(f"{path} has {fault} column {name!r}; its columns are {', '.join(map(repr, names))}")
    return names.index(name)


def read_jsonl(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """Yield the rows of a file with a JSON object in each line, with columns at top level or inside a `translation`."""
    assert columns is not None, "read_files checks this"
    lines = enumerate(raw_lines(path), 1)
    sample = list(itertools.islice(lines, SAMPLE_LINES))
    _check_keys(path, [raw for _, raw in sample], columns)
    for line, raw in itertools.chain(sample, lines):
        source, target, problem = _pair_of_json(raw, columns)
        yield Row(source, target, str(path), line, problem)


def _check_keys(path: Path, sample: list[bytes], columns: ColumnNames) -> None:
    """Raise a `ValueError` that names the columns of a file if none of its first rows has the two that are read."""
    if not sample or any(_pair_of_json(raw, columns)[2] != MISSING_COLUMN for raw in sample):
        return
    record = json.loads(sample[0])
    record = record.get(TRANSLATION, record) if isinstance(record, dict) else record
    there = f"its columns are {', '.join(map(repr, record))}" if isinstance(record, dict) else "its rows are no objects"
    raise ValueError(f"{path} has no columns {columns.source!r} and {columns.target!r}; {there}: name two of them")


def _pair_of_json(raw: bytes, columns: ColumnNames) -> tuple[str | None, str | None, str | None]:
    """Return source, target and problem of one line."""
    text, problem = decode(raw)
    if text is None:
        return None, None, problem
    if not text.strip():
        return None, None, EMPTY_LINE
    try:
        record: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None, None, BROKEN_JSON
    if isinstance(record, dict) and not all(name in record for name in columns):
        record = record.get(TRANSLATION)
    if not isinstance(record, dict) or not all(name in record for name in columns):
        return None, None, MISSING_COLUMN
    source, target = record[columns.source], record[columns.target]
    if not isinstance(source, str) or not isinstance(target, str):
        return None, None, NOT_TEXT
    return source, target, None
