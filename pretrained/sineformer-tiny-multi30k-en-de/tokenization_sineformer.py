"""Define `SineformerTokenizer`: a fast tokenizer of transformers, for one shared vocabulary or for two.

    one vocabulary     tokenizer.json                                     loads without this code too, as a stock one
    two vocabularies   tokenizer.json and target_tokenizer/tokenizer.json

It differs from `PreTrainedTokenizerFast` in two ways: it can have a second tokenizer for the target, and it finds added
tokens in text, while its original special tokens in text are ordinary text (`split_special_tokens`).
"""

import json
import os
import posixpath
from pathlib import Path
from typing import Any

from transformers import AddedToken, BatchEncoding, PreTrainedTokenizerFast

TARGET_FOLDER = "target_tokenizer"  # subfolder for a separate target vocabulary
TARGET_FILE = f"{TARGET_FOLDER}/tokenizer.json"
TARGET_ARGUMENT = "target_tokenizer_file"  # keyword by which transformers passes the path of that file
SHARED_SETTINGS = ("padding_side", "truncation_side", "model_max_length", "split_special_tokens")
HUB_ARGUMENTS = ("repo_id", "commit_message", "commit_description", "private", "token", "revision", "create_pr", "tags")
STOCK_CLASS = "PreTrainedTokenizerFast"  # known to transformers 4 and 5


class SideTokenizer(PreTrainedTokenizerFast):
    """Tokenize one side, source or target. Added tokens are found in text, special ones too."""

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False, **kwargs: Any) -> int:
        """Add tokens that are found in text.

        A blank after such a token belongs to it, so that the text after it is tokenised as at the start of a sentence.

        Args:
            new_tokens: one or several, as text or `AddedToken`.
            special_tokens: whether decoding may skip them; set by `add_special_tokens`.

        Returns:
            The number of new tokens.
        """
        tokens = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens]
        # Known tokens do not change: adding `</s>` again does not make it found in text.
        known = {token.content for token in self.added_tokens_decoder.values()}
        return super().add_tokens([_found_in_text(each, special_tokens) for each in tokens if str(each) not in known])

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> Any:
        """Return the text of token ids; for a batch, a list of texts.

        Args:
            token_ids: one id, `[T]` or `[B, T]`.
            skip_special_tokens: whether to leave out special tokens, added ones too.
        """
        kwargs.pop("use_source_tokenizer", None)
        ids = _as_lists(token_ids)
        if isinstance(ids, int):
            ids = [ids]
        if ids and isinstance(ids[0], list):
            return [SideTokenizer.decode(self, each, skip_special_tokens, **kwargs) for each in ids]
        if skip_special_tokens:
            special = set(self.all_special_ids)
            ids = [each for each in ids if each not in special]
        return super().decode(ids, skip_special_tokens=skip_special_tokens, **kwargs)


def _found_in_text(token: str | AddedToken, special: bool) -> AddedToken:
    """Return `token` as not special for `tokenizers`, which then finds it in text despite `split_special_tokens`.

    transformers keeps its own list of special tokens.
    """
    if isinstance(token, AddedToken) and token.special and not special:
        return token  # one of the original special tokens
    marks = {} if isinstance(token, str) else {"single_word": token.single_word, "lstrip": token.lstrip}
    return AddedToken(str(token), rstrip=True, normalized=False, special=False, **marks)


def _as_lists(ids: Any) -> Any:
    """Return ids (a number, an array, a tensor or a list of these) as Python numbers in lists."""
    if hasattr(ids, "tolist"):
        return ids.tolist()
    return [_as_lists(each) for each in ids] if isinstance(ids, list | tuple) else ids


