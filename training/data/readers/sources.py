"""Select the reader of local files, and read them one `Row` at a time.

| Reader            | Files                                              | `line` counts   |
|-------------------|----------------------------------------------------|-----------------|
| `read_files`      | parallel text files, source then target, one line  | lines           |
|                   | per sentence; one pair of files or several         |                 |
|                   | `.tsv`, `.csv`, `.jsonl`, one file or several      | lines           |
|                   | `.parquet`, one file or several                    | rows            |
| `read_hub` (*)    | a dataset id, or a folder `load_dataset` can read  | rows            |
| `read_pairs`      | pairs already in memory                            | pairs           |

(*) in `arrow_tables`. `text_files` defines lines and compression of text files.

A fault of one row (bytes that are not UTF-8, broken JSON, a missing column) is in `Row.problem`, so that the cleaning
can count and report it. A fault of the complete file raises a `ValueError` that names the file and the fix.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from .arrow_tables import read_parquet
from .compressed import COMPRESSIONS
from .delimited import COMMA, TAB
from .headers import header_columns
from .rows import ColumnNames, Row, decode
from .tables import read_csv, read_jsonl, read_tsv
from .text_files import check_file, raw_lines

NOT_PARALLEL_TEXT = {".json", ".xml", ".tmx", ".xlsx", ".arrow", ".zip", ".tar", ".tgz", ".7z", ".lz4", ".lzma"}

Reader = Callable[[Path, ColumnNames | None], Iterator[Row]]
SEPARATORS = {".tsv": TAB, ".csv": COMMA}  # of tables that may lack a header
TABLE_READERS: dict[str, Reader] = {
    ".tsv": read_tsv,
    ".csv": read_csv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}


def read_pairs(pairs: Iterable[tuple[str, str]], name: str) -> Iterator[Row]:
    """Yield the rows of pairs in memory; `name` takes the place of the file name."""
    for line, (source, target) in enumerate(pairs, 1):
        yield Row(source, target, name, line)


def read_files(
    files: Sequence[str | Path], columns: ColumnNames | None = None, languages: ColumnNames | None = None
) -> Iterator[Row]:
    """Read files in order: each table is a part of the data, and so are two parallel text files (source first).

    A part that is given twice is read twice.

    With `columns`, the first line of TSV and CSV files is a header. Without them, a header must name the two languages;
    a file without a header has source and target in its first two columns. JSONL and Parquet need `columns`, or columns
    named as the languages, at top level or inside a `translation` mapping.

    Raises:
        ValueError: immediately for a missing or empty file, an unknown suffix, a text file without its other side,
            missing `columns`, or a header that does not say which columns to read; while reading for a header without
            the named columns, parallel files of unequal length, a damaged archive or a file that changes.
    """
    paths = [Path(file) for file in files]
    for path in paths:
        check_file(path)
    parts = _parts(paths)
    tables = {part[0]: _columns(part[0], columns, languages) for part in parts if len(part) == 1}
    return _read_parts(parts, tables)


def _parts(paths: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Return the parts of the data: a table alone, or two parallel text files."""
    parts, source = list[tuple[Path, ...]](), None
    for path in paths:
        is_table = _suffix(path) in TABLE_READERS
        if _suffix(path) in NOT_PARALLEL_TEXT or (is_table and source is not None):
            raise ValueError(_unknown_format(paths))
        if is_table:
            parts.append((path,))
        elif source is None:
            source = path
        else:
            parts.append((source, path))
            source = None
    if source is not None or not parts:
        raise ValueError(_unknown_format(paths))
    return parts


def _unknown_format(paths: Sequence[Path]) -> str:
    names = ", ".join(str(path) for path in paths) or "no files"
    return (
        f"{names}: the format is unknown; give two parallel text files (source, then target) or several such pairs, or "
        f"files ending in {', '.join(TABLE_READERS)} (all but .parquet also with {', '.join(COMPRESSIONS)})"
    )


def _suffix(path: Path) -> str:
    """Return the suffix of the format; `.parquet.gz` is unknown, because Parquet is compressed inside."""
    suffix = path.suffix.lower()
    if suffix not in COMPRESSIONS:
        return suffix
    inner = Path(path.stem).suffix.lower()
    return inner + suffix if inner == ".parquet" else inner


def _columns(path: Path, columns: ColumnNames | None, languages: ColumnNames | None) -> ColumnNames | None:
    """Return the columns of a table; None for the first two of a file without a header."""
    suffix = _suffix(path)
    if columns is None and suffix in SEPARATORS:
        return header_columns(path, SEPARATORS[suffix], languages)
    if columns is None and languages is None:
        raise ValueError(
            f"{path}: {suffix} rows have named columns; set source_column and target_column, or the languages that "
            "they are named after"
        )
    return columns or languages


def _read_parts(parts: list[tuple[Path, ...]], tables: dict[Path, ColumnNames | None]) -> Iterator[Row]:
    row = None
    for first, *target in parts:
        for row in _read_parallel(first, *target) if target else TABLE_READERS[_suffix(first)](first, tables[first]):
            yield row
    if row is None:
        raise ValueError(f"{', '.join(str(path) for path, *_ in parts)}: no rows; check how this file was made")


def _read_parallel(source_path: Path, target_path: Path) -> Iterator[Row]:
    source_lines, target_lines = raw_lines(source_path), raw_lines(target_path)
    line = 0
    for line, (raw_source, raw_target) in enumerate(zip_longest(source_lines, target_lines), 1):
        if raw_source is None or raw_target is None:
            total = line + sum(1 for _ in source_lines) + sum(1 for _ in target_lines)
            counts = (line - 1, total) if raw_source is None else (total, line - 1)
            raise ValueError(
                f"{source_path} has {counts[0]} lines and {target_path} has {counts[1]}; line n of one must translate "
                "line n of the other: give both files the same number of lines"
            )
        (source, source_problem), (target, target_problem) = decode(raw_source), decode(raw_target)
        path = target_path if target_problem and not source_problem else source_path
        yield Row(source, target, str(path), line, source_problem or target_problem)
    if not line:
        raise ValueError(f"{source_path} and {target_path} have no lines; check how they were made")
