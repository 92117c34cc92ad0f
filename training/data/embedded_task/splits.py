"""Assign sentences of the embedded task to the splits train, validation and test."""

from __future__ import annotations

from functools import cache
from zlib import crc32

from .combinations import Combination, combinations
from .phrases import Sentence
from .sentences import SentenceChooser

# Most distinct sentences of each split; the grammar can make far more.
LARGEST = {"train": 500_000, "validation": 10_000, "test": 10_000}
_SHARES = 24  # combinations are divided into this many shares: two for test, one for validation


@cache
def _part_of(combination: Combination) -> str:
    """Return the split of a combination of words, from a checksum, so it is the same for every seed."""
    share = crc32(":".join(combination).encode()) % _SHARES
    return "test" if share < 2 else "validation" if share == 2 else "train"


def part_of(sentence: Sentence) -> str | None:
    """Return the split of a sentence; None if it has combinations of both test and validation."""
    held_out = {_part_of(combination) for combination in combinations(sentence)} - {"train"}
    if len(held_out) == 2:
        return None
    return held_out.pop() if held_out else "train"


def load_split(split: str, size: int, seed: int) -> list[tuple[str, str]]:
    """Return `size` distinct (English, German) sentence pairs of a split, the same for a seed everywhere.

    Every validation and test sentence has at least one combination of words - a noun with its adjective, verb or
    number - that no sentence of another split has, for any seeds. All words and constructions are in training.

    Raises:
        ValueError: the split is none of train, validation and test, or is smaller than `size`.
    """
    if split not in LARGEST:
        raise ValueError(f"split {split!r} does not exist in the embedded task: use one of {', '.join(LARGEST)}")
    if not 0 <= size <= LARGEST[split]:
        raise ValueError(f"size {size} of split {split!r} is out of range: use 0 to {LARGEST[split]}")
    chooser = SentenceChooser(seed * len(LARGEST) + list(LARGEST).index(split))
    pairs: dict[str, str] = {}
    while len(pairs) < size:
        sentence = chooser.sentence()
        if part_of(sentence) == split:
            pairs.setdefault(sentence.english, sentence.german)
    return list(pairs.items())
