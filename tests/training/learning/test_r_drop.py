"""Test R-Drop in the training loop."""

import copy
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sineformer.training.data.batching import MicroBatch, Seq2SeqCollator
from sineformer.training.data.encoding import EncodedPairs, encode_pairs
from sineformer.training.learning.learner import Learner, duplicate_batch
from sineformer.training.learning.optimizer import build_optimizer, build_schedule


@pytest.fixture
def pairs(small_text: Any, small_tokenizers: Any, report: Any) -> EncodedPairs:
    return encode_pairs(small_text, small_tokenizers, 100, report)


def batch_of(pairs: EncodedPairs, indices: list[int]) -> MicroBatch:
    return MicroBatch(indices, Seq2SeqCollator(0)([pairs[index] for index in indices]))


def tokens_of(batches: list[MicroBatch]) -> int:
    return sum(int((batch.inputs["labels"] != -100).sum()) for batch in batches)


def make_learner(model: Any, r_drop: float) -> Learner:
    accelerator = Accelerator(cpu=True)
    optimizer = build_optimizer(model.train(), 0.01)
    schedule = build_schedule(optimizer, warmup_steps=2)
    return Learner(accelerator, model, accelerator.prepare(optimizer), schedule, 0.1, r_drop=r_drop)


def test_a_batch_is_followed_by_its_copy() -> None:
    assert duplicate_batch({"labels": torch.tensor([[1, 2], [3, 4]])})["labels"].tolist() == [
        [1, 2],
        [3, 4],
        [1, 2],
        [3, 4],
    ]


def test_without_dropout_r_drop_equals_one_pass(small_model: Any, pairs: EncodedPairs) -> None:
    batches = [batch_of(pairs, [0, 1, 2]), batch_of(pairs, [3])]
    reports = [
        make_learner(copy.deepcopy(small_model), r_drop).update(batches, tokens_of(batches)) for r_drop in (0, 4)
    ]
    assert reports[1].loss == pytest.approx(reports[0].loss, rel=1e-5)
    assert reports[1].gradient_norm == pytest.approx(reports[0].gradient_norm, rel=1e-4)


def test_each_micro_batch_passes_through_the_model_once_with_two_dropouts(
    small_model: Any, pairs: EncodedPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_model.model.encoder.dropout = 0.3
    calls: list[dict[str, Any]] = []
    forward = small_model.forward

    def noted(**inputs: Any) -> Any:
        calls.append(inputs)
        return forward(**inputs)

    monkeypatch.setattr(small_model, "forward", noted)
    batches = [batch_of(pairs, [0, 1]), batch_of(pairs, [2])]
    weak = make_learner(small_model, 0.1).update(batches, tokens_of(batches)).loss
    assert [len(call["labels"]) for call in calls] == [4, 2]
    strong = make_learner(small_model, 100.0).update(batches, tokens_of(batches)).loss
    assert strong > weak
