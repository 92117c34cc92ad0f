"""Read rows of Parquet files and of Hub datasets, which are both Arrow tables."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .rows import NOT_TEXT, ColumnNames, Row, decode
from .tables import TRANSLATION

ARROW_BATCH_ROWS = 1024


def read_parquet(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """Yield the rows of a Parquet file, whose columns are at top level or inside a `translation`."""
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
    """Return the rows of a Hub dataset, or of a local folder that `datasets.load_dataset` can read.

    Args:
        dataset: Hub id, or path of a folder.
        columns: the two columns, or the two languages of a `translation` column.
        split: name of a split, also with a slice: `"train[:1000]"`.
        subset: configuration of a dataset that has several, such as `"de-en"`.
        revision: branch, tag or commit.

    Raises:
        ValueError: the dataset, subset or split does not exist or cannot be loaded, or has no such columns.
    """
    table = hub_table(dataset, split, subset, revision)
    location = f"{dataset} ({split})"
    leaves = _leaves(table.features.arrow_schema, columns, location)
    return _rows_of_arrow(table.with_format("arrow").iter(ARROW_BATCH_ROWS), leaves, location)


def hub_table(
    dataset: str, split: str, subset: str | None, revision: str | None = None, streaming: bool = False
) -> Any:
    """Load a dataset, with arguments and errors as in `read_hub`; an iterable dataset for `streaming`."""
    from datasets import load_dataset

    try:
        return load_dataset(dataset, subset, split=split, revision=revision, streaming=streaming)
    except Exception as error:  # each format has its own errors, StopIteration among them
        reason = str(error) or repr(error)
        raise ValueError(
            f"{dataset} ({split}) cannot be loaded: {reason}; check id, subset, split and the network"
        ) from error


def rows_of_stream(table: Any, columns: ColumnNames, location: str) -> Iterator[Row]:
    """Yield the rows of an iterable dataset, whose columns may be unknown until the first batch is read."""
    batches = _with_clear_errors(table.with_format("arrow").iter(ARROW_BATCH_ROWS), location)
    for first in itertools.islice(batches, 1):
        leaves = _leaves(first.schema, columns, location)
        yield from _rows_of_arrow(itertools.chain([first], batches), leaves, location)


def _with_clear_errors(batches: Iterable[Any], location: str) -> Iterator[Any]:
    try:
        yield from batches
    except Exception as error:  # of the network, and of each format
        raise ValueError(
            f"{location} cannot be read further: {str(error) or repr(error)}; check the network, resume with --resume"
        ) from error


def _leaves(schema: Any, columns: ColumnNames, location: str) -> list[list[str]]:
    """Return the paths in an Arrow schema of the source and the target column, which must hold text."""
    import pyarrow

    outer: list[str] = []
    fields = {field.name: field.type for field in schema}
    translation = fields.get(TRANSLATION)
    if not all(name in fields for name in columns) and translation is not None and pyarrow.types.is_struct(translation):
        outer, fields = [TRANSLATION], {field.name: field.type for field in translation}
    for name in columns:
        if name not in fields:
            raise ValueError(f"{location} has no column {name!r}; its columns are {', '.join(map(repr, fields))}")
        if not _holds_text(fields[name]):
            raise ValueError(f"{location}: column {name!r} holds {fields[name]}; name a column of text")
    return [[*outer, name] for name in columns]


def _holds_text(kind: Any) -> bool:
    """Return whether pandas, Polars, Spark or Arrow write text as this type of Arrow.

    Bytes are included, because some writers of Parquet do not mark text; bad UTF-8 is found row by row. So is the type
    of a column without any value.
    """
    import pyarrow

    types = pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _holds_text(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _holds_text(kind.value_type)
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    others = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_null)
    return any(is_of_kind(kind) for is_of_kind in (*texts, *others))


def _rows_of_arrow(batches: Iterable[Any], leaves: list[list[str]], location: str) -> Iterator[Row]:
    line = 0
    for batch in batches:
        for raw_source, raw_target in zip(*(_column_bytes(batch, leaf) for leaf in leaves), strict=True):
            line += 1
            if raw_source is None or raw_target is None:
                yield Row(None, None, location, line, NOT_TEXT)
                continue
            (source, source_problem), (target, target_problem) = decode(raw_source), decode(raw_target)
            yield Row(source, target, location, line, source_problem or target_problem)


def _column_bytes(batch: Any, leaf: list[str]) -> list[bytes | None]:
    """Return a text column as raw bytes: with `str`, one bad row would fail the complete batch."""
    import pyarrow
    import pyarrow.compute

    column = batch.column(leaf[0])
    for name in leaf[1:]:
        column = pyarrow.compute.struct_field(column, name)
    return _as_bytes(column).to_pylist()


def _as_bytes(column: Any) -> Any:
    """Return a column of a type that `_holds_text` accepts, converted to plain bytes."""
    import pyarrow
    import pyarrow.compute

    if isinstance(column.type, pyarrow.BaseExtensionType):
        return _as_bytes(column.storage)
    if pyarrow.types.is_dictionary(column.type):
        return _as_bytes(column.dictionary_decode())
    if pyarrow.types.is_run_end_encoded(column.type):
        return _as_bytes(pyarrow.compute.run_end_decode(column))
    return column.cast(pyarrow.large_binary())
