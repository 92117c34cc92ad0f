"""The data of a run: text to be read, training pairs as token ids, evaluation sets, and the key that names them."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .cleaning import CleaningReport, Limits, usable_rows
from .encoding import ENCODING_CHUNK, EncodedPairs
from .overlap import PairHashes
from .parallel_text import ParallelText
from .readers.rows import Row

FORMAT = 3  # of the files, and of whatever decides what is in them and is not part of the key


@dataclass(frozen=True)
class TextSource:
    """Training text that can be read again and again.

    Attributes:
        open: begins to read.
        limits: of usable pairs.
        report: an empty account of bad rows.
    """

    open: Callable[[], Iterator[Row]]
    limits: Limits
    report: Callable[[], CleaningReport]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The usable pairs; a `ValueError` at the end if their report has to be one (`CleaningReport.settle`)."""
        report = self.report()
        for row in usable_rows(self.open(), self.limits, report):
            report.kept += 1
            yield row.source or "", row.target or ""
        report.settle()

    def parts(self, report: CleaningReport) -> Iterator[ParallelText]:
        """The usable pairs in parts that fit into memory; the rest is counted in `report`."""
        rows = usable_rows(self.open(), self.limits, report)
        while part := list(itertools.islice(rows, ENCODING_CHUNK)):
            text = ParallelText()
            for row in part:
                text.append(row)
            yield text


@dataclass(frozen=True)
class Corpus:
    """The training pairs, ready for use.

    Attributes:
        pairs: as token ids.
        report: the account of the rows that were left out.
        digest: `ParallelText.digest` of the usable text.
        hashes: of the text of the pairs.
        place: file and line of a pair.
    """

    pairs: EncodedPairs
    report: CleaningReport
    digest: str
    hashes: PairHashes
    place: Callable[[int], str]

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self.pairs)


@dataclass(frozen=True)
class EvaluationSet:
    """Sentence pairs to measure on, as text and as token ids in the same order."""

    name: str
    text: ParallelText
    pairs: EncodedPairs


def key_of(**content: Any) -> str:
    """The hash in the name of a folder; `content` is what the folder's content depends on, as JSON has it."""
    return hashlib.sha256(json.dumps([FORMAT, content], sort_keys=True).encode()).hexdigest()[:32]
