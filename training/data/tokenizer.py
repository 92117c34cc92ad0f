"""The tokenizers of a model: load them, save them, and tell them from others."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ...modeling.tokenization_sineformer import TARGET_FOLDER, SineformerTokenizer

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
