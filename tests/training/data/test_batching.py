"""Batching: every example once, within the budget, the same steps for any number of processes, little padding."""

from __future__ import annotations

import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sineformer.training.data.batching import (
    PaddingShare,
    Seq2SeqCollator,
    TokenBudgetBatchSampler,
    evaluation_batches,
    padding_share,
)
from sineformer.training.data.bpe import train_tokenizers
from sineformer.training.data.cleaning import CleaningReport, Limits, clean
from sineformer.training.data.encoding import EncodedPairs, encode_pairs
from sineformer.training.data.epoch_plan import Lengths
from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.data.readers.sources import read_files
from sineformer.training.data.tokenizer import Tokenizers

MULTI30K = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "multi30k"
BUDGET = 256


def sentence_lengths(count: int, seed: int = 0) -> Lengths:
    """Return lengths like those of real sentence pairs: skewed, with correlated sides."""
    generator = np.random.default_rng(seed)
    source = np.clip(generator.gamma(3, 5, count) + 2, 2, 100)
    target = np.clip(source * generator.normal(1.05, 0.2, count), 2, 100)
    return np.stack([source, target], axis=1).astype(np.int64)


LENGTHS = sentence_lengths(2000)


def batches_of(epoch: int = 0, start_batch: int = 0, seed: int = 1, **shares: int) -> list[list[int]]:
    sampler = TokenBudgetBatchSampler(LENGTHS, BUDGET, seed, **shares)
    sampler.set_epoch(epoch, start_batch)
    return list(sampler)


@pytest.mark.parametrize("multiple", [1, 8])
def test_every_batch_keeps_within_the_budget_on_both_sides(multiple: int) -> None:
    for batch in TokenBudgetBatchSampler(LENGTHS, BUDGET, 1, pad_to_multiple_of=multiple):
        for longest in LENGTHS[batch].max(axis=0):
            assert len(batch) * -(-longest // multiple) * multiple <= BUDGET


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_example_occurs_exactly_once_per_epoch_over_all_ranks(epoch: int) -> None:
    ranks = [batches_of(epoch, rank=rank, world_size=3, accumulation_steps=2) for rank in range(3)]
    assert sorted(chain.from_iterable(chain.from_iterable(ranks))) == list(range(len(LENGTHS)))


@pytest.mark.parametrize(("world_size", "accumulation_steps"), [(1, 1), (2, 1), (1, 5), (3, 4), (16, 8)])
def test_all_ranks_get_the_same_number_of_complete_steps(world_size: int, accumulation_steps: int) -> None:
    shares = {"world_size": world_size, "accumulation_steps": accumulation_steps}
    samplers = [TokenBudgetBatchSampler(LENGTHS, BUDGET, 1, rank=rank, **shares) for rank in range(world_size)]
    assert {len(sampler) for sampler in samplers} == {samplers[0].steps_per_epoch * accumulation_steps}


def test_two_processes_take_the_same_steps_as_one_that_accumulates_two_batches() -> None:
    alone = batches_of(3, accumulation_steps=2)
    first, second = (batches_of(3, rank=rank, world_size=2) for rank in range(2))
    assert alone == list(chain.from_iterable(zip(first, second, strict=True)))
    four = [batches_of(3, rank=rank, world_size=2, accumulation_steps=2) for rank in range(2)]
    assert batches_of(3, accumulation_steps=4) == list(chain.from_iterable(zip(*four, strict=True)))


def test_order_is_a_function_of_seed_and_epoch_only() -> None:
    assert batches_of(2, seed=5) == batches_of(2, seed=5)
    sampler = TokenBudgetBatchSampler(LENGTHS, BUDGET, 5)
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        list(sampler)
    assert list(sampler) == batches_of(2, seed=5)
    assert batches_of(2, seed=6) != batches_of(2, seed=5)
    assert batches_of(3, seed=5) != batches_of(2, seed=5)


EQUAL = np.full((2000, 2), 10)
DISTINCT = np.stack([np.arange(2, 1002)] * 2, axis=1)


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "kept"),
    [(LENGTHS, BUDGET, 0.05), (EQUAL, BUDGET, 0.05), (DISTINCT, 4096, 0.5)],
    ids=["real", "equal", "distinct"],
)
def test_batches_get_new_members_in_every_epoch(lengths: Lengths, max_tokens: int, kept: float) -> None:
    sampler = TokenBudgetBatchSampler(lengths, max_tokens, 1)
    first = {frozenset(batch) for batch in sampler}
    sampler.set_epoch(1)
    second = {frozenset(batch) for batch in sampler}
    assert len(first & second) <= kept * len(first)


def test_lengths_come_in_random_order_within_an_epoch() -> None:
    means = [LENGTHS[batch].mean() for batch in batches_of()]
    positions = np.arange(len(means))
    assert abs(np.corrcoef(positions, means)[0, 1]) < 0.2
    neighbours = np.corrcoef(means[:-1], means[1:])[0, 1]
    assert abs(neighbours) < 0.2


