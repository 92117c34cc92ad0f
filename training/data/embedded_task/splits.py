"""The train, validation and test parts of the embedded task."""

from __future__ import annotations

from functools import cache
from zlib import crc32

from .combinations import Combination, combinations
from .phrases import Sentence
from .sentences import SentenceChooser

# How many distinct sentences each part gives at most; far fewer than the grammar can make.
LARGEST = {"train": 500_000, "validation": 10_000, "test": 10_000}
_SHARES = 24  # combinations are dealt into this many shares: two for the test part, one for the validation part


@cache
def _part_of(combination: Combination) -> str:
    """The part that owns a combination of words; a checksum decides, so it is the same for every seed."""
    share = crc32(":".join(combination).encode()) % _SHARES
    return "test" if share < 2 else "validation" if share == 2 else "train"


def part_of(sentence: Sentence) -> str | None:
    """The part a sentence belongs to; None for one with combinations of both the test and the validation part."""
    held_out = {_part_of(combination) for combination in combinations(sentence)} - {"train"}
    if len(held_out) == 2:
        return None
    return held_out.pop() if held_out else "train"


def load_split(split: str, size: int, seed: int) -> list[tuple[str, str]]:
    """`size` distinct (English, German) sentence pairs of a part, the same ones for a seed everywhere.

    Every validation and test sentence has at least one combination of words - a noun with its adjective, verb or
    number - that no sentence of another part has, whatever the seeds. All words and constructions are in training.

    Raises:
        ValueError: for a part other than train, validation and test, or a size the part does not have.
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