class SineformerTokenizer(SideTokenizer):
    """Encode sources, and targets with `text_target=`; decode targets.

    With one vocabulary, both sides use it. With two, the ids, `len`, special and added tokens of this object are the
    source's; those of the target are in `target_tokenizer`. Padding, truncation and `split_special_tokens` apply to
    both.

    There is no default length limit, since positions are sinusoids: `truncation=True` truncates only to a given
    `max_length` or `model_max_length`.

    Attributes:
        target_tokenizer: the tokenizer of a separate target vocabulary, or None.

    ```python
    >>> tokenizer = AutoTokenizer.from_pretrained(DIR, trust_remote_code=True)  # doctest: +SKIP
    >>> batch = tokenizer("The dog sleeps.", text_target="Der Hund schläft.")  # doctest: +SKIP
    >>> tokenizer.decode(batch["labels"], skip_special_tokens=True)  # doctest: +SKIP
    'Der Hund schläft.'

    ```
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json", TARGET_ARGUMENT: TARGET_FILE}  # noqa: RUF012 - as in every tokenizer
    target_tokenizer: SideTokenizer | None = None

    @property
    def separate_vocabs(self) -> bool:
        """Return whether source and target have separate vocabularies; named as in `MarianTokenizer`."""
        return self.target_tokenizer is not None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *inputs: Any, **kwargs: Any) -> Any:
        """Load as in transformers, with the tokenizer of the target if there is one.

        Raises:
            OSError: the tokenizer of source or target is missing.
        """
        tokenizer = super().from_pretrained(pretrained_model_name_or_path, *inputs, **kwargs)
        file = tokenizer.init_kwargs.pop(TARGET_ARGUMENT, None)
        # Folders written before this class have no such field: with the file, there are two.
        if tokenizer.init_kwargs.pop("separate_vocabs", file is not None):
            if file is None:
                raise OSError(
                    f"{pretrained_model_name_or_path} has separate vocabularies for source and target, but lacks "
                    f"{TARGET_FILE}; copy it there, or save the tokenizer again"
                )
            kwargs["subfolder"] = posixpath.join(kwargs.get("subfolder") or "", TARGET_FOLDER)
            tokenizer.target_tokenizer = SideTokenizer.from_pretrained(pretrained_model_name_or_path, *inputs, **kwargs)
        return tokenizer

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """Save all vocabularies and the code of this class; arguments as `PreTrainedTokenizerFast.save_pretrained`.

        Returns:
            The paths of the files.
        """
        hub = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs}
        push_to_hub = kwargs.pop("push_to_hub", False)
        files = super().save_pretrained(save_directory, *args, **kwargs)
        target = self.target_tokenizer
        if target is None:
            _describe(Path(files[0]), separate_vocabs=False, tokenizer_class=STOCK_CLASS)
        else:
            _describe(Path(files[0]), separate_vocabs=True)
            self._share_settings(target)
            more = target.save_pretrained(Path(save_directory) / TARGET_FOLDER, *args, **kwargs)
            _describe(Path(more[0]), tokenizer_class=STOCK_CLASS)
            files = (*files, *more)
        if push_to_hub:
            self.push_to_hub(hub.pop("repo_id", Path(save_directory).name), **hub)
        return files

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Encode as in transformers; `text_target` with the target vocabulary, as `labels` if there is a source too."""
        target = self.target_tokenizer
        if target is None or text_target is None:
            return super().__call__(text, text_pair, text_target, text_pair_target, **kwargs)
        self._share_settings(target)
        max_target_length = kwargs.pop("max_target_length", None)
        limit = {} if max_target_length is None else {"max_length": max_target_length}
        labels = target(text_target, text_pair_target, **{**kwargs, **limit})
        if text is None:
            return labels
        batch = super().__call__(text, text_pair, **kwargs)
        batch["labels"] = labels["input_ids"]
        return batch

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> Any:
        """Return the text of target ids, or of source ids with `use_source_tokenizer=True`; see `SideTokenizer`."""
        target = self.target_tokenizer
        if target is None or kwargs.pop("use_source_tokenizer", False):
            return super().decode(token_ids, skip_special_tokens, **kwargs)
        return target.decode(token_ids, skip_special_tokens, **kwargs)

    def _share_settings(self, target: SideTokenizer) -> None:
        """Copy the settings that callers see and change to the tokenizer of the target."""
        for name in SHARED_SETTINGS:
            setattr(target, name, getattr(self, name))


def _describe(path: Path, **changes: Any) -> None:
    """Set fields of a tokenizer_config.json."""
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


SineformerTokenizer.register_for_auto_class()  # saving it saves this file and names it in `auto_map`
