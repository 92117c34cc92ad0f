"""Test R-Drop and SimCut in the training loop."""

import copy
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sineformer.training.data.batching import MicroBatch, Seq2SeqCollator
from sineformer.training.data.encoding import EncodedPairs, encode_pairs
from sineformer.training.learning.learner import Learner
from sineformer.training.learning.optimizer import build_optimizer, build_schedule
from sineformer.training.learning.two_passes import TwoPasses


@pytest.fixture
def pairs(small_text: Any, small_tokenizers: Any, report: Any) -> EncodedPairs:
    return encode_pairs(small_text, small_tokenizers, 100, report)


def batch_of(pairs: EncodedPairs, indices: list[int]) -> MicroBatch:
    return MicroBatch(indices, Seq2SeqCollator(0)([pairs[index] for index in indices]))


def tokens_of(batches: list[MicroBatch]) -> int:
    return sum(int((batch.inputs["labels"] != -100).sum()) for batch in batches)


def make_learner(model: Any, two_passes: TwoPasses) -> Learner:
    accelerator = Accelerator(cpu=True)
    optimizer = build_optimizer(model.train(), 0.01)
    schedule = build_schedule(optimizer, warmup_steps=2)
    return Learner(accelerator, model, accelerator.prepare(optimizer), schedule, 0.1, two_passes=two_passes)


def test_one_pass_changes_nothing() -> None:
    inputs = {"labels": torch.tensor([[1, 2], [3, 4]])}
    assert TwoPasses(simcut_p=0.05).apply(inputs) is inputs


def test_r_drop_appends_a_copy_of_the_batch() -> None:
    inputs = TwoPasses(r_drop=2.0).apply({"labels": torch.tensor([[1, 2], [3, 4]])})
    assert inputs.pop("labels").tolist() == [[1, 2], [3, 4], [1, 2], [3, 4]]
    assert inputs == {"r_drop": 2.0}


def test_simcut_cuts_tokens_of_the_copy_alone() -> None:
    inputs = TwoPasses(simcut=3.0, simcut_p=0.25).apply({"labels": torch.tensor([[1, 2], [3, 4], [5, 6]])})
    assert inputs["labels"].tolist() == [[1, 2], [3, 4], [5, 6]] * 2
    assert inputs["word_dropout"].tolist() == [0, 0, 0, 0.25, 0.25, 0.25]
    assert inputs["simcut"] == 3.0


@pytest.mark.parametrize("two_passes", [TwoPasses(r_drop=4.0), TwoPasses(simcut=4.0)])
def test_without_dropout_two_passes_equal_one(small_model: Any, pairs: EncodedPairs, two_passes: TwoPasses) -> None:
    batches = [batch_of(pairs, [0, 1, 2]), batch_of(pairs, [3])]
    reports = [
        make_learner(copy.deepcopy(small_model), each).update(batches, tokens_of(batches))
        for each in (TwoPasses(), two_passes)
    ]
    assert reports[1].loss == pytest.approx(reports[0].loss, rel=1e-5)
    assert reports[1].gradient_norm == pytest.approx(reports[0].gradient_norm, rel=1e-4)


def test_cut_tokens_make_the_passes_differ(small_model: Any, pairs: EncodedPairs) -> None:
    batches = [batch_of(pairs, [0, 1, 2])]
    plain, weak, strong = (
        make_learner(copy.deepcopy(small_model), each).update(batches, tokens_of(batches)).loss
        for each in (TwoPasses(), TwoPasses(simcut=1.0, simcut_p=0.5), TwoPasses(simcut=100.0, simcut_p=0.5))
    )
    assert plain < weak < strong


@pytest.mark.parametrize(
    ("weak", "strong"), [(TwoPasses(0.1), TwoPasses(100.0)), (TwoPasses(0.0, 0.1), TwoPasses(0.0, 100.0))]
)
def test_each_micro_batch_passes_through_the_model_once_with_two_dropouts(
    small_model: Any, pairs: EncodedPairs, monkeypatch: pytest.MonkeyPatch, weak: TwoPasses, strong: TwoPasses
) -> None:
    small_model.model.encoder.dropout = 0.3
    calls: list[dict[str, Any]] = []
    forward = small_model.forward

    def noted(**inputs: Any) -> Any:
        calls.append(inputs)
        return forward(**inputs)

    monkeypatch.setattr(small_model, "forward", noted)
    batches = [batch_of(pairs, [0, 1]), batch_of(pairs, [2])]
    lower = make_learner(small_model, weak).update(batches, tokens_of(batches)).loss
    assert [len(call["labels"]) for call in calls] == [4, 2]
    assert make_learner(small_model, strong).update(batches, tokens_of(batches)).loss > lower
