"""Pairs that occur twice in the training data, and held-out pairs that the training data gives away.

Texts count as equal if they are so character for character. All that is kept of a pair are two hashes of 8 bytes: ten
million pairs take 160 MB, and one false alarm among them has a probability of about three in a million.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .cleaning import PLACES_SHOWN, CleaningReport, FoundRows, ParallelText

HASH_BYTES = 8
CHUNK = 1 << 20
REPEATED = "same pair as an earlier one"
PAIR_IN_TRAIN = "same pair in the training data"
SOURCE_IN_TRAIN = "same source in the training data, with another target"


class PairHashes:
    """Hashes of the sources and of the pairs of a split, in their order; the same in every process and run."""

    def __init__(self) -> None:
        self._sources = array("Q")
        self._pairs = array("Q")

    def add(self, source: str, target: str) -> None:
        """Take in one more pair."""
        state = blake2b(source.encode(), digest_size=HASH_BYTES)
        self._sources.frombytes(state.digest())
        state.update(b"\n" + target.encode())
        self._pairs.frombytes(state.digest())

    @classmethod
    def of(cls, text: ParallelText) -> PairHashes:
        """The hashes of a whole split."""
        hashes = cls()
        for source, target in zip(text.sources, text.targets, strict=True):
            hashes.add(source, target)
        return hashes

    def repeated(self) -> NDArray[np.intp]:
        """Positions, in order, of the pairs that are equal to an earlier one."""
        pairs = np.frombuffer(self._pairs, np.uint64)
        order = np.argsort(pairs, kind="stable")
        equal_to_previous = pairs[order[1:]] == pairs[order[:-1]]
        return np.sort(order[1:][equal_to_previous])

    def known_to(self, train: PairHashes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Positions of the pairs that `train` has too, and of those of which it has the source alone."""
        pair, source = _among(self._pairs, train._pairs), _among(self._sources, train._sources)
        return np.flatnonzero(pair), np.flatnonzero(source & ~pair)


def _among(few: array[int], many: array[int]) -> NDArray[np.bool_]:
    """Which of a few hashes are among many; `numpy.isin` would sort the many."""
    wanted, inverse = np.unique(np.frombuffer(few, np.uint64), return_inverse=True)
    found = np.zeros(len(wanted) + 1, bool)
    for start in range(0, len(many), CHUNK):
        chunk = np.frombuffer(many, np.uint64, min(CHUNK, len(many) - start), start * HASH_BYTES)
        places = np.searchsorted(wanted, chunk)
        found[places[np.append(wanted, 0)[places] == chunk]] = True
    return found[inverse]


def note_repeats(splits: Mapping[str, tuple[ParallelText, CleaningReport]]) -> None:
    """Note in the reports which pairs of "train" repeat earlier ones, and which of the other splits it gives away."""
    text, report = splits["train"]
    train = PairHashes.of(text)
    _note(report, REPEATED, text, train.repeated())
    for name, (held_out, held_out_report) in splits.items():
        if name != "train":
            pairs, sources = PairHashes.of(held_out).known_to(train)
            _note(held_out_report, PAIR_IN_TRAIN, held_out, pairs)
            _note(held_out_report, SOURCE_IN_TRAIN, held_out, sources)


def _note(report: CleaningReport, note: str, text: ParallelText, positions: NDArray[np.intp]) -> None:
    if len(positions):
        places = [text.place(int(position)) for position in positions[:PLACES_SHOWN]]
        report.notes[note] = FoundRows(len(positions), places)
