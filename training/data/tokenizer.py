"""Byte-fallback BPE, trained on the sentences themselves.

`text -> normalise -> pieces -> merges -> ids </s>`, and back without loss: `decode(encode(x),
skip_special_tokens=True)` is `normalise(x)` for every Unicode text x.

- *Normalisation* is Unicode NFC and nothing else. Case, spaces and line breaks stay.
- *Spaces* are ordinary characters inside tokens (" the"), not replaced by U+2581: a stand-in would turn into a space
  when it occurs in the text itself. One space is put before the text, so that a word has one token at the start and
  within a sentence; decoding takes it off again.
- *Pieces* limit merges: runs of letters, single digits, runs of other marks, runs of spaces; a word or mark takes the
  space before it along. No piece mixes letters, digits and marks, so no merge can spell a special or a byte token.
- *Byte fallback*: characters outside the alphabet become their UTF-8 bytes `<0x00>` ... `<0xFF>`; `<unk>` never
  appears.
- *Ids*: `<pad> <unk> <s> </s>` are 0 to 3, bytes 4 to 259, then the alphabet and the merges.

Special tokens written out in a text are text (`split_special_tokens`), tokens added later are found in it. That setting
lives in tokenizer_config.json; a program that reads tokenizer.json with `tokenizers` alone sets
`tokenizer.encode_special_tokens = True` for the same effect.

There is no limit of length: positions are sines and cosines.
"""

import hashlib
import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ...modeling.tokenization_sineformer import TARGET_FOLDER, SideTokenizer, SineformerTokenizer

SPECIAL_TOKENS = ["<pad>", "<unk>", "<s>", "</s>"]
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s"
# Those of our own tokenizers, and of those that converted models bring along.
TOKENIZER_FILES = (
    *("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "target_vocab.json", "source.spm", "target.spm"),
)


class Tokenizers(NamedTuple):
    """The tokenizers of the two sides; a joint one stands in both places. `text_target=` encodes the target: the one of
    a converted Marian model stands in both places too, and has pieces of its own for each side.

    Attributes:
        files: contents of the files that they were loaded from, by path in their folder; None for new ones.
    """

    source: PreTrainedTokenizerFast
    target: PreTrainedTokenizerFast
    files: Mapping[str, bytes] | None = None

    @property
    def joint(self) -> bool:
        return self.source is self.target

    def digest(self) -> str:
        """The SHA-256 of the vocabulary and of all that turns text into ids."""
        if self.files is None or self.source.is_fast:
            contents = [each.backend_tokenizer.to_str().encode() for each in (self.source, self.target)]
        else:
            contents = list(self.files.values())
        return hashlib.sha256(b"\n".join(contents)).hexdigest()


def normalise(text: str) -> str:
    """The text that decoding gives back: Unicode NFC."""
    return normalizers.NFC().normalize_str(text)


def train_tokenizer(texts: Iterable[str], vocab_size: int, kind: type[SideTokenizer] = SineformerTokenizer) -> Any:
    """Train one tokenizer; the same texts in the same order always give the same one.

    Args:
        texts: the training sentences, gone through several times; both sides one after the other for a joint
            vocabulary.
        vocab_size: number of ids. At most half of what specials and bytes leave goes to the alphabet (most frequent
            characters first), the rest to merges. Data with fewer merges give a smaller tokenizer, with a warning.
        kind: class of the tokenizer; `SideTokenizer` for the target where it has a vocabulary of its own.

    Raises:
        ValueError: `vocab_size` leaves no room after specials and bytes, or there is no text.
    """
    alphabet = _alphabet(texts, vocab_size)
    trained = _assemble(models.BPE(unk_token="<unk>", byte_fallback=True))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *BYTE_TOKENS],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    trained.train_from_iterator(iter(texts), trainer)
    tokenizer = _wrap(trained, kind)
    if len(tokenizer) < vocab_size:
        warnings.warn(
            f"the text supports {len(tokenizer)} tokens, not the {vocab_size} of vocab_size; going on with fewer",
            stacklevel=2,
        )
    return tokenizer


