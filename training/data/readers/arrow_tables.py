"""Rows of Parquet files and of datasets on the Hub, both of which are Arrow tables."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .rows import NOT_TEXT, ColumnNames, Row, decode
from .tables import TRANSLATION

ARROW_BATCH_ROWS = 1024


def read_parquet(path: Path, columns: ColumnNames | None) -> Iterator[Row]:
    """Rows of a Parquet file, which holds the columns itself or inside a `translation`."""
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
    table = hub_table(dataset, split, subset, revision)
    place = f"{dataset} ({split})"
    leaves = _leaves(table.features.arrow_schema, columns, place)
    return _rows_of_arrow(table.with_format("arrow").iter(ARROW_BATCH_ROWS), leaves, place)


def hub_table(
    dataset: str, split: str, subset: str | None, revision: str | None = None, streaming: bool = False
) -> Any:
    """A dataset of `datasets`, with arguments and errors as of `read_hub`; its iterable kind for `streaming`."""
    from datasets import load_dataset

    try:
        return load_dataset(dataset, subset, split=split, revision=revision, streaming=streaming)
    except Exception as error:  # readers of all its formats, each with errors of its own: StopIteration among them
        reason = str(error) or repr(error)
        raise ValueError(
            f"{dataset} ({split}) cannot be loaded: {reason}; check id, subset, split and the network"
        ) from error


def rows_of_stream(table: Any, columns: ColumnNames, place: str) -> Iterator[Row]:
    """Rows of an iterable dataset, whose columns may be unknown until the first of them is read."""
    batches = _until_lost(table.with_format("arrow").iter(ARROW_BATCH_ROWS), place)
    for first in itertools.islice(batches, 1):
        yield from _rows_of_arrow(itertools.chain([first], batches), _leaves(first.schema, columns, place), place)


def _until_lost(batches: Iterable[Any], place: str) -> Iterator[Any]:
    try:
        yield from batches
    except Exception as error:  # of the network, and of readers of all formats, each with errors of its own
        raise ValueError(
            f"{place} cannot be read further: {str(error) or repr(error)}; check the network, and go on with --resume"
        ) from error


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
        if not _holds_text(fields[name]):
            raise ValueError(f"{place}: column {name!r} holds {fields[name]}; name a column of text")
    return [[*outer, name] for name in columns]


def _holds_text(kind: Any) -> bool:
    """Return whether a type of Arrow is one in which pandas, Polars, Spark or Arrow itself write text.

    Bytes are: some writers of Parquet do not mark text as such, and what is not UTF-8 is found row by row. So is a
    column without any value, which has no type.
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


def _rows_of_arrow(batches: Iterable[Any], leaves: list[list[str]], place: str) -> Iterator[Row]:
    line = 0
    for batch in batches:
        for raw_source, raw_target in zip(*(_column_bytes(batch, leaf) for leaf in leaves), strict=True):
            line += 1
            if raw_source is None or raw_target is None:
                yield Row(None, None, place, line, NOT_TEXT)
                continue
            (source, source_problem), (target, target_problem) = decode(raw_source), decode(raw_target)
            yield Row(source, target, place, line, source_problem or target_problem)


def _column_bytes(batch: Any, leaf: list[str]) -> list[bytes | None]:
    """A text column as raw bytes: converting to `str` would fail on the whole batch for one bad row."""
    import pyarrow
    import pyarrow.compute

    column = batch.column(leaf[0])
    for name in leaf[1:]:
        column = pyarrow.compute.struct_field(column, name)
    return _as_bytes(column).to_pylist()


def _as_bytes(column: Any) -> Any:
    """Return a column of any type that `_holds_text` knows with its values as plain bytes."""
    import pyarrow
    import pyarrow.compute

    if isinstance(column.type, pyarrow.BaseExtensionType):
        return _as_bytes(column.storage)
    if pyarrow.types.is_dictionary(column.type):
        return _as_bytes(column.dictionary_decode())
    if pyarrow.types.is_run_end_encoded(column.type):
        return _as_bytes(pyarrow.compute.run_end_decode(column))
    return column.cast(pyarrow.large_binary())
