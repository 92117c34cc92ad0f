"""Sentence pairs from where they lie: local files and Hub datasets, read one `Row` at a time.

| Reader            | Files                                              | `line` counts   |
|-------------------|----------------------------------------------------|-----------------|
| `read_files`      | two parallel text files, one line per sentence     | lines           |
|                   | `.tsv`, `.csv`, `.jsonl`, one file or several      | lines           |
|                   | `.parquet`, one file or several                    | rows            |
| `read_hub`        | a dataset id, or a folder `load_dataset` can read  | rows            |
| `read_pairs`      | pairs already in memory                            | pairs           |

Text files may be gzipped (`.gz`). They are UTF-8, with or without a byte order mark; lines end in "\\n" or "\\r\\n"
and in nothing else, since the separators that `str.splitlines` knows occur inside sentences and would shift one side
against the other.

A fault of one row (bytes that are not UTF-8, broken JSON, a missing column) travels in `Row.problem`, so that the
cleaning can count and report it. A fault of a whole file raises a `ValueError` that names the file and the mend.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

NOT_UTF8 = "not UTF-8"
EMPTY_LINE = "empty line"
WRONG_COLUMN_COUNT = "wrong number of columns"
BROKEN_JSON = "broken JSON"
MISSING_COLUMN = "missing column"
NOT_TEXT = "value is not text"

# Datasets in the Hub's translation layout hold one mapping from language to sentence under this name.
TRANSLATION = "translation"
NOT_PARALLEL_TEXT = {".json", ".xml", ".tmx", ".xlsx", ".arrow", ".zip", ".tar", ".tgz", ".bz2", ".xz", ".zst"}
ARROW_BATCH_ROWS = 1024


class Row(NamedTuple):
    """A sentence pair as found, with its place (`line` counts from 1) and what is wrong with it, if anything."""

    source: str | None
    target: str | None
    file: str
    line: int
    problem: str | None = None


class ColumnNames(NamedTuple):
    """Names of the two columns, or the two languages of a `translation` column."""

    source: str
    target: str


Reader = Callable[[Path, "ColumnNames | None"], Iterator[Row]]


def read_pairs(pairs: Iterable[tuple[str, str]], name: str) -> Iterator[Row]:
    """Rows of pairs already in memory; `name` stands where a file name would."""
    for line, (source, target) in enumerate(pairs, 1):
        yield Row(source, target, name, line)


def read_files(files: Sequence[str | Path], columns: ColumnNames | None = None) -> Iterator[Row]:
    """Read two parallel text files (source first), or one or several table files one after another.

    Without `columns`, TSV and CSV files have no header and their first two columns are source and target; with
    `columns`, their first line is a header. JSONL and Parquet always need `columns`; rows hold them directly or
    inside a `translation` mapping.

    Raises:
        ValueError: at once, for a missing file, an unknown suffix, a wrong number of files or missing `columns`;
            while reading, for a header without the named columns, parallel files of unequal length or a damaged
            archive.
    """
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: no such file; check the path (relative paths start at the working directory)")
    suffixes = [_suffix(path) for path in paths]
    if paths and all(suffix in TABLE_READERS for suffix in suffixes):
        for path, suffix in zip(paths, suffixes, strict=True):
            if columns is None and suffix not in HEADERLESS:
                raise ValueError(f"{path}: {suffix} rows have named columns; name the source and the target column")
        return _read_tables(paths, columns)
    if len(paths) == 2 and not any(suffix in TABLE_READERS or suffix in NOT_PARALLEL_TEXT for suffix in suffixes):
        return _read_parallel(paths[0], paths[1])
    names = ", ".join(str(path) for path in paths) or "no files"
    raise ValueError(
        f"{names}: cannot tell how to read this; give two parallel text files (source, then target), or one or several "
        f"files ending in {', '.join(TABLE_READERS)} (all but .parquet also with .gz)"
    )


def _suffix(path: Path) -> str:
    """The suffix that tells the format; `.parquet.gz` stays unknown, Parquet being compressed inside."""
    if path.suffix != ".gz":
        return path.suffix
    inner = Path(path.stem).suffix
    return inner + ".gz" if inner == ".parquet" else inner


def _read_tables(paths: list[Path], columns: ColumnNames | None) -> Iterator[Row]:
    for path in paths:
        yield from TABLE_READERS[_suffix(path)](path, columns)


def _lines(path: Path) -> Iterator[bytes]:
    """Raw lines without their ends and without a byte order mark."""
    try:
        with cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream):
                if number == 0 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise ValueError(f"{path} is UTF-16; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
                if number == 0:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                yield raw.removesuffix(b"\n").removesuffix(b"\r")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); check the file, or fetch it again") from error


def _decode(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _read_parallel(source_path: Path, target_path: Path) -> Iterator[Row]:
    source_lines, target_lines = _lines(source_path), _lines(target_path)
    for line, (raw_source, raw_target) in enumerate(zip_longest(source_lines, target_lines), 1):
        if raw_source is None or raw_target is None:
            total = line + sum(1 for _ in source_lines) + sum(1 for _ in target_lines)
            counts = (line - 1, total) if raw_source is None else (total, line - 1)
            raise ValueError(
                f"{source_path} has {counts[0]} lines and {target_path} has {counts[1]}; line n of one must translate "
                "line n of the other: give both files as many lines"
            )
        source, target = _decode(raw_source), _decode(raw_target)
        place = source_path if source is None or target is not None else target_path
        yield Row(source, target, str(place), line, NOT_UTF8 if source is None or target is None else None)


# A line of a table file: its number and its fields, or its number and what is wrong with it.
TableLine = tuple[int, list[str] | str]


def _read_tsv(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    return _read_columns(_split_tsv(path), path, columns)


def _read_csv(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    return _read_columns(_split_csv(path), path, columns)


def _split_tsv(path: Path) -> Iterator[TableLine]:
    """Fields between tabs. Quotes are text here: TSV has no quoting, and sentences are full of quotes."""
    for line, raw in enumerate(_lines(path), 1):
        text = _decode(raw)
        if text is None:
            yield line, NOT_UTF8
        else:
            yield line, text.split("\t") if text else EMPTY_LINE


def _split_csv(path: Path) -> Iterator[TableLine]:
    """Fields as RFC 4180 has them; a quoted field may span lines, and the row counts as its first line."""
    # Escaped bytes cannot be mistaken for text later on, and keep one bad line from ending the whole file.
    reader = csv.reader((raw.decode("utf-8", "surrogateescape") + "\n" for raw in _lines(path)), strict=True)
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


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8, that is, holds no lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


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


def _read_jsonl(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    assert columns is not None, "read_files checks this"
    for line, raw in enumerate(_lines(path), 1):
        source, target, problem = _pair_of_json(raw, columns)
        yield Row(source, target, str(path), line, problem)


def _pair_of_json(raw: bytes, columns: ColumnNames) -> tuple[str | None, str | None, str | None]:
    """Source, target and problem of one line."""
    text = _decode(raw)
    if text is None:
        return None, None, NOT_UTF8
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


def _read_parquet(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    assert columns is not None, "read_files checks this"
    try:
        with parquet.ParquetFile(path) as file:
            leaves = _leaves(file.schema_arrow, columns, str(path))
            batches = file.iter_batches(ARROW_BATCH_ROWS, columns=[".".join(leaf) for leaf in leaves])
            yield from _rows_of_arrow(batches, leaves, str(path))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file ({error}); write it again") from error


def read_hub(
    dataset: str, columns: ColumnNames, split: str = "train", subset: str | None = None, revision: str | None = None
) -> Iterator[Row]:
    """Rows of a dataset on the Hub, or of a local folder in a layout that `datasets.load_dataset` understands.

    Args:
        dataset: Hub id, or path of a folder.
        columns: the two columns, or the two languages of a `translation` column.
        split: a split name, also with a slice: `"train[:1000]"`.
        subset: the configuration of datasets that have several, such as `"de-en"`.
        revision: branch, tag or commit.

    Raises:
        ValueError: the dataset, subset or split does not exist or cannot be reached, or has no such columns.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    place = f"{dataset} ({split})"
    try:
        table = load_dataset(dataset, subset, split=split, revision=revision)
    except (DatasetsError, OSError, ValueError) as error:
        raise ValueError(f"{place} cannot be loaded: {error}; check id, subset, split and the network") from error
    leaves = _leaves(table.features.arrow_schema, columns, place)
    return _rows_of_arrow(table.with_format("arrow").iter(ARROW_BATCH_ROWS), leaves, place)


