"""Hold out validation pairs from training data without leaks: no sentence is on both sides of the split.

Pairs with the same source or the same target form a group, as do pairs that such pairs connect; a group is never split.
Two hashes of 8 bytes are kept of each pair.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .cleaning import CleaningReport, Limits, usable_rows
from .epoch_plan import Indices
from .overlap import HASH_BYTES
from .readers.rows import Row

SEED = 0  # not the seed of the run, so that runs with different seeds are comparable


def held_out_rows(rows: Iterable[Row], limits: Limits, size: float) -> frozenset[int]:
    """Return the indices of the rows to hold out: the same for the same rows in every process and run.

    Args:
        rows: of the training data.
        limits: of usable pairs; only such pairs are held out.
        size: number of pairs, or a share of the usable pairs if below 1.

    Raises:
        ValueError: there are not enough pairs, or too many of them are connected.
    """
    report, numbers, hashes = CleaningReport(), array("q"), (array("Q"), array("Q"))
    for row in usable_rows(rows, limits, report):
        numbers.append(report.read - 1)
        for side, text in zip(hashes, (row.source or "", row.target or ""), strict=True):
            side.frombytes(blake2b(text.encode(), digest_size=HASH_BYTES).digest())
    wanted = round(size * len(numbers)) if size < 1 else int(size)
    if not 0 < wanted < len(numbers):
        raise ValueError(f"validation_size is {size:g}, but there are {len(numbers)} usable pairs to hold it out from")
    groups = _groups([np.frombuffer(side, np.uint64) for side in hashes])
    chosen = _choose(groups, wanted)
    if len(chosen) < wanted:
        raise ValueError(
            f"validation_size: {wanted} pairs are to be held out, but only {len(chosen)} are in groups that fit, since "
            "many pairs have a source or target in common; use a smaller one, or give validation_files"
        )
    return frozenset(np.frombuffer(numbers, np.int64)[chosen].tolist())


def _groups(hashes: list[NDArray[np.uint64]]) -> Indices:
    """Return a number for each pair, the same for all pairs of a group: the index of its first pair."""
    sides = [np.unique(side, return_inverse=True)[1] for side in hashes]
    groups = np.arange(len(hashes[0]))
    while True:
        before = groups
        for side in sides:
            first = np.full(side.max() + 1, len(groups))
            np.minimum.at(first, side, groups)
            groups = first[side]
        if np.array_equal(groups, before):
            return groups


def _choose(groups: Indices, wanted: int) -> Indices:
    """Return the pairs of randomly drawn groups, of which every one is taken that still fits."""
    names, counts = np.unique(groups, return_counts=True)
    taken, room = [], wanted
    for index in np.random.default_rng(SEED).permutation(len(names)):
        if counts[index] <= room:
            taken.append(names[index])
            room -= int(counts[index])
        if not room:
            break
    return np.flatnonzero(np.isin(groups, taken))
