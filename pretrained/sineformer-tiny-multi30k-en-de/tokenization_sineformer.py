"""Define `SineformerTokenizer`: a fast tokenizer of transformers, for one shared vocabulary or for two.

    one vocabulary     tokenizer.json                                     loads without this code too, as a stock one
    two vocabularies   tokenizer.json and target_tokenizer/tokenizer.json

It differs from `PreTrainedTokenizerFast` in three ways: it can have a second tokenizer for the target; it finds added
tokens in text, while its original special tokens in text are ordinary text (`split_special_tokens`); and it knows the
languages of a model that translates both directions.

Such a model reads the language to translate into from a *tag* before the source, as Marian's multilingual models do:
`>>de<< A dog.` The normalisation in tokenizer.json puts the default tag before a source that begins with none, so that
a stock tokenizer does so too; this class leaves it out of targets, and can change the default (`tgt_lang`).
"""

import contextlib
import json
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AddedToken, BatchEncoding, PreTrainedTokenizerFast

TARGET_FOLDER = "target_tokenizer"  # subfolder for a separate target vocabulary
TARGET_FILE = f"{TARGET_FOLDER}/tokenizer.json"
TARGET_ARGUMENT = "target_tokenizer_file"  # keyword by which transformers passes the path of that file
SHARED_SETTINGS = ("padding_side", "truncation_side", "model_max_length", "split_special_tokens")
HUB_ARGUMENTS = ("repo_id", "commit_message", "commit_description", "private", "token", "revision", "create_pr", "tags")
STOCK_CLASS = "PreTrainedTokenizerFast"  # known to transformers 4 and 5
TAG = re.compile(r">>(\S+?)<<")


def tag_of(language: str) -> str:
    """Return the tag before a source that is to be translated into a language."""
    return f">>{language}<<"


def tagged_languages(tokenizer: Any) -> list[str]:
    """Return the languages that a tokenizer has tags for, in the order of their ids; none for a model that translates
    one direction."""
    if _tagging(tokenizer) is None:
        return []
    added = sorted(tokenizer.get_added_vocab().items(), key=lambda item: item[1])
    return [found[1] for token, _ in added if (found := TAG.fullmatch(token))]


def target_language(tokenizer: Any, src_lang: str | None = None, tgt_lang: str | None = None) -> str:
    """Return the language to translate into, of a model that translates both directions.

    Args:
        tokenizer: with tags.
        src_lang: code of the language of the sources; None if it is the other one than `tgt_lang`.
        tgt_lang: code of the language to translate into; None if it is the other one than `src_lang`.

    Raises:
        ValueError: the tokenizer has no such languages.
    """
    languages = tagged_languages(tokenizer)
    if not languages:
        raise ValueError("This tokenizer has no tags of languages: its model translates one direction only.")
    for language in (src_lang, tgt_lang):
        if language not in (None, *languages):
            raise ValueError(f"This model translates between {' and '.join(languages)}, not {language!r}.")
    if src_lang is None and tgt_lang is None:
        raise ValueError(f"Give one of the languages of this model: {' or '.join(languages)}.")
    if src_lang == tgt_lang:
        raise ValueError(f"Source and target language are both {tgt_lang!r}.")
    return tgt_lang or next(language for language in languages if language != src_lang)


def with_tag(tokenizer: Any, text: str, tgt_lang: str) -> str:
    """Return a source with the tag of a language before it, or as it is if it begins with a tag."""
    return text if split_tag(tokenizer, text)[0] else f"{tag_of(tgt_lang)} {text}"


def split_tag(tokenizer: Any, text: str) -> tuple[str, str]:
    """Return the tag that a source begins with, empty if there is none, and the rest of the source."""
    begins = text.lstrip()
    tags = map(tag_of, tagged_languages(tokenizer) if begins.startswith(">>") else [])
    tag = next(filter(begins.startswith, tags), "")
    return tag, begins.removeprefix(tag) if tag else text


@contextlib.contextmanager
def without_tags(tokenizer: Any) -> Iterator[None]:
    """Put no tag before texts while this context lasts, in which targets are encoded."""
    step = _tagging(tokenizer)
    if step is None:
        yield
        return
    content, step.content = step.content, " "  # it replaces the blank that begins a normalised text
    try:
        yield
    finally:
        step.content = content


