"""One sentence pair as a reader finds it, and what can be wrong with it."""

from typing import NamedTuple

NOT_UTF8 = "not UTF-8"
EMPTY_LINE = "empty line"
WRONG_COLUMN_COUNT = "wrong number of columns"
BROKEN_JSON = "broken JSON"
MISSING_COLUMN = "missing column"
NOT_TEXT = "value is not text"

# A file without line ends, or a stray quote, must not pull gigabytes into memory as one sentence.
LONGEST_LINE = 1_000_000
TOO_LONG = f"longer than {LONGEST_LINE:,} bytes"


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


def decode(raw: bytes) -> tuple[str | None, str | None]:
    """The text of a line or of a value and, where that is None, what is wrong with it."""
    if len(raw) > LONGEST_LINE:
        return None, TOO_LONG
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError:
        return None, NOT_UTF8


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8, that is, holds no lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
