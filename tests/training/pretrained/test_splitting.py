"""Test the detection and splitting of lines with several sentences."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import pytest

from sineformer.training.pretrained.splitting import has_several_sentences, join_sentences, load_splitter
from sineformer.training.pretrained.text_translation import TextTranslator
from sineformer.training.pretrained.translation import Search, search_batch
from sineformer.training.pretrained.translator import TranslationError


@pytest.mark.parametrize(
    "line",
    [
        "A man sleeps. A dog barks.",
        'He said "Stop!" "Why?"',
        "Он спит. Она нет.",
        "\u6211\u6765\u4e86\u3002\u4f60\u5462",
    ],
)
def test_several_sentences_are_detected(line: str) -> None:
    assert has_several_sentences(line)


@pytest.mark.parametrize(
    "line", ["A man.", "Dr. J. S. Bach", "e.g. The", "He left... and came.", "the U.S. Army", "", "It costs 3.5 Euro. "]
)
def test_a_single_sentence_is_not_taken_for_several(line: str) -> None:
    assert not has_several_sentences(line)


def test_translations_are_joined_with_blanks_except_after_full_width_punctuation() -> None:
    assert join_sentences(["One.", "", "Two.", "\u4e09\u3002", "\u56db"]) == "One. Two. \u4e09\u3002\u56db"
    assert join_sentences([]) == ""


def test_each_sentence_of_a_line_is_translated(small_model: Any, small_tokenizers: Any) -> None:
    search = Search(num_beams=1)
    one_by_one = partial(map, partial(search_batch, small_model, small_tokenizers, search=search))
    plain, splitting = (
        TextTranslator(small_tokenizers, search, 100, splitter, one_by_one) for splitter in (None, load_splitter("en"))
    )
    ((_, found),) = plain.translate([["Mr. Smith sleeps.", "A dog barks."]])
    first, second = (hypotheses[0].text for hypotheses in found)
    ((_, found),) = splitting.translate([["Mr. Smith sleeps. A dog barks.", " ", "A dog barks."]])
    (both,), (empty,), (alone,) = found
    assert (both.text, empty.text, alone.text) == (f"{first} {second}", "", second)


def test_a_missing_splitter_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(TranslationError, match=r"pip install 'sineformer\[sentences\]'"):
        load_splitter("en")