def _tagging(tokenizer: Any) -> Any:
    """Return the last step of the normalisation if it puts a tag before texts, or None."""
    steps: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    last = steps[len(steps) - 1] if hasattr(steps, "__len__") and len(steps) else None
    return last if TAG.search(getattr(last, "content", "")) else None


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

        Raises:
            ValueError: the tokenizer puts tags before sources.
        """
        tokens = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens]
        # Known tokens do not change: adding `</s>` again does not make it found in text.
        known = {token.content for token in self.added_tokens_decoder.values()}
        new = [_found_in_text(each, special_tokens) for each in tokens if str(each) not in known]
        self._refuse_tokens(new)
        return super().add_tokens(new)

    def add_special_tokens(self, special_tokens_dict: Any, *args: Any, **kwargs: Any) -> int:
        """Add special tokens as in transformers; see `add_tokens`."""
        given = [value if isinstance(value, list | tuple) else [value] for value in special_tokens_dict.values()]
        known = {token.content for token in self.added_tokens_decoder.values()}
        # transformers would refuse them too late: their names would be set, and saved.
        self._refuse_tokens([str(token) for tokens in given for token in tokens if str(token) not in known])
        return super().add_special_tokens(special_tokens_dict, *args, **kwargs)

    def _refuse_tokens(self, new: list[Any]) -> None:
        """Raise a `ValueError` if there are new tokens, but tags before sources."""
        if new and _tagging(self) is not None:
            # An added token splits a text, and each part is normalised by itself.
            raise ValueError("No tokens can be added: every text after such a token would get the tag of a language.")

    def convert_ids_to_tokens(self, ids: Any, *args: Any, **kwargs: Any) -> Any:
        """Return tokens as in transformers, spelled as in the vocabulary."""
        return self._spelled(super().convert_ids_to_tokens(ids, *args, **kwargs))

    def tokenize(self, *args: Any, **kwargs: Any) -> Any:
        """Return tokens as in transformers, spelled as in the vocabulary."""
        return self._spelled(super().tokenize(*args, **kwargs))

    def _spelled(self, tokens: Any) -> Any:
        """Return tokens or one token, tags without the blank that begins a normalised text: with it, a tag is no token
        of the vocabulary. Releases of `tokenizers` differ in where they have it."""
        tags = {f" {tag}": tag for tag in map(tag_of, tagged_languages(self))}
        if not tags:
            return tokens
        return tags.get(tokens, tokens) if isinstance(tokens, str) else [tags.get(each, each) for each in tokens]

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
        src_lang, tgt_lang: codes of the languages to translate from and into by default, named as in `NllbTokenizer`;
            None for a model that translates one direction. `from_pretrained` takes them too.

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

    @property
    def tgt_lang(self) -> str | None:
        tag = TAG.search(getattr(_tagging(self), "content", ""))
        return None if tag is None else tag[1]

    @tgt_lang.setter
    def tgt_lang(self, language: str) -> None:
        _tagging(self).content = f" {tag_of(target_language(self, tgt_lang=language))} "

    @property
    def src_lang(self) -> str | None:
        return None if self.tgt_lang is None else target_language(self, src_lang=self.tgt_lang)

    @src_lang.setter
    def src_lang(self, language: str) -> None:
        self.tgt_lang = target_language(self, src_lang=language)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *inputs: Any, **kwargs: Any) -> Any:
        """Load as in transformers, with the tokenizer of the target if there is one.

        Raises:
            OSError: the tokenizer of source or target is missing.
            ValueError: `src_lang` or `tgt_lang` is given, and the tokenizer has no tag for it.
        """
        languages = {name: kwargs.pop(name, None) for name in ("src_lang", "tgt_lang")}
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
        if any(languages.values()):
            tokenizer.tgt_lang = target_language(tokenizer, **languages)
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
        """Encode as in transformers; `text_target` with the target vocabulary and no tag, as `labels` if there is a
        source too."""
        words = kwargs.get("is_split_into_words", False)
        if self.tgt_lang is not None and text is not None and (text_pair is not None or words):
            raise ValueError("A source is one text, not words or two texts: each would get the tag of a language.")
        if text_target is None or (self.target_tokenizer is None and self.tgt_lang is None):
            return super().__call__(text, text_pair, text_target, text_pair_target, **kwargs)
        max_target_length = kwargs.pop("max_target_length", None)
        limit = {} if max_target_length is None else {"max_length": max_target_length}
        labels = self._encode_target(text_target, text_pair_target, **{**kwargs, **limit})
        if text is None:
            return labels
        batch = super().__call__(text, text_pair, **kwargs)
        batch["labels"] = labels["input_ids"]
        return batch

    def _encode_target(self, text: Any, text_pair: Any, **kwargs: Any) -> BatchEncoding:
        target = self.target_tokenizer
        if target is None:
            with without_tags(self):
                return super().__call__(text, text_pair, **kwargs)
        self._share_settings(target)
        return target(text, text_pair, **kwargs)

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
