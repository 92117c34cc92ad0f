"""Batches of pairs with random access, as the training loop sees them."""

from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sineformer.training.data.batches import MappedBatches
from sineformer.training.data.batching import Batching, Seq2SeqCollator, TokenBudgetBatchSampler
from sineformer.training.data.encoding import EncodedPairs


@pytest.fixture
def batches(pairs: EncodedPairs, small_tokenizers: Any) -> MappedBatches:
    return MappedBatches(pairs, Batching(small_tokenizers, Seq2SeqCollator(0), 200, seed=1), Accelerator(cpu=True), 2)


def test_a_micro_batch_has_the_planned_examples_and_their_inputs(batches: MappedBatches, pairs: EncodedPairs) -> None:
    planned = TokenBudgetBatchSampler(pairs.lengths, 200, 1, accumulation_steps=2)
    for epoch, start in ((0, 0), (1, 0), (1, 2)):
        batches.set_epoch(epoch, start)
        planned.set_epoch(epoch, start)
        taken = list(batches)
        assert [batch.examples for batch in taken] == list(planned)
        for batch in taken:
            expected = Seq2SeqCollator(0)([pairs[int(index)] for index in batch.examples])
            assert all(torch.equal(value, expected[name]) for name, value in batch.inputs.items())


def test_the_plan_is_gone_through_once(batches: MappedBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    iterate = TokenBudgetBatchSampler.__iter__

    def noted(self: TokenBudgetBatchSampler) -> Any:
        begun.append(self.start_batch)
        return iterate(self)

    monkeypatch.setattr(TokenBudgetBatchSampler, "__iter__", noted)
    list(batches)
    assert begun == [0]


def test_reading_draws_nothing_from_the_generator_of_dropout(batches: MappedBatches) -> None:
    before = torch.random.get_rng_state()
    list(batches)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_epoch_ends_with_its_plan_alone(batches: MappedBatches, pairs: EncodedPairs) -> None:
    steps = batches.steps_per_epoch
    assert (batches.is_over(steps - 1), batches.is_over(steps)) == (False, True)
    assert not batches.ends(1, target_tokens=0)
    assert batches.share_of_epoch(steps) == 1.0
    assert batches.describe().startswith(f"{len(pairs)} pairs; about {steps} steps per epoch; padding ")
