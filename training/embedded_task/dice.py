"""Random choices that come out the same for a seed on every Python version and in every process."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Item = TypeVar("Item")


class Dice:
    """Draws everything from `Random.random()`, whose stream for a seed Python guarantees not to change."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random

    def chance(self, probability: float) -> bool:
        """True with the probability."""
        return self._random() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items, all equally likely."""
        return items[int(self._random() * len(items))]

    def weighted(self, items: Sequence[tuple[float, Item]]) -> Item:
        """One of the items of (weight, item), as likely as its weight."""
        rest = self._random() * sum(weight for weight, _ in items)
        for weight, item in items:
            rest -= weight
            if rest < 0:
                return item
        return items[-1][1]