def _leaves(schema: Any, columns: ColumnNames, place: str) -> list[list[str]]:
    """Path from the Arrow schema's root to the source column and to the target column, which must hold text."""
    import pyarrow

    outer: list[str] = []
    fields = {field.name: field.type for field in schema}
    translation = fields.get(TRANSLATION)
    if not all(name in fields for name in columns) and translation is not None and pyarrow.types.is_struct(translation):
        outer, fields = [TRANSLATION], {field.name: field.type for field in translation}
    for name in columns:
        if name not in fields:
            raise ValueError(f"{place} has no column {name!r}; its columns are {', '.join(map(repr, fields))}")
        if not pyarrow.types.is_string(fields[name]) and not pyarrow.types.is_large_string(fields[name]):
            raise ValueError(f"{place}: column {name!r} holds {fields[name]}; name a column of text")
    return [[*outer, name] for name in columns]


def _rows_of_arrow(batches: Iterable[Any], leaves: list[list[str]], place: str) -> Iterator[Row]:
    line = 0
    for batch in batches:
        for raw_source, raw_target in zip(*(_column_bytes(batch, leaf) for leaf in leaves), strict=True):
            line += 1
            if raw_source is None or raw_target is None:
                yield Row(None, None, place, line, NOT_TEXT)
                continue
            source, target = _decode(raw_source), _decode(raw_target)
            yield Row(source, target, place, line, NOT_UTF8 if source is None or target is None else None)


def _column_bytes(batch: Any, leaf: list[str]) -> list[bytes | None]:
    """A text column as raw bytes: converting to `str` would fail on the whole batch for one bad row."""
    import pyarrow
    import pyarrow.compute

    column = batch.column(leaf[0])
    for name in leaf[1:]:
        column = pyarrow.compute.struct_field(column, name)
    return column.cast(pyarrow.large_binary()).to_pylist()


HEADERLESS = {".tsv", ".csv"}
TABLE_READERS: dict[str, Reader] = {
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
