import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sineformer.training.data.batching import Seq2SeqCollator
from sineformer.training.data.corpus import EvaluationSet
from sineformer.training.data.encoding import encode_pairs
from sineformer.training.data.tokenizer import Tokenizers
from sineformer.training.evaluation import evaluator as evaluation
from sineformer.training.evaluation.evaluator import Evaluator
from sineformer.training.evaluation.scores import Scores
from sineformer.training.pretrained.translation import SourceBatch, translate_lines


@pytest.fixture
def data(small_text: Any, small_tokenizers: Any, report: Any) -> EvaluationSet:
    return EvaluationSet("validation", small_text, encode_pairs(small_text, small_tokenizers, 1000, report))


@pytest.fixture
def evaluator(small_tokenizers: Any) -> Evaluator:
    return Evaluator(Accelerator(cpu=True), small_tokenizers, Seq2SeqCollator(0), batch_size=16)


def loss_one_by_one(model: Any, data: EvaluationSet) -> float:
    """Return the loss by definition: the mean of -log p over the target tokens, one sentence at a time."""
    total, tokens = 0.0, 0
    for index in range(len(data.pairs)):
        batch = Seq2SeqCollator(0)([data.pairs[index]])
        with torch.no_grad():
            log_probabilities = model(**batch).logits[0].log_softmax(dim=-1)
        total -= log_probabilities.gather(1, batch["labels"][0][:, None]).sum().item()
        tokens += batch["labels"].shape[1]
    return total / tokens


def test_the_loss_is_per_token_of_the_complete_set_for_any_batch_size(
    evaluator: Evaluator, data: EvaluationSet, small_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = loss_one_by_one(small_model, data)
    for positions in (1, 100, 2048):
        monkeypatch.setattr(evaluation, "LOSS_POSITIONS", positions)
        assert evaluator.mean_loss(small_model, data.pairs) == pytest.approx(expected, rel=1e-5)


def test_several_processes_measure_the_batches_of_one_and_get_identical_numbers(
    small_tokenizers: Tokenizers,
    data: EvaluationSet,
    small_model: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The processes run one after another here: each gathers the results of the ones before it."""
    gathered: list[Any] = []
    batches: list[SourceBatch] = []
    monkeypatch.setattr(evaluation, "LOSS_POSITIONS", 100)
    monkeypatch.setattr(evaluation, "gather_object", lambda mine: gathered.extend(mine) or list(gathered))
    monkeypatch.setattr(
        evaluation,
        "translate_batch",
        lambda model, tokenizers, batch, beams: batches.append(batch) or [f"{line}!" for line in batch.lines],
    )

    def measure(processes: int) -> tuple[float, list[str], list[list[int]]]:
        for results in (gathered, batches):
            results.clear()
        shares = [SimpleNamespace(num_processes=processes, process_index=rank) for rank in range(processes)]
        evaluators: list[Any] = [Evaluator(each, small_tokenizers, Seq2SeqCollator(0), 5) for each in shares]
        loss = [each.mean_loss(small_model, data.pairs) for each in evaluators][-1]
        gathered.clear()
        translations = [each.translate(small_model, data.text.sources, 1) for each in evaluators][-1]
        return loss, translations, sorted(batch.lines for batch in batches)

    alone = measure(1)
    assert alone[1] == [f"{line}!" for line in range(60)]
    assert len(alone[2]) == 12
    assert [measure(processes) for processes in (2, 4, 7, 70)] == [alone] * 4


def test_measuring_gives_scores_and_translations_and_keeps_the_mode(
    evaluator: Evaluator, data: EvaluationSet, small_model: Any, small_tokenizers: Any
) -> None:
    small_model.train()
    scores, translations = evaluator.measure(small_model, data, num_beams=1)
    assert small_model.training
    assert translations == translate_lines(small_model.eval(), small_tokenizers, data.text.sources, num_beams=1)
    assert scores.loss == pytest.approx(loss_one_by_one(small_model, data), rel=1e-5)
    assert (scores.sentences, scores.num_beams) == (60, 1)
    assert scores.values["exact_match"] == 0


def test_perplexity_is_the_exponential_of_the_loss_without_overflow() -> None:
    def scores(loss: float) -> Scores:
        return Scores(loss, {}, {}, 1, 1)

    assert scores(2.0).perplexity == pytest.approx(math.e**2)
    assert math.isfinite(scores(1e6).perplexity)
