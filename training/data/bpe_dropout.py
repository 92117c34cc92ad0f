"""Segment the training text into different subwords in every epoch: BPE-dropout (Provilkov et al., 2020).

A word is segmented by merging pairs of symbols, the earliest learnt merge first; at each step, each possible merge is
dropped with some probability. The complete corpus is segmented at the start of an epoch, so the result depends only on
seed and epoch, not on the number of processes or on where a run was interrupted. (`tokenizers` has BPE-dropout too, but
its generator cannot be seeded.)

    ids of a corpus --decode--> pieces (words) --distinct ones--> characters --merge, in all pieces at once--> ids
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from ...modeling.tokenization_sineformer import tag_of, tagged_languages
from .bpe import BYTE_TOKENS
from .encoding import EncodedPairs, Ids
from .epoch_plan import Indices
from .tokenizer import Tokenizers

FIX = "remove bpe_dropout, or start without a model, so that a tokenizer is trained"
SENTENCES_AT_ONCE = 5_000


class Merges:
    """Merges of a byte-fallback BPE, applied to many pieces at once.

    Raises:
        ValueError: the tokenizer is no byte-fallback BPE.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"] if tokenizer.is_fast else {}
        self.vocabulary: dict[str, int] = model.get("vocab", {})
        if model.get("type") != "BPE" or not set(BYTE_TOKENS) <= set(self.vocabulary):
            raise ValueError(f"bpe_dropout: the tokenizer is no BPE that falls back to bytes; {FIX}")
        self.size = max(self.vocabulary.values()) + 1
        known: Any = tokenizer
        self.tags = {known.convert_tokens_to_ids(tag): tag for tag in map(tag_of, tagged_languages(known))}
        self.tag_ids = {tag: index for index, tag in self.tags.items()}
        pairs = [(self.vocabulary[left], self.vocabulary[right]) for left, right in model["merges"]]
        keys = np.array([self._key(*pair) for pair in pairs], np.int64)
        self.products = np.array([self.vocabulary[left + right] for left, right in model["merges"]], np.int32)
        self.ranks = np.argsort(keys)  # of the sorted keys
        self.keys = keys[self.ranks]

    def _key(self, left: Any, right: Any) -> Any:
        return left * self.size + right

    def characters(self, piece: str) -> list[int]:
        """Return the ids before any merge: of characters, or of the bytes of those outside the vocabulary. The tag of a
        language is one symbol."""
        if piece in self.tag_ids:
            return [self.tag_ids[piece]]
        ids: list[int] = []
        for character in piece:
            known = self.vocabulary.get(character)
            ids += [self.vocabulary[BYTE_TOKENS[byte]] for byte in character.encode()] if known is None else [known]
        return ids

    def merge(
        self, symbols: Ids, lengths: Indices, dropout: float, generator: np.random.Generator
    ) -> tuple[Ids, Indices]:
        """Merge the characters of each piece until no merge is possible or all are dropped (algorithm 1 of the paper).

        Args:
            symbols: of all pieces, concatenated. lengths: symbols of each piece.
            dropout: probability of dropping a merge; 0 gives the segmentation of the tokenizer, 1 characters.

        Returns:
            Symbols and lengths after merging.
        """
        symbols, owner = symbols.copy(), np.repeat(np.arange(len(lengths)), lengths)
        kept, active = np.ones(len(symbols), bool), np.arange(len(symbols))
        while True:
            owners = owner[active]
            left, rank = self._candidates(symbols[active], owners)
            taken = generator.random(len(left)) >= dropout
            left, rank = left[taken], rank[taken]
            if not len(left):
                return symbols[kept], np.bincount(owner[kept], minlength=len(lengths))
            first = np.flatnonzero(np.diff(owners[left], prepend=-1))  # candidate of each piece
            # The earliest merge of a piece, and its leftmost position.
            rank, position = np.divmod(np.minimum.reduceat(rank * len(active) + left, first), len(active))
            symbols[active[position]] = self.products[rank]
            kept[active[position + 1]] = False
            merging = np.zeros(len(lengths), bool)
            merging[owners[position]] = True
            active = active[merging[owners] & kept[active]]

    def _candidates(self, symbols: Ids, owners: Indices) -> tuple[Indices, Indices]:
        """Return the positions of the left symbols of all pairs that can merge, and the ranks of these merges."""
        left = np.flatnonzero(owners[:-1] == owners[1:])
        keys = self._key(symbols[left].astype(np.int64), symbols[left + 1])
        found = np.searchsorted(self.keys, keys).clip(max=max(0, len(self.keys) - 1))
        known = self.keys[found] == keys if len(self.keys) else np.zeros(len(left), bool)
        return left[known], self.ranks[found[known]]