@pytest.mark.parametrize("rank", [0, 1])
def test_an_epoch_can_be_resumed_at_any_batch(rank: int) -> None:
    full = batches_of(4, rank=rank, world_size=2)
    for start in (0, 1, 17, len(full)):
        assert batches_of(4, start, rank=rank, world_size=2) == full[start:]
    sampler = TokenBudgetBatchSampler(LENGTHS, BUDGET, 1, rank=rank, world_size=2)
    sampler.set_epoch(4, 17)
    assert len(sampler) == len(full) - 17
    assert sampler.steps_per_epoch == len(full)
    sampler.set_epoch(5)
    assert list(sampler) == batches_of(5, rank=rank, world_size=2)
    with pytest.raises(ValueError, match="start_batch is 9999"):
        sampler.set_epoch(5, 9999)


def test_a_pair_over_the_budget_is_an_error_that_names_it() -> None:
    lengths = np.array([[3, 4], [5, 300], [400, 5]])
    message = "example 1 has 5 source and 300 target positions, more than max_tokens 256 "
    for plan in (lambda: TokenBudgetBatchSampler(lengths, BUDGET, 1), lambda: evaluation_batches(lengths, BUDGET)):
        with pytest.raises(ValueError, match=message):
            plan()


def test_too_few_examples_for_the_processes_are_refused() -> None:
    lengths = np.full((7, 2), 10)
    assert sum(len(batch) for batch in TokenBudgetBatchSampler(lengths, BUDGET, 1, accumulation_steps=7)) == 7
    with pytest.raises(ValueError, match=r"7 examples cannot fill 8 batches.*fewer processes"):
        TokenBudgetBatchSampler(lengths, BUDGET, 1, world_size=2, accumulation_steps=4)


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank is 2 of world_size 2"):
        TokenBudgetBatchSampler(LENGTHS, BUDGET, 1, rank=2, world_size=2)


def test_lengths_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"give \[N, 2\]"):
        TokenBudgetBatchSampler(LENGTHS[:, 0], BUDGET, 1)


@pytest.mark.parametrize("world_size", [1, 3, 5])
def test_evaluation_takes_every_example_once_whatever_the_number_of_ranks(world_size: int) -> None:
    ranks = [evaluation_batches(LENGTHS, BUDGET, rank, world_size) for rank in range(world_size)]
    assert sorted(chain.from_iterable(chain.from_iterable(ranks))) == list(range(len(LENGTHS)))
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1
    for batch in chain.from_iterable(ranks):
        assert len(batch) * LENGTHS[batch].max() <= BUDGET
    assert LENGTHS[:, 0].max() == LENGTHS[ranks[0][0], 0].max()


def test_a_million_pairs_are_planned_in_seconds() -> None:
    lengths = sentence_lengths(1_000_000)
    start = time.process_time()
    sampler = TokenBudgetBatchSampler(lengths, 4096, 1)
    assert time.process_time() - start < 5
    assert sum(len(batch) for batch in sampler) == 1_000_000


def test_padding_share_is_padding_over_all_positions() -> None:
    lengths = np.array([[2, 5], [4, 5], [3, 1], [7, 7]])
    # sources: 2 of 4 + 4 of 4, then 3 of 3; targets: 5 + 5, then 1.
    assert padding_share(lengths, [[0, 1], [2]]) == PaddingShare(pytest.approx(2 / 11), 0.0)
    assert padding_share(lengths, [[0, 1]], pad_to_multiple_of=8) == pytest.approx((10 / 16, 6 / 16))


@pytest.fixture(scope="module")
def multi30k_lengths() -> Lengths:
    files = [MULTI30K / "train.en.gz", MULTI30K / "train.de.gz"]
    if not all(file.is_file() for file in files):
        pytest.skip(f"Multi30k is not in {MULTI30K}")
    text, report = clean(read_files(files), Limits(), "drop")
    tokenizers = train_tokenizers(text.sources, text.targets, 8000)
    return encode_pairs(text, tokenizers, 256, report).lengths


@pytest.mark.slow
@pytest.mark.parametrize("max_tokens", [2048, 4096])
@pytest.mark.parametrize("group", [1, 8])
def test_nine_of_ten_positions_are_real_on_both_sides_of_multi30k(
    multi30k_lengths: Lengths, max_tokens: int, group: int
) -> None:
    sampler = TokenBudgetBatchSampler(multi30k_lengths, max_tokens, 1, accumulation_steps=group)
    for epoch in range(5):
        sampler.set_epoch(epoch)
        assert max(padding_share(multi30k_lengths, list(sampler))) <= 0.1


