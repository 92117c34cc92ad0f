"""Split the lines of TSV and CSV files into fields, as whoever wrote the file meant its quotes.

In CSV a field between quotes is quoted, with its own quotes doubled, and may hold separators and line ends (RFC 4180).
pandas, Polars, R and others write TSV in the same way and quote the fields that need it. But most TSV of parallel text
has no quoting at all, and its sentences are full of quotes. So a field of TSV counts as quoted only

- if it is closed and every quote inside is doubled, and
- if it needs that, because it holds a quote, a tab or a line end, or if (nearly) every field of the file is quoted:
  "Yes." in quotes alone is a sentence in quotes, which a writer that quotes would have made triple.

A quote that is opened and not closed makes one line bad, or in TSV is text, and reading resumes at the next line: a
stray quote must not swallow the lines behind it. Where a closing one turns up later by chance, lines that are rows of
their own tell that they are no part of a sentence.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .rows import EMPTY_LINE, LONGEST_LINE

BROKEN_QUOTES = "broken CSV (a quote is not closed, or text follows the closing one)"
SAMPLE_LINES = 200  # of the beginning, which show how a file is laid out
LONGEST_QUOTE = 100  # lines of a quoted field
SHORT_QUOTE = 5  # lines that a quoted field of CSV may have, whatever they look like
QUOTED_FILE = 0.7  # of the lines have nothing but quoted fields and numbers

COMMA, TAB = ",", "\t"


class Line(NamedTuple):
    """A line of a file: its number and its text, or what is wrong with it."""

    number: int
    text: str | None
    problem: str | None = None


class Record(NamedTuple):
    """The fields that begin at a line, or what is wrong with it."""

    line: int
    fields: list[str]
    problem: str | None = None


@dataclass(frozen=True)
class Layout:
    """How a file is laid out.

    Attributes:
        separator: between fields.
        width: number of fields of most records.
        quotes_all: whether the file has every field in quotes, and not only those that need it.
    """

    separator: str
    width: int
    quotes_all: bool


def read_records(lines: Iterator[Line], separator: str, has_header: bool) -> tuple[Layout, Iterator[Record]]:
    """Return how a file is laid out, by its first lines, and its records one by one, the header among them."""
    waiting = deque(itertools.islice(lines, SAMPLE_LINES))
    layout = _layout([line.text for line in waiting if line.text], separator, has_header)
    return layout, _records(_Lookahead(waiting, lines), layout)


class _Lookahead:
    """Lines that can be looked at before they are taken."""

    def __init__(self, waiting: deque[Line], lines: Iterator[Line]) -> None:
        self.waiting, self.lines = waiting, lines

    def peek(self, index: int) -> Line | None:
        """Return the line after so many others that are still to be taken; None behind the end."""
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
    """Return the fields of the record that begins with the next line, none if it is broken, and its number of lines."""
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
    """Return the fields of a record as they are written, quotes and all, and its lines; no fields if the quotes of the
    next line are not in order, however many lines one takes."""
    read, size = [text], len(text)
    while len(read) <= LONGEST_QUOTE and size <= LONGEST_LINE:
        if '"' in read[-1]:  # no other line can end a quote
            tokens, is_open = _tokens("\n".join(read), separator)
            if not is_open:
                return tokens, read
        line = lines.peek(len(read))
        if line is None or line.problem is not None:
            break
        read.append(line.text or "")
        size += len(read[-1])
    return [], read


# A field between quotes or one that does not begin with a quote, up to the separator or the end.
_TOKENS = {
    separator: re.compile(rf'(?:"[^"]*(?:""[^"]*)*"|[^"{separator}\n][^{separator}\n]*|)(?={separator}|\Z)')
    for separator in (COMMA, TAB)
}
_OPEN = re.compile(r'"[^"]*(?:""[^"]*)*\Z')
_NUMBER = re.compile(r"[-+]?[\d.,]*(?:[eE][-+]?\d+)?")


def _tokens(text: str, separator: str) -> tuple[list[str], bool]:
    """Return the fields of a record as they are written, none if the quotes are not in order, and whether the last one
    is open: whether it may be in order with the lines that follow."""
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
    """Return whether a field is quoted for a reason: something in it, or that it is empty and not missing."""
    return _is_quoted(token) and (token == '""' or any(each in token[1:-1] for each in ('"', TAB, "\n", "\r")))


def _unquoted(token: str) -> str:
    return token[1:-1].replace('""', '"') if _is_quoted(token) else token


def _swallows_rows(read: Sequence[str], layout: Layout) -> bool:
    """Return whether most lines of a record look like rows of their own, so that a stray quote has made one of them.

    A sentence of CSV has as many commas as a row by chance, so its records have to be long to be told.
    """
    if len(read) <= (SHORT_QUOTE if layout.separator == COMMA else 1):
        return False
    rows = sum(len(_split_alone(line, layout.separator)) == layout.width for line in read)
    return 2 * rows > len(read)


def _split_alone(line: str, separator: str) -> list[str]:
    """Return the fields of a line that is looked at without the others."""
    tokens = _tokens(line, separator)[0] if separator == COMMA else []
    return tokens or line.split(separator)


def _layout(sample: list[str], separator: str, has_header: bool) -> Layout:
    """Return how a file is laid out that begins with these lines. A header tells the width; without one, most lines do:
    the first line may have a stray separator just as any other."""
    widths = Counter(len(_split_alone(line, separator)) for line in (sample[:1] if has_header else sample))
    widths.pop(1, None)
    width = widths.most_common(1)[0][0] if widths else 2
    quoted = [_is_all_quoted(line, separator) for line in sample]
    quotes_all = bool(sample) and sum(quoted) >= QUOTED_FILE * len(sample) and (quoted[0] or not has_header)
    return Layout(separator, width, quotes_all)


def _is_all_quoted(line: str, separator: str) -> bool:
    tokens, _ = _tokens(line, separator)
    return '"' in line and bool(tokens) and all(_is_quoted(token) or _NUMBER.fullmatch(token) for token in tokens)
