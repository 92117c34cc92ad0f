"""Select the sentence pairs that are usable for training, and report the others."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..settings.data_arguments import DataArguments
from .parallel_text import ParallelText
from .readers.rows import NOT_UTF8, Row, is_unicode

OnBadRows = Literal["drop", "refuse"]
EMPTY_SOURCE = "empty source side"
EMPTY_TARGET = "empty target side"
OLD_MAC = "control character U+000D, the line end of old Macs"
PLACES_SHOWN = 3
# Found in binary files, other encodings and text with the line ends of old Macs. White space is text.
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]|\r(?!\n)")


# A sentence of 130 letters in English has about 40 characters in Chinese, 57 in Japanese and 65 in Korean (averages of
# FLORES-200). Counted with these weights all of them are about as long; other scripts have about as many characters.
HAN = re.compile("[\u2e80-\u2fdf\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
HAN_LETTERS = 3
# CJK punctuation, kana, Bopomofo, Yi, Hangul syllables, full-width forms.
WIDE = re.compile(
    "[\u3000-\u3004\u3006\u3008-\u312f\u31a0-\u31bf\u31f0-\u31ff\ua000-\ua4cf\uac00-\ud7a3\uff01-\uff60]+"
)
WIDE_LETTERS = 2
# The share of unusable rows of a stream is checked each time after this many rows. It must exceed the limit by
# CLEARLY_MORE standard deviations, because later rows may be better.
STREAM_CHECK_ROWS = 1_000
CLEARLY_MORE = 3


@dataclass(frozen=True)
class Limits:
    """Limits of a usable pair.

    `max_characters` limits each side. `max_length_ratio` limits longer side / shorter side, in letters
    (`length_in_letters`), because Chinese needs fewer characters. Each side counts as at least `ratio_floor` letters:
    "Ja." is a translation of "Yes, I think so.", but ten words are none of two hundred.
    """

    max_characters: int = DataArguments.max_characters
    max_length_ratio: float = DataArguments.max_length_ratio
    ratio_floor: int = 20


@dataclass
class FoundRows:
    """Number of rows with the same fault or note, and the locations of the first."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.places) else ""
        return f"{self.count:,} ({', '.join(self.places)}{more})"


@dataclass
class CleaningReport:
    """Counts of rows: read, kept, and bad for each reason. `str()` gives the text for the log.

    `notes` count usable rows that are kept but suspicious. If more than `max_unusable_share` of the rows are bad,
    dropping them would hide a fault of the complete data.
    """

    on_bad_rows: OnBadRows = "drop"
    max_unusable_share: float = 1.0
    read: int = 0
    kept: int = 0
    reasons: dict[str, FoundRows] = field(default_factory=dict)
    notes: dict[str, FoundRows] = field(default_factory=dict)

    @property
    def bad(self) -> int:
        return sum(rows.count for rows in self.reasons.values())

    def add(self, reason: str, location: str) -> None:
        """Count one bad row."""
        rows = self.reasons.setdefault(reason, FoundRows())
        rows.count += 1
        if rows.count <= PLACES_SHOWN:
            rows.places.append(location)

    def add_all(self, other: CleaningReport) -> None:
        """Add the counts of another part of the same data."""
        self.read += other.read
        self.kept += other.kept
        for reason, found in other.reasons.items():
            rows = self.reasons.setdefault(reason, FoundRows())
            rows.count += found.count
            rows.places = [*rows.places, *found.places][:PLACES_SHOWN]

    def check(self) -> None:
        """Raise a `ValueError` with the complete report if bad rows are refused and there are some, if too many rows
        are bad, or if no pair is left."""
        if self.on_bad_rows == "refuse" and self.bad:
            raise ValueError(f"bad rows are refused here; fix them, or drop them (on_bad_rows: drop)\n{self}")
        if not self.kept:
            raise ValueError(f"no usable sentence pair is left; check the files, the columns and the limits\n{self}")
        self.check_share()

    def check_share(self, leeway: float = 0.0) -> None:
        """Raise a `ValueError` if the bad rows exceed `max_unusable_share` by more than `leeway` rows."""
        share = self.max_unusable_share
        if self.bad <= share * self.read + leeway:
            return
        raise ValueError(
            f"{self.bad:,} of {self.read:,} rows ({self.bad / self.read:.1%}) cannot be used, and max_unusable_share "
            f"allows {share:.1%}; fix what the report names, or raise max_unusable_share\n{self}"
        )

    def __str__(self) -> str:
        lines = [f"{self.read:,} sentence pairs read, {self.kept:,} usable, {self.bad:,} bad"]
        for reason, rows in sorted(self.reasons.items(), key=lambda item: (-item[1].count, item[0])):
            lines.append(f"  {reason}: {rows}")
        lines += [f"  kept, {note}: {rows}" for note, rows in self.notes.items()]
        return "\n".join(lines)


