"""Epochs of corpora that are planned window by window."""

from __future__ import annotations

import tracemalloc
from itertools import chain

import numpy as np
import pytest

from sineformer.training.data.batching import TokenBudgetBatchSampler
from sineformer.training.data.encoding import OffsetLengths
from sineformer.training.data.epoch_plan import EpochPlan, Lengths, check_budget, plan_batches

BUDGET = 256
WINDOW = 500


def sentence_lengths(count: int) -> Lengths:
    return np.random.default_rng(0).integers(2, 40, (count, 2))


LENGTHS = sentence_lengths(1990)


def sampler(epoch: int = 0, start_batch: int = 0, window: int = WINDOW, **shares: int) -> TokenBudgetBatchSampler:
    made = TokenBudgetBatchSampler(LENGTHS, BUDGET, 1, window=window, **shares)
    made.set_epoch(epoch, start_batch)
    return made


@pytest.mark.parametrize("epoch", [0, 3])
def test_windows_hold_every_example_once_over_all_ranks(epoch: int) -> None:
    ranks = [list(sampler(epoch, rank=rank, world_size=3, accumulation_steps=2)) for rank in range(3)]
    assert sorted(chain.from_iterable(chain.from_iterable(ranks))) == list(range(len(LENGTHS)))
    assert len({len(batches) for batches in ranks}) == 1


def test_batches_of_windows_keep_within_the_budget_and_come_in_complete_groups() -> None:
    made = sampler(world_size=2, accumulation_steps=3)
    assert len(made.plan.windows) == 4
    for number in range(4):
        batches = made.plan.batches(number)
        assert len(batches) % 6 == 0
        assert max(len(batch) * LENGTHS[batch].max() for batch in batches) <= BUDGET


def test_a_corpus_that_fits_into_a_window_is_planned_at_once() -> None:
    assert list(sampler(2, window=len(LENGTHS))) == list(sampler(2, window=10**9))
    assert list(sampler(2, window=len(LENGTHS))) != list(sampler(2, window=len(LENGTHS) - 1))


def test_windows_of_equal_lengths_come_in_different_orders() -> None:
    plan = EpochPlan(np.full((1024, 2), 16), BUDGET, (1, 0), 1, window=512)
    first, second = (np.concatenate(plan.batches(number)) for number in (0, 1))
    ranks = [members.argsort() for members in (first, second)]
    assert not np.array_equal(*ranks)


def test_windows_get_other_members_in_every_epoch_but_few_blocks() -> None:
    members = [set(chain.from_iterable(map(list, sampler(epoch).plan.batches(0)))) for epoch in (0, 1)]
    assert 0.05 < len(members[0] & members[1]) / len(members[0]) < 0.6
    blocks = np.diff(sorted(members[0])) > 1
    assert blocks.sum() < len(members[0]) / 20


@pytest.mark.parametrize("rank", [0, 1])
def test_an_epoch_of_windows_can_be_resumed_at_any_batch(rank: int) -> None:
    full = list(sampler(4, rank=rank, world_size=2))
    first_window = len(sampler(4, world_size=2).plan.batches(0)) // 2
    for start in (0, 1, first_window - 1, first_window, first_window + 1, len(full) - 1, len(full)):
        resumed = sampler(4, start, rank=rank, world_size=2)
        assert list(resumed) == full[start:]
        assert len(resumed) == len(full) - start
    with pytest.raises(ValueError, match=f"start_batch is {len(full) + 1}, but epoch 4 has {len(full)} batches"):
        sampler(4, len(full) + 1, rank=rank, world_size=2)


def test_the_end_of_an_epoch_is_known_when_it_is_reached() -> None:
    made = sampler(accumulation_steps=2)
    steps = sum(1 for _ in made) // 2
    assert [step for step in range(steps + 2) if made.is_over(step)] == [steps]
    assert made.steps_per_epoch == pytest.approx(steps, rel=0.1)
    fresh = sampler(accumulation_steps=2)
    assert not any(fresh.is_over(step) for step in range(steps))
    assert fresh.steps_per_epoch == made.steps_per_epoch, "what is logged must not depend on how far the run is"


def test_two_readers_of_one_epoch_get_the_same_batches() -> None:
    made = sampler()
    assert [one for one, two in zip(made, made, strict=True) if one != two] == []


def test_memory_of_planning_depends_on_the_window_alone() -> None:
    peaks = []
    for count in (20_000, 80_000):
        offsets = np.concatenate([[0], np.cumsum(sentence_lengths(count)[:, 0])])
        lengths = OffsetLengths((offsets, offsets))
        tracemalloc.start()
        plan = EpochPlan(lengths, BUDGET, (1, 0), 1, window=5_000)
        assert sum(len(batch) for number in range(len(plan.windows)) for batch in plan.batches(number)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_lengths_come_from_offsets_for_slices_and_for_single_pairs() -> None:
    lengths = OffsetLengths((np.array([0, 3, 5, 9]), np.array([0, 1, 2, 4])))
    assert len(lengths) == 3
    assert lengths[:].tolist() == [[3, 1], [2, 1], [4, 2]]
    assert lengths[1:2].tolist() == [[2, 1]]
    assert lengths[np.array([2, 0])].tolist() == [[4, 2], [3, 1]]


def test_padding_to_a_multiple_counts_for_the_budget() -> None:
    check_budget(np.array([[250, 3]]), 256, 8)
    with pytest.raises(ValueError, match="example 1 has 264 source and 8 target positions"):
        check_budget(np.array([[250, 3], [257, 3]]), 260, 8)


def test_an_example_beyond_the_budget_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(ValueError, match="an example has 504 positions, more than max_tokens 500"):
        plan_batches(np.array([[8, 8], [504, 8], [8, 8]]), 500, (1, 0))
