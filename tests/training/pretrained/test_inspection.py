"""Test what inspection says of a translation: attention, words, probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sineformer.training.pretrained.conversion.marian import convert_marian
from sineformer.training.pretrained.inspection import (
    RUNNERS_UP,
    AttentionMap,
    InspectionError,
    inspect,
    join_words,
    source_tokens,
    target_tokens,
    word_groups,
)
from sineformer.training.pretrained.loading import load_model
from sineformer.training.pretrained.translation import Hypothesis, Search, search_lines

SOURCE = "a man is riding a horse"


@pytest.mark.parametrize("num_beams", [1, 4])
def test_the_probabilities_of_a_found_translation_multiply_to_its_score(
    small_model: Any, small_tokenizers: Any, num_beams: int
) -> None:
    (found,) = search_lines(small_model, small_tokenizers, [SOURCE], Search(num_beams, num_beams, scores=True))
    for hypothesis in found:
        seen = inspect(small_model, small_tokenizers, SOURCE, hypothesis)
        expected = (hypothesis.score or 0.0) * len(hypothesis.ids)
        assert torch.tensor(seen.probabilities).log().sum().item() == pytest.approx(expected, abs=1e-3)
        assert seen.target == target_tokens(small_tokenizers, hypothesis.ids)


def test_without_a_translation_the_best_of_the_model_is_inspected(small_model: Any, small_tokenizers: Any) -> None:
    small_model.generation_config.num_beams = 3
    ((best,),) = search_lines(small_model, small_tokenizers, [SOURCE], Search(3))
    assert inspect(small_model, small_tokenizers, SOURCE).target == target_tokens(small_tokenizers, best.ids)


@torch.inference_mode()
def test_weights_are_those_of_the_layers_and_heads(small_model: Any, small_tokenizers: Any) -> None:
    seen = inspect(small_model, small_tokenizers, SOURCE, "ein Mann")
    batch = small_tokenizers.source(SOURCE, text_target="ein Mann", return_tensors="pt")
    output = small_model(**batch, output_attentions=True)
    for name, weights in (("cross", output.cross_attentions), ("encoder", output.encoder_attentions)):
        found = getattr(seen, f"{name}_attention")(0, 1)
        assert torch.equal(found.weights, weights[0][0, 1])
        mean = getattr(seen, f"{name}_attention")(0)
        torch.testing.assert_close(mean.weights, weights[0][0].mean(0))
    assert torch.equal(seen.decoder_attention(0, 0).weights, output.decoder_attentions[0][0, 0])
    assert seen.decoder_attention().weights.triu(1).eq(0).all()
    assert seen.inputs == ["<s>", *seen.target[:-1]]
    assert seen.source[-1] == seen.target[-1] == "</s>"


def test_runners_up_are_the_likeliest_other_tokens(small_model: Any, small_tokenizers: Any) -> None:
    seen = inspect(small_model, small_tokenizers, SOURCE, "ein Mann")
    for token, probability, others in zip(seen.target, seen.probabilities, seen.runners_up, strict=True):
        values = [each.probability for each in others]
        assert len(others) == RUNNERS_UP
        assert token not in [each.token for each in others]
        assert values == sorted(values, reverse=True)
        assert 0 < probability + sum(values) <= 1
    best = inspect(small_model, small_tokenizers, SOURCE, Hypothesis("", ids=(5,))).runners_up[0][0]
    (greedy,) = search_lines(small_model, small_tokenizers, [SOURCE], Search(1))[0]
    assert best.token == target_tokens(small_tokenizers, greedy.ids[:1])[0]


@pytest.mark.parametrize(("layer", "head", "name"), [(1, None, "layer 1"), (0, 2, "head 2"), (-1, 0, "layer -1")])
def test_a_missing_layer_or_head_is_named(
    small_model: Any, small_tokenizers: Any, layer: int, head: int | None, name: str
) -> None:
    with pytest.raises(InspectionError, match=f"there is no {name}; the model has"):
        inspect(small_model, small_tokenizers, SOURCE).cross_attention(layer, head)


def test_an_empty_source_or_translation_is_refused(small_model: Any, small_tokenizers: Any) -> None:
    with pytest.raises(InspectionError, match="no visible characters"):
        inspect(small_model, small_tokenizers, " \u200b")
    with pytest.raises(InspectionError, match="the translation has no tokens"):
        inspect(small_model, small_tokenizers, SOURCE, Hypothesis("ein Mann"))


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([" two", " wo", "men", ".", "</s>"], ["two", "women", ".", "</s>"]),
        ([" didn", "'", "t", " stop", "!", "</s>"], ["didn't", "stop", "!", "</s>"]),
        ([" (", "a", "-", "b", ")", ","], ["(", "a-b", ")", ","]),
        ([" ", "<0xE7>", "<0x88>", "<0xB1>", " x"], ["爱", "x"]),
        (["<s>", "2", "0", "2", "6"], ["<s>", "2026"]),
        ([" x", "<unk>"], ["x", "<unk>"]),
        ([], []),
    ],
)
def test_tokens_join_into_words(tokens: list[str], words: list[str]) -> None:
    assert join_words(tokens) == words
    assert [index for group in word_groups(tokens) for index in group] == list(range(len(tokens)))


def test_words_sum_what_is_attended_to_and_average_what_attends() -> None:
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    words = AttentionMap([" Pf", "erd"], [" ho", "rse", "."], weights).by_words()
    assert (words.queries, words.keys) == (["Pferd"], ["horse", "."])
    torch.testing.assert_close(words.weights, torch.tensor([[0.525, 0.475]]))


def test_a_converted_model_names_the_tokens_of_each_side(make_marian: Callable[..., Path], tmp_path: Path) -> None:
    convert_marian(str(make_marian(share_encoder_decoder_embeddings=False, tie_word_embeddings=False)), tmp_path / "m")
    model, tokenizers = load_model(tmp_path / "m", torch.float32)
    assert join_words(inspect(model, tokenizers, "the dog sleeps", "der Hund").source)[:3] == ["the", "dog", "sleeps"]
    ids = tokenizers.target(text_target="der Hund")["input_ids"]
    assert join_words(target_tokens(tokenizers, ids))[:2] == ["der", "Hund"]
    assert source_tokens(tokenizers, tokenizers.source("the dog")["input_ids"])[-1] == "</s>"