class Sentences:
    """Sentences of one side, which can be segmented repeatedly.

    Args:
        tokenizer: the tokenizer of the ids.
        ids: of all sentences, each with its end token. offsets: start of each sentence, and the end.

    Raises:
        ValueError: merging the characters of the text without dropout does not give these ids.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, ids: Ids, offsets: Indices) -> None:
        self.merges, self.end, self.ids, self.offsets = Merges(tokenizer), tokenizer.eos_token_id, ids, offsets
        distinct: dict[str, int] = {}
        pieces, counts = [], []
        backend = tokenizer.backend_tokenizer
        for start in range(0, len(offsets) - 1, SENTENCES_AT_ONCE):
            bounds = offsets[start : start + SENTENCES_AT_ONCE + 1]
            sentences = [ids[begin:end].tolist() for begin, end in itertools.pairwise(bounds)]
            parts = [self._parts(sentence) for sentence in sentences]
            texts = iter(backend.decode_batch(list(itertools.chain.from_iterable(parts))))
            for sentence in parts:
                split = []
                for part in sentence:
                    text, tag = next(texts), self.merges.tags.get(part[0])
                    words = f" {text}" if tag is None else text.removeprefix(tag)
                    split += [] if tag is None else [tag]
                    split += [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(words)]
                pieces += [distinct.setdefault(piece, len(distinct)) for piece in split]
                counts.append(len(split))
        self.pieces, self.counts = np.array(pieces, np.int32), np.array(counts)
        symbols = [self.merges.characters(piece) for piece in distinct]
        self.lengths = np.array([len(each) for each in symbols])
        self.symbols = np.array([symbol for each in symbols for symbol in each], np.int32)
        if not np.array_equal(self.segment(0.0, np.random.default_rng())[0], ids):
            raise ValueError(
                f"bpe_dropout: the tokenizer does not merge characters as those that Sineformer trains do; {FIX}"
            )

    def _parts(self, sentence: list[int]) -> list[list[int]]:
        """Split the ids of a sentence before each tag of a language, since what follows a tag is split by itself."""
        if self.merges.tags.keys().isdisjoint(sentence[1:]):
            return [sentence]
        tags = [place for place, each in enumerate(sentence) if place and each in self.merges.tags]
        return [sentence[start:end] for start, end in itertools.pairwise([0, *tags, len(sentence)])]

    def segment(self, dropout: float, generator: np.random.Generator, limit: int | None = None) -> tuple[Ids, Indices]:
        """Return the ids of all sentences with their end tokens, and their offsets; a sentence that would have more
        than `limit` tokens keeps its original segmentation."""
        firsts = np.cumsum(self.counts) - self.counts
        parts, sizes = [], []
        for start in range(0, len(self.counts), SENTENCES_AT_ONCE):
            counts = self.counts[start : start + SENTENCES_AT_ONCE]
            pieces = self.pieces[firsts[start] : firsts[start] + counts.sum()]
            symbols = gather(self.symbols, (np.cumsum(self.lengths) - self.lengths)[pieces], self.lengths[pieces])
            merged, lengths = self.merges.merge(symbols, self.lengths[pieces], dropout, generator)
            ends = np.cumsum(lengths)[np.cumsum(counts) - 1]
            parts.append(np.insert(merged, ends, self.end))
            sizes.append(np.diff(ends, prepend=0) + 1)
        ids, lengths = np.concatenate(parts), np.concatenate(sizes)
        if limit is not None:
            long, starts = lengths > limit, np.cumsum(lengths) - lengths
            starts[long] = len(ids) + self.offsets[:-1][long]
            lengths[long] = np.diff(self.offsets)[long]
            ids = gather(np.concatenate([ids, self.ids]), starts, lengths)
        return ids.astype(np.int32), np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def gather(values: npt.NDArray[Any], starts: Indices, lengths: Indices) -> npt.NDArray[Any]:
    """Return the concatenation of `values[start : start + length]` for all starts and lengths."""
    shifts = starts - (np.cumsum(lengths) - lengths)
    return values[np.repeat(shifts, lengths) + np.arange(lengths.sum())]


class BpeDropoutPairs:
    """Training pairs in fixed order, segmented differently in every epoch.

    The text is decoded from the token ids, because a cache has no text.

    Args:
        pairs: as the tokenizers segment them.
        tokenizers: of both sides.
        dropout: the probability of dropping a merge, p of the paper.
        seed: determines, with the epoch, which merges are dropped.
        max_length: a side of a pair that would have more tokens keeps its segmentation of `pairs`.

    Raises:
        ValueError: a tokenizer is no BPE as Sineformer trains.
    """

    def __init__(self, pairs: EncodedPairs, tokenizers: Tokenizers, dropout: float, seed: int, max_length: int) -> None:
        self.rows, self.dropout, self.seed, self.max_length = pairs.rows, dropout, seed, max_length
        self.sides = (
            Sentences(tokenizers.source, pairs.source_ids, pairs.source_offsets),
            Sentences(tokenizers.target, pairs.target_ids, pairs.target_offsets),
        )

    def of_epoch(self, epoch: int) -> EncodedPairs:
        """Return the pairs with the segmentation of an epoch."""
        generator = np.random.default_rng((self.seed, epoch))
        source, target = (side.segment(self.dropout, generator, self.max_length) for side in self.sides)
        return EncodedPairs(*source, *target, self.rows)
