"""Define the row that readers yield, and its possible problems."""

from typing import NamedTuple

NOT_UTF8 = "not UTF-8"
EMPTY_LINE = "empty line"
WRONG_COLUMN_COUNT = "wrong number of columns"
BROKEN_JSON = "broken JSON"
MISSING_COLUMN = "missing column"
NOT_TEXT = "value is not text"

# A file without line ends, or a stray quote, must not load gigabytes into memory as one sentence.
LONGEST_LINE = 1_000_000
TOO_LONG = f"longer than {LONGEST_LINE:,} bytes"


class Line(NamedTuple):
    """A line of a file: its number and its text, or its problem."""

    number: int
    text: str | None
    problem: str | None = None


class Row(NamedTuple):
    """A sentence pair with its location (`line` counts from 1) and its problem, if any."""

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
    """Return the text of a line or value, or None and its problem."""
    if len(raw) > LONGEST_LINE:
        return None, TOO_LONG
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError:
        return None, NOT_UTF8


def is_unicode(text: str) -> bool:
    """Return whether `text` can be written as UTF-8: it has no lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
