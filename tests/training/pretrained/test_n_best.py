"""Test lists of the best translations and their scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sineformer.training.pretrained.output import format_translations, header
from sineformer.training.pretrained.translation import Hypothesis, Search, search_lines, translate_lines

LINES = ["a man is riding a horse", "", "the dog"]


def log_probability(model: Any, tokenizers: Any, source: str, sequence: torch.Tensor) -> float:
    """Return the log-probability of the tokens of a sequence `[T]`, its start left out, by one forward pass."""
    inputs = tokenizers.source([source], return_tensors="pt")
    logits = model(**inputs, decoder_input_ids=sequence[None, :-1]).logits[0]  # [T - 1, V]
    return float(logits.log_softmax(-1).gather(1, sequence[1:, None]).sum())


@torch.inference_mode()
@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_score_is_the_log_probability_per_token(small_model: Any, small_tokenizers: Any, num_beams: int) -> None:
    found = search_lines(small_model, small_tokenizers, LINES, Search(num_beams, scores=True))
    for line, (best,) in zip(LINES, found, strict=True):
        if not line:
            continue
        (sequence,) = small_model.generate(**small_tokenizers.source([line], return_tensors="pt"), num_beams=num_beams)
        expected = log_probability(small_model, small_tokenizers, line, sequence) / (len(sequence) - 1)
        assert best.score == pytest.approx(expected, abs=1e-4)


def test_several_translations_come_best_first_and_begin_with_the_only_one(
    small_model: Any, small_tokenizers: Any
) -> None:
    found = search_lines(small_model, small_tokenizers, LINES, Search(4, 3, scores=True), batch_size=1)
    assert [len(hypotheses) for hypotheses in found] == [3, 1, 3]
    for hypotheses in found:
        scores = [each.score or 0.0 for each in hypotheses]
        assert scores == sorted(scores, reverse=True)
    assert found[1] == [Hypothesis("", 0.0)]
    best = translate_lines(small_model, small_tokenizers, LINES, num_beams=4)
    assert [hypotheses[0].text for hypotheses in found] == best


def test_beams_are_as_many_as_the_translations(small_model: Any, small_tokenizers: Any) -> None:
    found = search_lines(small_model, small_tokenizers, ["x"], Search(translations=6))
    assert [len(hypotheses) for hypotheses in found] == [6]
    assert found[0][0].score is None


def test_formats() -> None:
    hypotheses = [Hypothesis("ein\tHund", -0.5), Hypothesis("der Hund", -1.25)]
    assert format_translations("text", 7, "a dog", hypotheses) == "ein\tHund\n"
    assert header("text", False) == header("jsonl", True) == ""
    assert header("tsv", True) == "line\trank\tscore\ttranslation\n"
    assert format_translations("tsv", 7, "a dog", hypotheses) == "7\t1\t-0.5000\tein Hund\n7\t2\t-1.2500\tder Hund\n"
    assert header("tsv", False) == "line\trank\ttranslation\n"
    assert format_translations("tsv", 1, "ä", [Hypothesis("ü")]) == "1\t1\tü\n"
    assert format_translations("jsonl", 2, "ä", [Hypothesis("ü", -1.0), Hypothesis("u")]) == (
        '{"line": 2, "source": "ä", "translations": [{"text": "ü", "score": -1.0}, {"text": "u"}]}\n'
    )
