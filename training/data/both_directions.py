"""Use every training pair in both directions, so that one model learns both.

    pair       ids of   >>de<< A dog. </s>      labels of   Ein Hund. </s>
    reverse    ids of   >>en<< Ein Hund. </s>   labels of   A dog. </s>

Source and target have one vocabulary, and the tokenizer puts the tag before the source of a pair. So the reverse of a
pair has the same token ids but for the tag, and nothing is read, tokenised or kept twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .encoding import EncodedPairs, Ids
from .epoch_plan import Indices, Lengths


@dataclass(frozen=True)
class BothDirections:
    """Training pairs and their reverses: example 2i is pair i, example 2i + 1 its reverse.

    Attributes:
        pairs: each with a tag before its source.
        reverse_tag: token id of the tag before the source of a reverse.
    """

    pairs: EncodedPairs
    reverse_tag: int

    def __len__(self) -> int:
        return 2 * len(self.pairs)

    def __getitem__(self, example: int) -> dict[str, Ids]:
        pair = self.pairs[example // 2]
        if example % 2 == 0:
            return pair
        source = np.concatenate([np.array([self.reverse_tag], np.int32), pair["labels"]])
        return {"input_ids": source, "labels": pair["input_ids"][1:]}

    @property
    def rows(self) -> Indices:
        """Return the index of each example in the encoded text."""
        return np.repeat(np.asarray(self.pairs.rows), 2)

    @property
    def lengths(self) -> Lengths:
        """Return [2N, 2]: source and target tokens of each example."""
        return self.lengths_on_demand[:]

    @property
    def lengths_on_demand(self) -> LengthsInBothDirections:
        """Return the same, computed only for the examples that are indexed."""
        return LengthsInBothDirections(self.pairs)


def examples_of(pairs: EncodedPairs, reverse_tag: int | None) -> EncodedPairs | BothDirections:
    """Return the training examples of pairs: the pairs alone, or with their reverses if there is a tag for these."""
    return pairs if reverse_tag is None else BothDirections(pairs, reverse_tag)


@dataclass(frozen=True)
class LengthsInBothDirections:
    """`PairLengths` of the examples of `BothDirections`."""

    pairs: EncodedPairs

    def __len__(self) -> int:
        return 2 * len(self.pairs)

    def __getitem__(self, examples: slice | Indices) -> Lengths:
        if isinstance(examples, slice):
            examples = np.arange(*examples.indices(len(self)))
        lengths = self.pairs.lengths_on_demand[examples // 2]
        reverse = examples % 2 == 1
        lengths[reverse] = lengths[reverse, ::-1] + np.array([1, -1])  # the tag is before the other side
        return lengths
