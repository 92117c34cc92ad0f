"""Rows of text tables: TSV, CSV and JSONL."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .rows import (
    BROKEN_JSON,
    EMPTY_LINE,
    MISSING_COLUMN,
    NOT_TEXT,
    NOT_UTF8,
    WRONG_COLUMN_COUNT,
    ColumnNames,
    Row,
    decode,
    is_unicode,
)
from .text_files import raw_lines

# Datasets in the Hub's translation layout hold one mapping from language to sentence under this name.
TRANSLATION = "translation"

# A line of a table file: its number and its fields, or its number and what is wrong with it.
TableLine = tuple[int, list[str] | str]


def read_tsv(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """Rows of a file with fields between tabs; the first two are the pair unless `columns` are named in a header."""
    return _read_columns(_split_tsv(path), path, columns)


def read_csv(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """The same for fields between commas, as RFC 4180 has them."""
    return _read_columns(_split_csv(path), path, columns)


def _split_tsv(path: Path) -> Iterator[TableLine]:
    """Fields between tabs. Quotes are text here: TSV has no quoting, and sentences are full of quotes."""
    for line, raw in enumerate(raw_lines(path), 1):
        text, problem = decode(raw)
        yield line, text.split("\t") if text else problem or EMPTY_LINE


def _split_csv(path: Path) -> Iterator[TableLine]:
    """Fields as RFC 4180 has them; a quoted field may span lines, and the row counts as its first line."""
    # Escaped bytes cannot be mistaken for text later on, and keep one bad line from ending the whole file.
    reader = csv.reader((raw.decode("utf-8", "surrogateescape") + "\n" for raw in raw_lines(path)), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # An open quote has taken all these lines along: each of them is lost.
            yield from ((lost, f"broken CSV ({error})") for lost in range(line, reader.line_num + 1))
            continue
        if not all(is_unicode(field) for field in fields):
            yield line, NOT_UTF8
        else:
            yield line, fields or EMPTY_LINE


def _read_columns(lines: Iterator[TableLine], path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """Pick the two columns. A row wider or narrower than the first has a stray separator: no column of it is sure."""
    source_column, target_column, width = 0, 1, 0
    if columns is not None:
        _, header = next(lines, (0, EMPTY_LINE))
        if isinstance(header, str):
            raise ValueError(f"{path}: {header} where the header should be; the first line must name the columns")
        source_column, target_column = (_position(name, header, path) for name in columns)
        width = len(header)
    for line, fields in lines:
        if isinstance(fields, str):
            yield Row(None, None, str(path), line, fields)
            continue
        width = width or max(2, len(fields))
        if len(fields) != width:
            yield Row(None, None, str(path), line, WRONG_COLUMN_COUNT)
        else:
            yield Row(fields[source_column], fields[target_column], str(path), line)


def _position(name: str, names: list[str], path: Path) -> int:
    if names.count(name) != 1:
        fault = "no" if name not in names else "more than one"
        raise ValueError(f"{path} has {fault} column {name!r}; its columns are {', '.join(map(repr, names))}")
    return names.index(name)


def read_jsonl(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """Rows of a file with a JSON object in each line, which holds the columns itself or inside a `translation`."""
    assert columns is not None, "read_files checks this"
    for line, raw in enumerate(raw_lines(path), 1):
        source, target, problem = _pair_of_json(raw, columns)
        yield Row(source, target, str(path), line, problem)


def _pair_of_json(raw: bytes, columns: ColumnNames) -> tuple[str | None, str | None, str | None]:
    """Source, target and problem of one line."""
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
