"""The vocabulary of a run, trained on its training text: all of it, or a sample where there is too much."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from ..settings.arguments import TokenizerArguments
from .tokenizer import Tokenizers, train_tokenizers

SAMPLE_SEED = 0  # not the run's: runs with different seeds stay comparable

Pair = tuple[str, str]


class Texts(Iterable[str]):
    """One side of pairs that are read anew each time somebody goes through it."""

    def __init__(self, open_pairs: Callable[[], Iterator[Pair]], side: int) -> None:
        self.open_pairs, self.side = open_pairs, side

    def __iter__(self) -> Iterator[str]:
        return (pair[self.side] for pair in self.open_pairs())


def train_vocabulary(sizes: TokenizerArguments, open_pairs: Callable[[], Iterator[Pair]]) -> Tokenizers:
    """Train the tokenizers on pairs that `open_pairs` reads, several times if there is no `tokenizer_sample`.

    Raises:
        ValueError: the vocabulary cannot be made.
    """
    if sizes.tokenizer_sample is not None:
        sample = draw_sample(open_pairs(), sizes.tokenizer_sample)
        return train_vocabulary_on(sizes, lambda: iter(sample))
    return train_vocabulary_on(sizes, open_pairs)


def train_vocabulary_on(sizes: TokenizerArguments, open_pairs: Callable[[], Iterator[Pair]]) -> Tokenizers:
    """The same on all of these pairs."""
    return train_tokenizers(Texts(open_pairs, 0), Texts(open_pairs, 1), sizes.vocab_size, sizes.target_vocab_size)


def draw_sample(pairs: Iterable[Pair], size: int) -> list[Pair]:
    """At most `size` of the pairs, each with the same probability; of the same pairs always the same ones.

    Reservoir sampling (Vitter, 1985, algorithm R): only the sample is in memory.
    """
    dice = random.Random(SAMPLE_SEED)
    sample: list[Pair] = []
    for number, pair in enumerate(pairs):
        if number < size:
            sample.append(pair)
        elif (slot := int(dice.random() * (number + 1))) < size:
            sample[slot] = pair
    return sample
