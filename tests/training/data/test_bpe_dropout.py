"""BPE-dropout: different subwords of the same text, determined by seed and epoch."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sineformer.training.data.batches import MappedBatches, open_batches
from sineformer.training.data.batching import Seq2SeqCollator
from sineformer.training.data.bpe import BYTE_TOKENS, normalise, train_tokenizers
from sineformer.training.data.bpe_dropout import BpeDropoutPairs, Merges
from sineformer.training.data.cleaning import CleaningReport
from sineformer.training.data.corpus import Corpus
from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.encoding import EncodedPairs, encode_pairs
from sineformer.training.data.loading import Data
from sineformer.training.data.overlap import PairHashes
from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.data.tokenizer import Tokenizers

# Characters that the vocabulary lacks, spaces of all kinds, marks, digits, long words, and special tokens as text.
ODD = [
    *(
        "äöü straße",
        "日本語 text",
        "  two  spaces ",
        "tab\tline\u2028",
        "1234567",
        "...!?--",
        "<s></s> <0x41>",
        "e\u0301",
    ),
    *("aaaaaaaaaaaaaaa", "the" * 30, "🙂👩‍👩‍👧", "\u00a0non\u2009breaking", "a", "Donaudampfschifffahrtsgesellschaft"),
]


@pytest.fixture(scope="module")
def text() -> ParallelText:
    pairs = [*load_split("train", 150, seed=5), *zip(ODD, reversed(ODD), strict=True)]
    sources, targets = (list(side) for side in zip(*pairs, strict=True))
    return ParallelText(sources, targets, ["pairs.txt"] * len(pairs), list(range(1, len(pairs) + 1)))


@pytest.fixture(scope="module")
def tokenizers(text: ParallelText) -> Tokenizers:
    """Two different tokenizers, which were not trained on the odd texts."""
    return train_tokenizers(text.sources[:150], text.targets[:150], 500, 400)


@pytest.fixture(scope="module")
def pairs(text: ParallelText, tokenizers: Tokenizers) -> EncodedPairs:
    return encode_pairs(text, tokenizers, 1_000, CleaningReport())


def all_ids(pairs: Any, side: str) -> list[list[int]]:
    return [pairs[index][side].tolist() for index in range(len(pairs))]


def test_without_dropout_text_is_segmented_as_by_the_tokenizer(pairs: EncodedPairs, tokenizers: Tokenizers) -> None:
    dropped = BpeDropoutPairs(pairs, tokenizers, 0.0, 1, 1_000).of_epoch(0)
    for side in ("input_ids", "labels"):
        assert all_ids(dropped, side) == all_ids(pairs, side)
    assert np.array_equal(dropped.lengths_on_demand[:], pairs.lengths)


def test_with_a_probability_of_one_nothing_is_merged(pairs: EncodedPairs, tokenizers: Tokenizers) -> None:
    dropped = BpeDropoutPairs(pairs, tokenizers, 1.0, 1, 10_000).of_epoch(0)
    for side, tokenizer in (("input_ids", tokenizers.source), ("labels", tokenizers.target)):
        for ids in all_ids(dropped, side):
            tokens = tokenizer.convert_ids_to_tokens(ids)
            assert tokens[-1] == "</s>"
            assert all(len(token) == 1 or token.startswith("<0x") for token in tokens[:-1])


@pytest.mark.parametrize("dropout", [0.1, 0.5, 1.0])
def test_the_text_is_the_same_in_every_segmentation(
    pairs: EncodedPairs, tokenizers: Tokenizers, text: ParallelText, dropout: float
) -> None:
    dropped = BpeDropoutPairs(pairs, tokenizers, dropout, 1, 10_000).of_epoch(0)
    for side, tokenizer, texts in (
        ("input_ids", tokenizers.source, text.sources),
        ("labels", tokenizers.target, text.targets),
    ):
        decoded = tokenizer.batch_decode(all_ids(dropped, side), skip_special_tokens=True, use_source_tokenizer=True)
        assert decoded == [normalise(each) for each in texts]
        assert all_ids(dropped, side) != all_ids(pairs, side)


def test_each_merge_is_dropped_with_the_probability(tokenizers: Tokenizers) -> None:
    merges = Merges(tokenizers.source)
    rank = int(np.flatnonzero(merges.ranks == 0)[0])
    left, right = divmod(int(merges.keys[rank]), merges.size)
    symbols = np.tile(np.array([left, right], np.int32), 20_000)
    merged, lengths = merges.merge(symbols, np.full(20_000, 2), 0.3, np.random.default_rng(1))
    assert set(lengths.tolist()) == {1, 2}
    assert (lengths == 2).mean() == pytest.approx(0.3, abs=0.02)
    assert set(merged[np.cumsum(lengths) - 1].tolist()) == {right, int(merges.products[0])}


def test_an_epoch_depends_only_on_seed_and_number(pairs: EncodedPairs, tokenizers: Tokenizers) -> None:
    first, second = (BpeDropoutPairs(pairs, tokenizers, 0.1, 1, 1_000) for _ in range(2))
    epochs = [all_ids(first.of_epoch(epoch), "input_ids") for epoch in range(4)]
    assert all_ids(second.of_epoch(3), "input_ids") == epochs[3]
    assert all_ids(second.of_epoch(1), "input_ids") == epochs[1]
    assert all(epochs[one] != epochs[other] for one in range(4) for other in range(one))
    assert all_ids(BpeDropoutPairs(pairs, tokenizers, 0.1, 2, 1_000).of_epoch(0), "input_ids") != epochs[0]


def test_sides_that_would_be_too_long_keep_their_segmentation(pairs: EncodedPairs, tokenizers: Tokenizers) -> None:
    unlimited = BpeDropoutPairs(pairs, tokenizers, 0.9, 1, 10_000).of_epoch(0)
    lengths = unlimited.lengths
    limit = int(np.median(lengths))
    dropped, too_long = BpeDropoutPairs(pairs, tokenizers, 0.9, 1, limit).of_epoch(0), lengths > limit
    for number, side in enumerate(("input_ids", "labels")):
        plain, segmented = all_ids(pairs, side), all_ids(unlimited, side)
        expected = [plain[i] if too_long[i, number] else segmented[i] for i in range(len(pairs))]
        assert all_ids(dropped, side) == expected


def open_dropped(
    pairs: EncodedPairs, tokenizers: Tokenizers, bpe_dropout: float, max_length: int, max_tokens: int, multiple: int = 1
) -> MappedBatches:
    """The batches of a run with BPE-dropout."""
    given: Any = SimpleNamespace(
        tokenizer=SimpleNamespace(bpe_dropout=bpe_dropout),
        data=SimpleNamespace(max_length=max_length, both_directions=False),
        optimisation=SimpleNamespace(max_tokens=max_tokens, gradient_accumulation_steps=1),
        run=SimpleNamespace(seed=1),
    )
    corpus = Corpus(pairs, CleaningReport(), "", PairHashes.of([]), str)
    accelerator: Any = SimpleNamespace(process_index=0, num_processes=1, device=torch.device("cpu"))
    batches = open_batches(given, Data(tokenizers, corpus, {}), Seq2SeqCollator(0, multiple), accelerator)
    assert isinstance(batches, MappedBatches)
    return batches


def test_no_epoch_has_a_pair_that_its_padding_takes_beyond_the_budget(
    pairs: EncodedPairs, tokenizers: Tokenizers
) -> None:
    budget = int(BpeDropoutPairs(pairs, tokenizers, 0.9, 1, 10_000).of_epoch(0).lengths.max())
    assert budget % 8, "otherwise padding adds nothing"
    batches = open_dropped(pairs, tokenizers, 0.9, budget, budget, multiple=8)
    for epoch in range(4):
        batches.set_epoch(epoch)
        assert batches.pairs.lengths.max() <= budget // 8 * 8
        assert sorted(index for batch in batches for index in batch.examples) == list(range(len(pairs)))


def test_batches_fit_the_lengths_of_their_epoch(pairs: EncodedPairs, tokenizers: Tokenizers) -> None:
    batches = open_dropped(pairs, tokenizers, 0.5, max_length=200, max_tokens=400)
    assert isinstance(batches.source, BpeDropoutPairs)
    assert batches.source.max_length == 200, "the budget of a batch is no reason for longer sentences"
    for epoch in (0, 1, 2):
        batches.set_epoch(epoch)
        dropped = batches.source.of_epoch(epoch)
        taken = list(batches)
        assert sorted(index for batch in taken for index in batch.examples) == list(range(len(pairs)))
        for batch in taken:
            lengths = [(len(dropped[int(i)]["input_ids"]), len(dropped[int(i)]["labels"])) for i in batch.examples]
            assert len(batch.examples) * max(map(max, lengths)) <= 400
            assert batch.inputs["attention_mask"].sum(1).tolist() == [source for source, _ in lengths]
            assert (batch.inputs["labels"] != -100).sum(1).tolist() == [target for _, target in lengths]
        if epoch == 1:
            planned = [batch.examples for batch in taken]
    batches.set_epoch(1, start_batch=3)
    assert [batch.examples for batch in batches] == planned[3:]


def test_the_segmentation_does_not_depend_on_the_size_of_chunks(
    pairs: EncodedPairs, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sineformer.training.data.bpe_dropout.SENTENCES_AT_ONCE", 7)
    assert all_ids(BpeDropoutPairs(pairs, tokenizers, 0.0, 1, 1_000).of_epoch(0), "labels") == all_ids(pairs, "labels")


def test_merges_of_a_large_vocabulary_are_kept_apart() -> None:
    # Products of two of its ids take more than 32 bits.
    vocabulary = {token: number for number, token in enumerate(BYTE_TOKENS)} | {"a": 70_000, "b": 70_001, "ab": 70_002}
    backend = Tokenizer(models.BPE(vocabulary, [("a", "b")], byte_fallback=True))
    merges = Merges(PreTrainedTokenizerFast(tokenizer_object=backend))
    symbols = np.array(merges.characters("abba"), np.int32)
    merged, lengths = merges.merge(symbols, np.array([4]), 0.0, np.random.default_rng(1))
    assert (merged.tolist(), lengths.tolist()) == ([70_002, 70_001, 70_000], [3])


def test_without_any_merge_a_word_stays_characters() -> None:
    vocabulary = {token: number for number, token in enumerate([*BYTE_TOKENS, "a"])}
    merges = Merges(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocabulary, []))))
    symbols = np.array(merges.characters("aa"), np.int32)
    assert merges.merge(symbols, np.array([2]), 0.0, np.random.default_rng(1))[0].tolist() == [256, 256]


def test_a_tokenizer_without_merges_and_bytes_is_refused(pairs: EncodedPairs) -> None:
    for model in (models.WordLevel({"a": 0, "e": 1}, unk_token="e"), models.BPE({"a": 0, "e": 1}, [])):
        foreign = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), eos_token="e")
        with pytest.raises(ValueError, match="bpe_dropout: the tokenizer is no BPE that falls back to bytes"):
            BpeDropoutPairs(pairs, Tokenizers(foreign, foreign), 0.1, 1, 100)


def test_a_tokenizer_that_merges_differently_is_refused(pairs: EncodedPairs, tokenizers: Tokenizers) -> None:
    backend = Tokenizer.from_str(tokenizers.source.backend_tokenizer.to_str())
    backend.pre_tokenizer = pre_tokenizers.Split(" ", behavior="isolated")
    other = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    with pytest.raises(ValueError, match="bpe_dropout: the tokenizer does not merge characters as"):
        BpeDropoutPairs(pairs, Tokenizers(other, tokenizers.target), 0.1, 1, 100)