ENGLISH = ["A dog runs.", "Two dogs run over the long bridge.", "Yes.", "No, the cat " + "sleeps and " * 40]
GERMAN = ["Ein Hund läuft.", "Zwei Hunde laufen über die lange Brücke.", "Ja.", "Nein."]


@pytest.fixture(scope="module", params=[None, 320], ids=["joint", "separate"])
def tokenizers(request: pytest.FixtureRequest) -> Tokenizers:
    return train_tokenizers(ENGLISH, GERMAN, 320, request.param)


def text_of(*numbers: int) -> ParallelText:
    chosen = [(ENGLISH[number], GERMAN[number]) for number in numbers]
    return ParallelText(
        [source for source, _ in chosen],
        [target for _, target in chosen],
        ["a.tsv"] * len(chosen),
        [10 + number for number in numbers],
    )


def test_pairs_are_encoded_each_side_with_its_tokenizer(tokenizers: Tokenizers) -> None:
    pairs = encode_pairs(text_of(0, 1, 2), tokenizers, 1000, CleaningReport("refuse"))
    assert len(pairs) == 3
    for number, pair in enumerate(pairs[index] for index in range(3)):
        assert pair["input_ids"].tolist() == tokenizers.source(ENGLISH[number])["input_ids"]
        assert pair["labels"].tolist() == tokenizers.target(GERMAN[number])["input_ids"]
        assert pairs.lengths[number].tolist() == [len(pair["input_ids"]), len(pair["labels"])]


def test_pairs_over_the_token_limit_are_left_out_and_counted_with_their_location(tokenizers: Tokenizers) -> None:
    report = CleaningReport("drop", read=4, kept=4)
    pairs = encode_pairs(text_of(0, 3, 1, 2), tokenizers, 60, report)
    assert pairs.rows.tolist() == [0, 2, 3]
    assert str(report).splitlines() == [
        "4 sentence pairs read, 3 usable, 1 bad",
        "  longer than 60 tokens: 1 (a.tsv:13)",
    ]
    assert pairs[1]["input_ids"].tolist() == tokenizers.source(ENGLISH[1])["input_ids"]
    assert pairs[2]["labels"].tolist() == tokenizers.target(GERMAN[2])["input_ids"]


def test_the_token_limit_counts_the_end_token(tokenizers: Tokenizers) -> None:
    longest = max(len(tokenizers.source(ENGLISH[0])["input_ids"]), len(tokenizers.target(GERMAN[0])["input_ids"]))
    assert len(encode_pairs(text_of(0), tokenizers, longest, CleaningReport("refuse"))) == 1
    with pytest.raises(ValueError, match="no usable sentence pair is left"):
        encode_pairs(text_of(0), tokenizers, longest - 1, CleaningReport("drop"))


def test_pairs_over_the_token_limit_are_refused_where_bad_rows_are(tokenizers: Tokenizers) -> None:
    with pytest.raises(ValueError, match=r"longer than 60 tokens: 1 \(a\.tsv:13\)"):
        encode_pairs(text_of(0, 3), tokenizers, 60, CleaningReport("refuse"))


def encoded(*pairs: tuple[list[int], list[int]]) -> list[dict[str, np.ndarray]]:
    return [{"input_ids": np.array(source), "labels": np.array(target)} for source, target in pairs]


def test_a_batch_is_padded_to_its_longest_sides() -> None:
    batch = Seq2SeqCollator(pad_token_id=0)(encoded(([5, 3], [6, 7, 3]), ([8, 9, 4, 3], [3])))
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 3, 0, 0], [8, 9, 4, 3]],
        "attention_mask": [[1, 1, 0, 0], [1, 1, 1, 1]],
        "labels": [[6, 7, 3], [3, -100, -100]],
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.long}


def test_a_batch_can_be_padded_to_a_multiple() -> None:
    batch = Seq2SeqCollator(pad_token_id=0, pad_to_multiple_of=8)(encoded(([5, 3], [6] * 8), ([8, 3], [6] * 9)))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 8)
    assert batch["labels"].shape == (2, 16)
    assert batch["attention_mask"].sum().item() == 4
    assert (batch["labels"] != -100).sum().item() == 17


def test_a_loader_with_workers_gives_the_planned_batches(tokenizers: Tokenizers) -> None:
    pairs: EncodedPairs = encode_pairs(text_of(*[0, 1, 2] * 10), tokenizers, 1000, CleaningReport("refuse"))
    sampler = TokenBudgetBatchSampler(pairs.lengths, 128, 1)
    loader = DataLoader(pairs, batch_sampler=sampler, collate_fn=Seq2SeqCollator(0), num_workers=1)
    assert len(loader) == len(sampler)
    for indices, batch in zip(sampler, loader, strict=True):
        real = batch["input_ids"][batch["attention_mask"].bool()].tolist()
        assert real == list(chain.from_iterable(pairs[index]["input_ids"].tolist() for index in indices))