def _alphabet(texts: Iterable[str], vocab_size: int) -> list[str]:
    """The most frequent characters. Chosen here since the trainer breaks ties of frequency at random."""
    fixed = len(SPECIAL_TOKENS) + len(BYTE_TOKENS)
    if vocab_size <= fixed:
        raise ValueError(
            f"vocab_size is {vocab_size}, but {len(SPECIAL_TOKENS)} special and {len(BYTE_TOKENS)} byte tokens take "
            f"{fixed}; ask for some hundreds more"
        )
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


def _wrap(trained: Tokenizer, kind: type[SideTokenizer]) -> SideTokenizer:
    """A fast tokenizer over the trained merges, with the four special tokens as its only added tokens.

    The trainer knows no other way to reserve ids than added tokens; left in place, the byte tokens would be matched
    inside text.
    """
    model = json.loads(trained.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    rebuilt = _assemble(models.BPE(vocab=model["vocab"], merges=merges, unk_token="<unk>", byte_fallback=True))
    rebuilt.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
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
    )


class _BothSides(Iterable[str]):
    """The sentences of both sides, which need not be in memory."""

    def __init__(self, *sides: Iterable[str]) -> None:
        self.sides = sides

    def __iter__(self) -> Iterator[str]:
        return itertools.chain(*self.sides)


def train_tokenizers(
    sources: Iterable[str],
    targets: Iterable[str],
    vocab_size: int,
    target_vocab_size: int | None = None,
) -> Tokenizers:
    """One joint tokenizer over both sides, or two separate ones when `target_vocab_size` is given."""
    if target_vocab_size is None:
        joint = train_tokenizer(_BothSides(sources, targets), vocab_size)
        return Tokenizers(joint, joint)
    source = train_tokenizer(sources, vocab_size)
    source.target_tokenizer = train_tokenizer(targets, target_vocab_size, SideTokenizer)
    return Tokenizers(source, source.target_tokenizer)


def save_tokenizers(tokenizers: Tokenizers, directory: str | Path) -> None:
    """Write the source (or joint) tokenizer to `directory` and a separate target one to its folder `target_tokenizer`.
    The files of tokenizers that were loaded are written as they were, unless they lack what `SineformerTokenizer`
    writes: transformers would add how they were loaded.

    Raises:
        ValueError: a joint tokenizer over a folder that holds a separate target one, which would be taken for its
            other half.
    """
    directory = Path(directory)
    if tokenizers.joint and (directory / TARGET_FOLDER).exists():
        raise ValueError(
            f"{directory} already holds separate tokenizers; choose another folder or remove {TARGET_FOLDER}"
        )
    if tokenizers.files is not None and not _is_older(tokenizers):
        for name, content in tokenizers.files.items():
            file = directory / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return
    tokenizers.source.save_pretrained(directory)


def _is_older(tokenizers: Tokenizers) -> bool:
    """Whether the files have two vocabularies and do not say so, as those of before there was a class for it."""
    if tokenizers.joint or tokenizers.files is None:
        return False
    config = json.loads(tokenizers.files["tokenizer_config.json"])
    return "separate_vocabs" not in config


def _files(directory: Path) -> dict[str, bytes]:
    """Return the contents of the tokenizers' files in a folder, by their path in it."""
    names = [prefix + name for prefix in ("", f"{TARGET_FOLDER}/") for name in TOKENIZER_FILES]
    return {name: (directory / name).read_bytes() for name in names if (directory / name).is_file()}


def load_tokenizers(directory: str | Path) -> Tokenizers:
    """The tokenizers that `save_tokenizers` wrote, or the one of a converted Marian model, which serves both sides.

    Raises:
        ValueError: there is no tokenizer in `directory`.
    """
    directory = Path(directory)
    if (directory / "source.spm").is_file():
        marian: Any = AutoTokenizer.from_pretrained(directory)
        return Tokenizers(marian, marian, _files(directory))
    if not (directory / "tokenizer.json").is_file():
        raise ValueError(f"{directory} holds no tokenizer.json; give the folder that training wrote")
    source: SineformerTokenizer = SineformerTokenizer.from_pretrained(directory)
    return Tokenizers(source, source.target_tokenizer or source, _files(directory))
