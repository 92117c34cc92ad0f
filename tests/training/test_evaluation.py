import math
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sineformer.training import evaluation
from sineformer.training.batching import Seq2SeqCollator, encode_pairs
from sineformer.training.evaluation import EvaluationSet, Evaluator, Scores
from sineformer.training.translation import translate_lines


@pytest.fixture
def data(small_text: Any, small_tokenizers: Any, report: Any) -> EvaluationSet:
    return EvaluationSet("validation", small_text, encode_pairs(small_text, small_tokenizers, 1000, report))


@pytest.fixture
def evaluator(small_tokenizers: Any) -> Evaluator:
    return Evaluator(Accelerator(cpu=True), small_tokenizers, Seq2SeqCollator(0), batch_size=16)


def loss_one_by_one(model: Any, data: EvaluationSet) -> float:
    """The definition: minus the log-probability of every target token, summed over single sentences, per token."""
    total, tokens = 0.0, 0
    for index in range(len(data.pairs)):
        batch = Seq2SeqCollator(0)([data.pairs[index]])
        with torch.no_grad():
            log_probabilities = model(**batch).logits[0].log_softmax(dim=-1)
        total -= log_probabilities.gather(1, batch["labels"][0][:, None]).sum().item()
        tokens += batch["labels"].shape[1]
    return total / tokens


def test_the_loss_is_per_token_of_the_whole_set_however_it_is_batched(
    evaluator: Evaluator, data: EvaluationSet, small_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = loss_one_by_one(small_model, data)
    for positions in (1, 100, 2048):
        monkeypatch.setattr(evaluation, "LOSS_POSITIONS", positions)
        assert evaluator.mean_loss(small_model, data.pairs) == pytest.approx(expected, rel=1e-5)


def test_the_shares_of_several_processes_make_up_the_whole_set_once(
    evaluator: Evaluator,
    data: EvaluationSet,
    small_model: Any,
    small_text: Any,
    small_tokenizers: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """60 sentences for 7 processes, which take turns here: what one gathers is what the ones before it left."""
    expected = evaluator.mean_loss(small_model, data.pairs)
    gathered: list[Any] = []
    monkeypatch.setattr(evaluation, "gather_object", lambda mine: gathered.extend(mine) or gathered)

    class Process:
        num_processes = 7
        process_index = 0

    share = Evaluator(Process(), small_tokenizers, Seq2SeqCollator(0), batch_size=16)  # type: ignore[arg-type]
    for Process.process_index in range(7):
        loss = share.mean_loss(small_model, data.pairs)
    assert len(gathered) == 7
    assert loss == pytest.approx(expected, rel=1e-6)

    gathered.clear()
    monkeypatch.setattr(
        evaluation, "translate_lines", lambda model, tokenizers, lines, *rest: [each + "!" for each in lines]
    )
    for Process.process_index in range(6):
        with pytest.raises(KeyError):
            share.translate(small_model, small_text.sources, 1)
    Process.process_index = 6
    assert share.translate(small_model, small_text.sources, 1) == [each + "!" for each in small_text.sources]
    assert len(gathered) == len(small_text.sources)


def test_measuring_gives_scores_and_translations_and_keeps_the_mode(
    evaluator: Evaluator, data: EvaluationSet, small_model: Any, small_tokenizers: Any
) -> None:
    small_model.train()
    scores, translations = evaluator.measure(small_model, data, num_beams=1)
    assert small_model.training
    assert translations == translate_lines(small_model.eval(), small_tokenizers, data.text.sources, num_beams=1)
    assert scores.loss == pytest.approx(loss_one_by_one(small_model, data), rel=1e-5)
    assert (scores.sentences, scores.num_beams) == (60, 1)
    assert scores.exact_match == 0


def test_perplexity_is_the_exponential_of_the_loss_without_overflow() -> None:
    def scores(loss: float) -> Scores:
        return Scores(loss, 0.0, 0.0, 0.0, "", "", 1, 1)

    assert scores(2.0).perplexity == pytest.approx(math.e**2)
    assert math.isfinite(scores(1e6).perplexity)
