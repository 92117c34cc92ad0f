"""Split the lines of TSV and CSV files into fields, with or without quoting.

In CSV a field between quotes is quoted: its own quotes are doubled, and it may contain separators and line ends
(RFC 4180). pandas, Polars, R and others write TSV in the same way and quote the fields that need it. But most TSV of
parallel text has no quoting, and many quotes in its sentences. So a field of TSV is quoted only if

- it is closed and every quote inside is doubled, and
- it contains a quote, a tab or a line end, or (nearly) every field of the file is quoted: a field "Yes." in quotes is a
  sentence in quotes, which a writer that quotes would have written with three quotes on each side.

An unclosed quote makes its line bad, or in TSV is text, and reading continues at the next line: a stray quote must not
swallow the lines after it. If a closing quote follows later by chance, the lines between that look like rows show
that they belong to no sentence.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .rows import EMPTY_LINE, LONGEST_LINE, Line

BROKEN_QUOTES = "broken CSV (a quote is not closed, or text follows the closing one)"
SAMPLE_LINES = 200  # first lines, from which the layout of a file is detected
LONGEST_QUOTE = 100  # lines of a quoted field
SHORT_QUOTE = 5  # lines that a quoted field of CSV may always have
QUOTED_FILE = 0.7  # share of lines with only quoted fields and numbers

COMMA, TAB = ",", "\t"


class Record(NamedTuple):
    """The fields of the record that starts at a line, or its problem."""

    line: int
    fields: list[str]
    problem: str | None = None


@dataclass(frozen=True)
class Layout:
    """Layout of a file.

    Attributes:
        separator: between fields.
        width: number of fields of most records.
        quotes_all: whether every field is quoted, not only those that need it.
    """

    separator: str
    width: int
    quotes_all: bool


def read_records(lines: Iterator[Line], separator: str, has_header: bool) -> tuple[Layout, Iterator[Record]]:
    """Return the layout of a file, detected from its first lines, and an iterator over its records, header included."""
    waiting = deque(itertools.islice(lines, SAMPLE_LINES))
    layout = _layout([line.text for line in waiting if line.text], separator, has_header)
    return layout, _records(_Lookahead(waiting, lines), layout)


class _Lookahead:
    """Iterator over lines that can be read ahead."""

    def __init__(self, waiting: deque[Line], lines: Iterator[Line]) -> None:
        self.waiting, self.lines = waiting, lines

    def peek(self, index: int) -> Line | None:
        """Return the line at an index of the remaining lines; None after the end."""
        self.waiting.extend(itertools.islice(self.lines, max(0, index + 1 - len(self.waiting))))
        return self.waiting[index] if index < len(self.waiting) else None

    def take(self, count: int) -> None:
        for _ in range(count):
            self.waiting.popleft()


def _records(lines: _Lookahead, layout: Layout) -> Iterator[Record]:
    while (line := lines.peek(0)) is not None:
        if not line.text:
            lines.take(1)
            yield Record(line.number, [], line.problem or EMPTY_LINE)
            continue
        fields, count = _fields_at(line.text, lines, layout)
        lines.take(count)
        yield Record(line.number, fields, None if fields else BROKEN_QUOTES)


def _fields_at(text: str, lines: _Lookahead, layout: Layout) -> tuple[list[str], int]:
    """Return the fields of the record that starts at the next line, none if it is broken, and its number of lines."""
    if '"' not in text:
        return text.split(layout.separator), 1
    tokens, read = _quoted_tokens(text, lines, layout.separator)
    if layout.separator == COMMA:
        is_wrong = len(tokens) != layout.width or _swallows_rows(read, layout)
        if not tokens or (len(read) > 1 and is_wrong):
            return [], 1
        return [_unquoted(token) for token in tokens], len(read)
    if len(tokens) != layout.width or _swallows_rows(read, layout):
        tokens, read = text.split(TAB), [text]
    return [_unquoted(token) if layout.quotes_all or _needs_quotes(token) else token for token in tokens], len(read)


def _quoted_tokens(text: str, lines: _Lookahead, separator: str) -> tuple[list[str], list[str]]:
    """Return the fields of a record with their quotes, and its lines; no fields if the quotes are broken however many
    lines are added."""
    read, size = [text], len(text)
    while len(read) <= LONGEST_QUOTE and size <= LONGEST_LINE:
        if '"' in read[-1]:  # only such a line can close a quote
            tokens, is_open = _tokens("\n".join(read), separator)
            if not is_open:
                return tokens, read
        line = lines.peek(len(read))
        if line is None or line.problem is not None:
            break
        read.append(line.text or "")
        size += len(read[-1])
    return [], read


# A quoted field, or one that does not start with a quote, up to the separator or the end.
_TOKENS = {
    separator: re.compile(rf'(?:"[^"]*(?:""[^"]*)*"|[^"{separator}\n][^{separator}\n]*|)(?={separator}|\Z)')
    for separator in (COMMA, TAB)
}
_OPEN = re.compile(r'"[^"]*(?:""[^"]*)*\Z')
_NUMBER = re.compile(r"[-+]?[\d.,]*(?:[eE][-+]?\d+)?")


def _tokens(text: str, separator: str) -> tuple[list[str], bool]:
    """Return the fields of a record with their quotes, none if the quotes are broken, and whether the last field is
    open, so that later lines may close it."""
    tokens: list[str] = []
    start = 0
    while True:
        found = _TOKENS[separator].match(text, start)
        if found is None:
            return [], _OPEN.match(text, start) is not None
        tokens.append(found[0])
        if found.end() == len(text):
            return tokens, False
        start = found.end() + 1


def _is_quoted(token: str) -> bool:
    """Return whether a field is closed and every quote inside is doubled."""
    return len(token) > 1 and token[0] == token[-1] == '"' and '"' not in token[1:-1].replace('""', "")


def _needs_quotes(token: str) -> bool:
    """Return whether a quoted field needs its quotes: for a special character, or to be empty and not missing."""
    return _is_quoted(token) and (token == '""' or any(each in token[1:-1] for each in ('"', TAB, "\n", "\r")))


def _unquoted(token: str) -> str:
    return token[1:-1].replace('""', '"') if _is_quoted(token) else token


def _swallows_rows(read: Sequence[str], layout: Layout) -> bool:
    """Return whether most lines of a record look like complete rows, which a stray quote has joined.

    A sentence in CSV may by chance have as many commas as a row, so only long records of CSV are tested.
    """
    if len(read) <= (SHORT_QUOTE if layout.separator == COMMA else 1):
        return False
    rows = sum(len(_split_alone(line, layout.separator)) == layout.width for line in read)
    return 2 * rows > len(read)


def _split_alone(line: str, separator: str) -> list[str]:
    """Return the fields of a line, read without the lines around it."""
    tokens = _tokens(line, separator)[0] if separator == COMMA else []
    return tokens or line.split(separator)


def _layout(sample: list[str], separator: str, has_header: bool) -> Layout:
    """Return the layout of a file with these first lines. The width is that of the header, or without one that of most
    lines, because the first line may have a stray separator."""
    widths = Counter(len(_split_alone(line, separator)) for line in (sample[:1] if has_header else sample))
    widths.pop(1, None)
    width = widths.most_common(1)[0][0] if widths else 2
    quoted = [_is_all_quoted(line, separator) for line in sample]
    quotes_all = bool(sample) and sum(quoted) >= QUOTED_FILE * len(sample) and (quoted[0] or not has_header)
    return Layout(separator, width, quotes_all)


def _is_all_quoted(line: str, separator: str) -> bool:
    tokens, _ = _tokens(line, separator)
    return '"' in line and bool(tokens) and all(_is_quoted(token) or _NUMBER.fullmatch(token) for token in tokens)
