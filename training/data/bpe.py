"""Train byte-fallback BPE tokenizers on the training text.

`text -> normalise -> pieces -> merges -> ids </s>`, and back without loss: `decode(encode(x),
skip_special_tokens=True)` is `normalise(x)` for every Unicode text x.

- *Normalisation* is Unicode NFC and nothing else. Case, spaces and line breaks stay.
- *Spaces* are ordinary characters inside tokens (" the"), not replaced by U+2581: a U+2581 of the text would become a
  space. One space is added before the text, so that a word has the same token at the start of a sentence and within;
  decoding removes it.
- *Pieces* limit merges: runs of letters, single digits, runs of other marks, runs of spaces; a word or mark includes
  the space before it. No piece mixes letters, digits and marks, so no merge can spell a special or a byte token.
- *Byte fallback*: characters outside the alphabet become their UTF-8 bytes `<0x00>` ... `<0xFF>`; `<unk>` never
  appears.
- *Ids*: `<pad> <unk> <s> </s>` are 0 to 3, bytes 4 to 259, then the alphabet and the merges, and last the tags of the
  languages if there are some.

Special tokens spelled in a text are text (`split_special_tokens`); tokens added later are found in it. This setting is
in tokenizer_config.json; a program that reads tokenizer.json with only `tokenizers` sets
`tokenizer.encode_special_tokens = True` for the same effect.

There is no limit of length, because positions are sinusoidal.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ...modeling.tokenization_sineformer import SideTokenizer, SineformerTokenizer, tag_of
from ..settings.data_arguments import TokenizerArguments
from .tokenizer import Tokenizers

SPECIAL_TOKENS = ["<pad>", "<unk>", "<s>", "</s>"]
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s"
SAMPLE_SEED = 0  # not the seed of the run, so that runs with different seeds are comparable

Pair = tuple[str, str]


def normalise(text: str) -> str:
    """Return the text that decoding returns: Unicode NFC."""
    return normalizers.NFC().normalize_str(text)


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    kind: type[SideTokenizer] = SineformerTokenizer,
    languages: Sequence[str] = (),
) -> Any:
    """Train one tokenizer; deterministic for the same texts in the same order.

    Args:
        texts: the training sentences, read several times; for a joint vocabulary, those of both sides.
        vocab_size: number of ids. At most half of those left by specials and bytes are for the alphabet (most frequent
            characters first), the others for merges. Text with fewer merges gives a smaller tokenizer and a warning.
        kind: class of the tokenizer; `SideTokenizer` for a target with a separate vocabulary.
        languages: codes of those that sources can be translated into; each has a tag, the last one's is the default.

    Raises:
        ValueError: `vocab_size` leaves no room after specials and bytes, or there is no text.
    """
    learnt = vocab_size - len(languages)
    if learnt <= len(SPECIAL_TOKENS) + len(BYTE_TOKENS):
        tags = f", {len(languages)} tags of languages" if languages else ""
        raise ValueError(
            f"vocab_size is {vocab_size}, but {len(SPECIAL_TOKENS)} special and {len(BYTE_TOKENS)} byte tokens{tags} "
            f"take {vocab_size - learnt + len(SPECIAL_TOKENS) + len(BYTE_TOKENS)}; raise it by at least some hundreds"
        )
    alphabet = _alphabet(texts, learnt)
    trained = _assemble(models.BPE(unk_token="<unk>", byte_fallback=True))
    trainer = trainers.BpeTrainer(
        vocab_size=learnt,
        special_tokens=[*SPECIAL_TOKENS, *BYTE_TOKENS],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    trained.train_from_iterator(iter(texts), trainer)
    tokenizer = _wrap(trained, kind, [tag_of(language) for language in languages])
    if len(tokenizer) < vocab_size:
        warnings.warn(
            f"the text supports {len(tokenizer)} tokens, not the {vocab_size} of vocab_size; using fewer",
            stacklevel=2,
        )
    return tokenizer


def _alphabet(texts: Iterable[str], vocab_size: int) -> list[str]:
    """Return the most frequent characters. Selected here because the trainer breaks ties at random."""
    fixed = len(SPECIAL_TOKENS) + len(BYTE_TOKENS)
    counts: Counter[str] = Counter(" ")
    for text in texts:
        counts.update(normalise(text))
    if not any(texts):
        raise ValueError("there is no text to train a tokenizer on; give at least one sentence that is not empty")
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    return ranked[: (vocab_size - fixed + 1) // 2]


def _assemble(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Prepend(" ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    end = SPECIAL_TOKENS.index("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", end)]
    )
    return tokenizer


def _wrap(trained: Tokenizer, kind: type[SideTokenizer], tags: list[str]) -> SideTokenizer:
    """Return a fast tokenizer with the trained merges, whose only added tokens are the four special tokens and tags.

    The trainer can reserve ids only as added tokens; as such, byte tokens would be matched inside text.
    """
    model = json.loads(trained.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    rebuilt = _assemble(models.BPE(vocab=model["vocab"], merges=merges, unk_token="<unk>", byte_fallback=True))
    rebuilt.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    if tags:
        _add_tags(rebuilt, tags)
    return kind(
        tokenizer_object=rebuilt,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        **({"extra_special_tokens": tags} if tags else {}),
    )


def _add_tags(tokenizer: Tokenizer, tags: list[str]) -> None:
    """Add the tags of languages, and put the last one before every text that begins with none.

    Tags are found in the normalised text, with the blank that begins it. `tokenizers` finds no special tokens in text
    here (`split_special_tokens`), so tags are special for transformers only.
    """
    known = "|".join(map(re.escape, tags))
    tagging = normalizers.Replace(Regex(rf"\A (?!\s*(?:{known}))"), f" {tags[-1]} ")
    tokenizer.normalizer = normalizers.Sequence([*tokenizer.normalizer, tagging])
    tokenizer.add_tokens([AddedToken(tag, lstrip=True, normalized=True, special=False) for tag in tags])


class _BothSides(Iterable[str]):
    """Sentences of both sides, which need not be in memory."""

    def __init__(self, *sides: Iterable[str]) -> None:
        self.sides = sides

    def __iter__(self) -> Iterator[str]:
        return itertools.chain(*self.sides)


def train_tokenizers(
    sources: Iterable[str],
    targets: Iterable[str],
    vocab_size: int,
    target_vocab_size: int | None = None,
    languages: Sequence[str] = (),
) -> Tokenizers:
    """Train one joint tokenizer on both sides, or two separate ones if `target_vocab_size` is given; `languages` as in
    `train_tokenizer`, for a joint one."""
    if target_vocab_size is None:
        joint = train_tokenizer(_BothSides(sources, targets), vocab_size, languages=languages)
        return Tokenizers(joint, joint)
    source = train_tokenizer(sources, vocab_size)
    source.target_tokenizer = train_tokenizer(targets, target_vocab_size, SideTokenizer)
    return Tokenizers(source, source.target_tokenizer)


class Texts(Iterable[str]):
    """One side of pairs; each iteration reads them again."""

    def __init__(self, open_pairs: Callable[[], Iterator[Pair]], side: int) -> None:
        self.open_pairs, self.side = open_pairs, side

    def __iter__(self) -> Iterator[str]:
        return (pair[self.side] for pair in self.open_pairs())


def train_vocabulary(
    sizes: TokenizerArguments, open_pairs: Callable[[], Iterator[Pair]], languages: Sequence[str] = ()
) -> Tokenizers:
    """Train the tokenizers on the pairs of `open_pairs`, which are read several times without a `tokenizer_sample`;
    `languages` as in `train_tokenizers`.

    Raises:
        ValueError: the vocabulary cannot be made.
    """
    if sizes.tokenizer_sample is not None:
        sample = draw_sample(open_pairs(), sizes.tokenizer_sample)
        return train_vocabulary_on(sizes, lambda: iter(sample), languages)
    return train_vocabulary_on(sizes, open_pairs, languages)


def train_vocabulary_on(
    sizes: TokenizerArguments, open_pairs: Callable[[], Iterator[Pair]], languages: Sequence[str] = ()
) -> Tokenizers:
    """Train the tokenizers on all of these pairs, whatever `tokenizer_sample` is."""
    sides = Texts(open_pairs, 0), Texts(open_pairs, 1)
    return train_tokenizers(*sides, sizes.vocab_size, sizes.target_vocab_size, languages)


def draw_sample(pairs: Iterable[Pair], size: int) -> list[Pair]:
    """Return a uniform random sample of at most `size` pairs, deterministic for the same pairs.

    Reservoir sampling (Vitter, 1985, algorithm R): only the sample is in memory.
    """
    rng = random.Random(SAMPLE_SEED)
    sample: list[Pair] = []
    for number, pair in enumerate(pairs):
        if number < size:
            sample.append(pair)
        elif (slot := int(rng.random() * (number + 1))) < size:
            sample[slot] = pair
    return sample
