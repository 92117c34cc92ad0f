"""Test batching, order and settings of `translate_lines`."""

import itertools
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from sineformer.training.pretrained import translation
from sineformer.training.pretrained.translation import translate_lines


class Parrot:
    """Stand in for a model: `generate` returns the source in upper case and records its batches."""

    device = torch.device("cpu")
    generation_config = GenerationConfig(eos_token_id=3, pad_token_id=0)

    def __init__(self, tokenizers: Any) -> None:
        self.tokenizers = tokenizers
        self.batches: list[list[str]] = []
        self.beams: list[int | None] = []

    def generate(self, input_ids: torch.Tensor, num_beams: int | None = None, **settings: Any) -> torch.Tensor:
        texts = self.tokenizers.source.batch_decode(input_ids, skip_special_tokens=True)
        self.batches.append(texts)
        self.beams.append(num_beams)
        answer = self.tokenizers.target([text.upper() for text in texts], padding=True, return_tensors="pt")
        return answer["input_ids"]


def test_lines_keep_their_order_whatever_their_length(small_tokenizers: Any) -> None:
    lines = ["a", "a long line of many words", "two words", "b", "one line more"]
    parrot = Parrot(small_tokenizers)
    assert translate_lines(parrot, small_tokenizers, lines, batch_size=2) == [line.upper() for line in lines]
    lengths = [len(text) for batch in parrot.batches for text in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(batch) for batch in parrot.batches] == [2, 2, 1]


def test_empty_lines_stay_empty_and_never_reach_the_model(small_tokenizers: Any) -> None:
    parrot = Parrot(small_tokenizers)
    assert translate_lines(parrot, small_tokenizers, ["", "x", " \t\u200b", "y", "\u00ad"]) == ["", "X", "", "Y", ""]
    assert sorted(itertools.chain(*parrot.batches)) == ["x", "y"]
    assert translate_lines(parrot, small_tokenizers, []) == []
    assert translate_lines(parrot, small_tokenizers, ["", " "]) == ["", ""]


def test_a_translation_is_one_line_even_if_the_model_breaks_it(small_tokenizers: Any) -> None:
    assert translate_lines(Parrot(small_tokenizers), small_tokenizers, ["one\ntwo"]) == ["ONE TWO"]


def test_beams_are_the_models_own_unless_given(small_tokenizers: Any) -> None:
    parrot = Parrot(small_tokenizers)
    translate_lines(parrot, small_tokenizers, ["x"])
    translate_lines(parrot, small_tokenizers, ["x"], num_beams=3)
    assert parrot.beams == [None, 3]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_translations_do_not_depend_on_their_batch(
    small_model: Any, small_tokenizers: Any, small_text: Any, num_beams: int
) -> None:
    # An untrained model never ends a sentence; the length limit of each line does.
    lines = [*small_text.sources[:2], "no", "a"]
    alone = [translate_lines(small_model, small_tokenizers, [line], num_beams=num_beams)[0] for line in lines]
    together = translate_lines(small_model, small_tokenizers, lines, batch_size=3, num_beams=num_beams)
    assert together == alone


def test_progress_is_shown_only_on_request(small_tokenizers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    bar = translation.tqdm

    def spy(*args: Any, disable: Any, **kwargs: Any) -> Any:
        asked.append(disable)
        return bar(*args, disable=True, **kwargs)

    monkeypatch.setattr(translation, "tqdm", spy)
    translate_lines(Parrot(small_tokenizers), small_tokenizers, ["x"])
    translate_lines(Parrot(small_tokenizers), small_tokenizers, ["x"], show_progress=True)
    assert asked == [True, None]  # with None, tqdm checks whether standard error is a terminal
