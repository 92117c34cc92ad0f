"""Make random choices that are the same for a seed on every Python version and in every process."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Weights(Generic[Item]):
    """Items to draw from, given as (weight, item)."""

    def __init__(self, weighted_items: Sequence[tuple[float, Item]]) -> None:
        self.items = [item for _, item in weighted_items]
        self.bounds = list(accumulate(weight for weight, _ in weighted_items))


class Rng:
    """Random number generator over `Random.random()`, whose sequence for a seed Python guarantees not to change."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of the items, all equally likely."""
        return items[int(self._random() * len(items))]

    def weighted(self, weights: Weights[Item]) -> Item:
        """Return one of the items, with probability proportional to its weight."""
        return weights.items[bisect(weights.bounds, self._random() * weights.bounds[-1])]
