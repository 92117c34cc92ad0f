"""Define the data of a run: training text, training pairs as token ids, evaluation sets, and cache keys."""

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

FORMAT = 4  # of the files; raised too if the code that makes their content changes


@dataclass(frozen=True)
class TextSource:
    """Training text that can be read repeatedly.

    Attributes:
        open: returns an iterator over all rows.
        limits: of usable pairs.
        report: returns an empty report.
    """

    open: Callable[[], Iterator[Row]]
    limits: Limits
    report: Callable[[], CleaningReport]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the usable pairs; raise the `ValueError` of `CleaningReport.check` at the end."""
        report = self.report()
        for row in usable_rows(self.open(), self.limits, report):
            report.kept += 1
            yield row.source or "", row.target or ""
        report.check()

    def chunks(self, report: CleaningReport) -> Iterator[ParallelText]:
        """Yield the usable pairs in chunks that fit into memory; `report` counts the other rows."""
        rows = usable_rows(self.open(), self.limits, report)
        while chunk := list(itertools.islice(rows, ENCODING_CHUNK)):
            text = ParallelText()
            for row in chunk:
                text.append(row)
            yield text


@dataclass(frozen=True)
class Corpus:
    """Tokenised training pairs.

    Attributes:
        pairs: as token ids.
        report: of the cleaning.
        digest: `ParallelText.digest` of the usable text.
        hashes: of the text of the pairs.
        location: returns file and line of a pair.
    """

    pairs: EncodedPairs
    report: CleaningReport
    digest: str
    hashes: PairHashes
    location: Callable[[int], str]

    @property
    def size(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)


@dataclass(frozen=True)
class EvaluationSet:
    """Sentence pairs for evaluation, as text and as token ids in the same order."""

    name: str
    text: ParallelText
    pairs: EncodedPairs


def key_of(**content: Any) -> str:
    """Return the hash in the name of a cache folder; `content` is all that its content depends on, as JSON values."""
    return hashlib.sha256(json.dumps([FORMAT, content], sort_keys=True).encode()).hexdigest()[:32]
