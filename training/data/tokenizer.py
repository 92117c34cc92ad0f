"""Load, save and identify the tokenizers of a model."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ...modeling.tokenization_sineformer import TARGET_FOLDER, SineformerTokenizer

# Files of our tokenizers and of those of converted models.
TOKENIZER_FILES = (
    *("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "target_vocab.json", "source.spm", "target.spm"),
)


class Tokenizers(NamedTuple):
    """Tokenizers of the two sides; a joint tokenizer is both. `text_target=` encodes the target. The tokenizer of a
    converted Marian model is both too, with a segmentation of its own for each side.

    Attributes:
        files: contents of the files that they were loaded from, by path in their folder; None for new tokenizers.
    """

    source: PreTrainedTokenizerFast
    target: PreTrainedTokenizerFast
    files: Mapping[str, bytes] | None = None

    @property
    def joint(self) -> bool:
        return self.source is self.target

    def digest(self) -> str:
        """Return the SHA-256 of the vocabulary and of everything else that determines ids."""
        if self.files is None or self.source.is_fast:
            contents = [each.backend_tokenizer.to_str().encode() for each in (self.source, self.target)]
        else:
            contents = list(self.files.values())
        return hashlib.sha256(b"\n".join(contents)).hexdigest()


def save_tokenizers(tokenizers: Tokenizers, directory: str | Path) -> None:
    """Write the source (or joint) tokenizer to `directory` and a separate target tokenizer to `target_tokenizer` in it.

    Loaded files are written unchanged, because transformers would add arguments of loading; an exception are files
    without what `SineformerTokenizer` writes.

    Raises:
        ValueError: the tokenizer is joint, but the folder has a separate target tokenizer, which would be loaded.
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
    """Return whether the files have two vocabularies but are older than the class that records this."""
    if tokenizers.joint or tokenizers.files is None:
        return False
    config = json.loads(tokenizers.files["tokenizer_config.json"])
    return "separate_vocabs" not in config


def _files(directory: Path) -> dict[str, bytes]:
    """Return the contents of the tokenizer files in a folder, by path."""
    names = [prefix + name for prefix in ("", f"{TARGET_FOLDER}/") for name in TOKENIZER_FILES]
    return {name: (directory / name).read_bytes() for name in names if (directory / name).is_file()}


def load_tokenizers(directory: str | Path) -> Tokenizers:
    """Load the tokenizers that `save_tokenizers` wrote, or the tokenizer of a converted Marian model.

    Raises:
        ValueError: `directory` has no tokenizer.
    """
    directory = Path(directory)
    if (directory / "source.spm").is_file():
        marian: Any = AutoTokenizer.from_pretrained(directory)
        return Tokenizers(marian, marian, _files(directory))
    if not (directory / "tokenizer.json").is_file():
        raise ValueError(f"{directory} holds no tokenizer.json; give the folder that training wrote")
    source: SineformerTokenizer = SineformerTokenizer.from_pretrained(directory)
    return Tokenizers(source, source.target_tokenizer or source, _files(directory))
