"""Split paragraphs into sentences, and detect lines of several sentences.

A model trained on sentence pairs translates one sentence; of a line with several it often drops the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .translator import TranslationError

# The end of a sentence, perhaps quotes, a blank, perhaps quotes, a letter. Before a full stop are at least four
# letters, which excludes initials and most abbreviations. Full-width punctuation needs no blank.
_SEVERAL = re.compile(r"(?:[^\W\d_]{4}\.|[!?…؟।])[^\w\s]*\s+[^\w\s]*(?P<first>[^\W\d_])|[\u3002\uff01\uff1f]\s*\w")
_FULL_WIDTH = ("\u3002", "\uff01", "\uff1f", "\u300d", "\u300f")

Splitter = Callable[[str], list[str]]


def has_several_sentences(line: str) -> bool:
    """Return whether a line seems to have several sentences; abbreviations and unusual punctuation can mislead it."""
    return any(match["first"] is None or not match["first"].islower() for match in _SEVERAL.finditer(line))


def load_splitter(language: str) -> Splitter:
    """Return a function that splits a paragraph in this language into sentences.

    Args:
        language: a code such as "en"; sentencex takes the rules of a related language for an unknown one.

    Raises:
        TranslationError: sentencex is not installed.
    """
    try:
        from sentencex import segment
    except ModuleNotFoundError as error:
        raise TranslationError("splitting needs sentencex: pip install 'sineformer[sentences]'") from error
    return lambda text: [sentence.strip() for sentence in segment(language, text)]


def split_lines(lines: Sequence[str], splitter: Splitter) -> list[list[str]]:
    """Return the sentences of each line, without empty ones."""
    return [[sentence for sentence in splitter(line) if sentence] for line in lines]


def join_sentences(sentences: Sequence[str]) -> str:
    """Join the translations of the sentences of a line, with blanks except after full-width punctuation."""
    joined = ""
    for sentence in filter(None, sentences):
        joined += ("" if not joined or joined.endswith(_FULL_WIDTH) else " ") + sentence
    return joined