def clean(
    rows: Iterable[Row], limits: Limits, on_bad_rows: OnBadRows, max_unusable_share: float = 1.0
) -> tuple[ParallelText, CleaningReport]:
    """Return the usable pairs, unchanged, and the report of all rows.

    Raises:
        ValueError: a row is bad with `on_bad_rows="refuse"`, more than `max_unusable_share` of all rows are bad, or no
            pair is left. Raised after all rows are read, with every reason.
    """
    if on_bad_rows not in ("drop", "refuse"):
        raise ValueError(f"on_bad_rows is {on_bad_rows!r}; choose 'drop' or 'refuse'")
    text, report = ParallelText(), CleaningReport(on_bad_rows, max_unusable_share)
    for row in usable_rows(rows, limits, report):
        text.append(row)
    report.kept = len(text)
    report.check()
    return text, report


def usable_rows(rows: Iterable[Row], limits: Limits, report: CleaningReport) -> Iterator[Row]:
    """Yield the usable rows; `report` counts all rows that are read, and the bad ones by reason."""
    for row in rows:
        report.read += 1
        reason = _problem(row, limits)
        if reason is None:
            yield row
        else:
            report.add(reason, f"{row.file}:{row.line}")


def up_to_usable(rows: Iterable[Row], limits: Limits, count: int) -> Iterator[Row]:
    """Yield the rows up to the `count`-th usable one; also the unusable ones before it, so that they are reported."""
    usable = 0
    for row in rows:
        yield row
        usable += _problem(row, limits) is None
        if usable == count:
            return


def usable_rows_of_stream(rows: Iterable[Row], limits: Limits, report: CleaningReport) -> Iterator[Row]:
    """Yield the usable rows of a stream; raise a `ValueError` if clearly more than `max_unusable_share` are bad, which
    is checked every `STREAM_CHECK_ROWS` rows."""

    def watched() -> Iterator[Row]:
        for row in rows:
            yield row
            if report.read % STREAM_CHECK_ROWS == 0:
                share = report.max_unusable_share
                report.check_share(CLEARLY_MORE * math.sqrt(report.read * share * (1 - share)))

    return usable_rows(watched(), limits, report)


def read_sample(rows: Iterable[Row], limits: Limits, report: CleaningReport, count: int) -> list[tuple[str, str]]:
    """Return the first `count` usable pairs of a stream.

    Raises:
        ValueError: clearly more than `max_unusable_share` of the rows are bad, or more than that in a stream with fewer
            than `count` usable pairs.
    """
    usable = usable_rows_of_stream(rows, limits, report)
    sample = [(row.source or "", row.target or "") for row in itertools.islice(usable, count)]
    report.kept = len(sample)
    if report.kept < count:
        report.check()
    return sample


def length_in_letters(text: str) -> int:
    """Return the approximate length of this text in letters of an alphabet, as for a translation into English."""
    if text.isascii():
        return len(text)
    han, wide = (sum(map(len, script.findall(text))) for script in (HAN, WIDE))
    return len(text) + (HAN_LETTERS - 1) * han + (WIDE_LETTERS - 1) * wide


def _problem(row: Row, limits: Limits) -> str | None:
    """Return the first fault of a row, or None."""
    if row.problem:
        return row.problem
    source, target = row.source or "", row.target or ""
    if not source.strip():
        return EMPTY_SOURCE
    if not target.strip():
        return EMPTY_TARGET
    # JSON can spell half a surrogate pair, which no encoder can write.
    if not (is_unicode(source) and is_unicode(target)):
        return NOT_UTF8
    control = CONTROL_CHARACTER.search(source) or CONTROL_CHARACTER.search(target)
    if control:
        return OLD_MAC if control[0] == "\r" else f"control character U+{ord(control[0]):04X}"
    if max(len(source), len(target)) > limits.max_characters:
        return f"longer than {limits.max_characters} characters"
    shorter, longer = sorted(max(length_in_letters(side), limits.ratio_floor) for side in (source, target))
    if longer > limits.max_length_ratio * shorter:
        return f"one side over {limits.max_length_ratio:g} times as long as the other"
    return None
