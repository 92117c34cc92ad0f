"""Count repeated pairs of the training data, and pairs of other splits that are in the training data.

Texts are equal if all characters are. A pair is stored as two hashes of 8 bytes, in memory or in files: ten million
pairs take 160 MB, and the probability of a false alarm among them is about three in a million.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .cleaning import PLACES_SHOWN, CleaningReport, FoundRows
from .parallel_text import ParallelText

HASH_BYTES = 8
CHUNK = 1 << 20  # hashes that are compared at once
REPEATED = "same pair as an earlier one"
PAIR_IN_TRAIN = "same pair in the training data"
SOURCE_IN_TRAIN = "same source in the training data, with another target"

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class PairHashes:
    """Hashes of the sources and of the pairs of a split, in their order; the same in every process and run."""

    sources: Hashes
    pairs: Hashes

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> PairHashes:
        """Return the hashes of these pairs."""
        sources, both = array("Q"), array("Q")
        for source, target in pairs:
            state = blake2b(source.encode(), digest_size=HASH_BYTES)
            sources.frombytes(state.digest())
            state.update(b"\n" + target.encode())
            both.frombytes(state.digest())
        return cls(np.frombuffer(sources, np.uint64), np.frombuffer(both, np.uint64))

    def repeated(self) -> NDArray[np.intp]:
        """Return the positions, in order, of the pairs that are equal to an earlier one."""
        parts = max(1, -(-len(self.pairs) // CHUNK))
        # Equal hashes have equal remainders, so each part can be sorted alone, with memory for about a chunk.
        return np.sort(np.concatenate([_repeated(self.pairs, part, parts) for part in range(parts)]))

    def known_to(self, train: PairHashes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the positions of the pairs that are in `train`, and of those of which only the source is."""
        pair, source = _among(self.pairs, train.pairs), _among(self.sources, train.sources)
        return np.flatnonzero(pair), np.flatnonzero(source & ~pair)


def _repeated(hashes: Hashes, part: int, parts: int) -> NDArray[np.intp]:
    """Return the repeated positions among the hashes with remainder `part`."""
    chunks = range(0, len(hashes), CHUNK)
    found = [start + np.flatnonzero(hashes[start : start + CHUNK] % np.uint64(parts) == part) for start in chunks]
    positions = np.concatenate([np.empty(0, np.intp), *found])
    values = hashes[positions]
    order = np.argsort(values, kind="stable")
    return positions[order[1:][values[order[1:]] == values[order[:-1]]]]


def _among(few: Hashes, many: Hashes) -> NDArray[np.bool_]:
    """Return which of a few hashes are among many; `numpy.isin` would sort the many."""
    wanted, inverse = np.unique(few, return_inverse=True)
    found = np.zeros(len(wanted) + 1, bool)
    for start in range(0, len(many), CHUNK):
        chunk = many[start : start + CHUNK]
        positions = np.searchsorted(wanted, chunk)
        found[positions[np.append(wanted, 0)[positions] == chunk]] = True
    return found[inverse]


def note_repeats(report: CleaningReport, train: PairHashes, location: Callable[[int], str]) -> None:
    """Add the repeated pairs to the report of the training data; `location` returns file and line of a pair."""
    _note(report, REPEATED, train.repeated(), location)


def note_overlap(held_out: Mapping[str, tuple[ParallelText, CleaningReport]], train: PairHashes) -> None:
    """Add to the reports of the other splits which of their pairs and sources are in the training data."""
    for text, report in held_out.values():
        pairs, sources = PairHashes.of(text.pairs()).known_to(train)
        _note(report, PAIR_IN_TRAIN, pairs, text.location)
        _note(report, SOURCE_IN_TRAIN, sources, text.location)


def _note(report: CleaningReport, note: str, positions: NDArray[np.intp], location: Callable[[int], str]) -> None:
    if len(positions):
        places = [location(int(position)) for position in positions[:PLACES_SHOWN]]
        report.notes[note] = FoundRows(len(positions), places)
