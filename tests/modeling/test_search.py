"""The searches behind `generate` give what those of transformers give, token by token, and what the plain idea gives.

`use_cache=False` asks for transformers' search. Random weights give near ties, so that fp64 stands for them there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling.compatibility import CACHE

RECORDS = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
SEARCHES: list[dict[str, Any]] = [
    {"num_beams": 1},
    {"num_beams": 2, "early_stopping": True},
    {"num_beams": 3, "length_penalty": 0.0},
    {"num_beams": 4, "length_penalty": 2.0, "num_return_sequences": 4},
    {"num_beams": 5, "early_stopping": "never", "length_penalty": 0.6, "num_return_sequences": 2},
    {"num_beams": 4, "early_stopping": "never", "length_penalty": -1.0},
    {"num_beams": 4, "early_stopping": True, "length_penalty": -0.5, "num_return_sequences": 3},
]
LENGTHS: list[dict[str, Any]] = [
    {},
    {"max_length": 9},
    {"max_new_tokens": 1},
    {"max_new_tokens": 12, "min_new_tokens": 6},
    {"max_length": 30, "min_length": 20},
    {"max_new_tokens": 15, "eos_token_id": [3, 9, 40]},
    {"max_new_tokens": 15, "eos_token_id": 40, "pad_token_id": 7},
    {"max_new_tokens": 15, "eos_token_id": [3, 12], "pad_token_id": None},
]
ARCHITECTURES: list[dict[str, Any]] = [
    {},
    {"normalize_before": True, "lm_head_bias": True},
    {"normalize_before": False, "add_final_layer_norm": True, "position_layout": "halves"},
    {"sliding_window": 3, "activation_function": "gelu"},
    {"normalize_before": True, "sliding_window": 1, "scale_embedding": False},
    {"sliding_window": 5},  # with 5 beams, more keys than `MANY_KEYS`
    {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
    {"tie_word_embeddings": False, "attn_implementation": "eager", "max_position_embeddings": 8},
    {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 300, "decoder_attention_heads": 4},
]


def batch_of(size: int, seed: int = 3, side: str = "right", longest: int = 8) -> dict[str, torch.Tensor]:
    """Sources of various lengths, padded on one side, and their mask `[B, S]`."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (size,), generator=generator).tolist()
    ids = [torch.randint(4, 97, (length,), generator=generator) for length in lengths]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_side=side)
    return {"input_ids": padded, "attention_mask": padded.ne(0).long()}


def assert_same_as_transformers(model: Any, inputs: dict[str, Any], **arguments: Any) -> None:
    """Both searches give the same sequences, and the same beside them if asked for."""

    def generate(**asked: Any) -> Any:
        return model.generate(**{name: copy.copy(each) for name, each in inputs.items()}, **arguments, **asked)

    ours, theirs = generate(**RECORDS), generate(**RECORDS, use_cache=False)  # which changes a given `encoder_outputs`
    assert torch.equal(generate(), theirs.sequences)
    assert type(ours) is type(theirs)
    assert ours.keys() - {CACHE} == theirs.keys()
    assert torch.equal(ours.sequences, theirs.sequences)
    if arguments["num_beams"] > 1:
        torch.testing.assert_close(ours.sequences_scores, theirs.sequences_scores, rtol=1e-4, atol=1e-4)
        assert torch.equal(ours.beam_indices, theirs.beam_indices)
    assert len(ours.scores) == len(ours.logits) == len(theirs.scores)
    found, expected = (
        model.compute_transition_scores(each.sequences, each.scores, each.get("beam_indices"))
        for each in (ours, theirs)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("search", "lengths"),
    [(each, LENGTHS[number % 4]) for number, each in enumerate(SEARCHES)]
    + [(each, lengths) for each in (SEARCHES[0], SEARCHES[3], SEARCHES[4]) for lengths in LENGTHS[1:]],
    ids=str,
)
def test_with_trained_weights_every_option_gives_the_same(taught, search, lengths) -> None:
    side = "left" if len(lengths) % 2 else "right"
    assert_same_as_transformers(taught, batch_of(6, side=side), **search, **lengths)


@pytest.mark.parametrize("search", [SEARCHES[0], SEARCHES[3]], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_long_sentences_give_the_same(taught, search, side) -> None:
    assert_same_as_transformers(taught, batch_of(7, side=side, longest=40), max_new_tokens=20, **search)


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_many_sentences_give_the_same_even_if_one_is_empty(taught, search) -> None:
    inputs = batch_of(20)
    inputs["attention_mask"][2] = 0
    assert_same_as_transformers(taught, inputs, max_new_tokens=20, **search)


@pytest.mark.parametrize("search", [SEARCHES[0], SEARCHES[4]], ids=str)
@pytest.mark.parametrize("changes", ARCHITECTURES, ids=str)
def test_every_architecture_gives_the_same(make_model, randomize_vectors, changes, search) -> None:
    beams_are_wrong = Version(transformers.__version__) < Version("5.20") and "decoder_vocab_size" in changes
    if beams_are_wrong and search["num_beams"] > 1:
        pytest.skip("beam search of transformers before 5.20 is wrong for two vocabularies")
    model = make_model(**changes)
    randomize_vectors(model)
    assert_same_as_transformers(model.double(), batch_of(4), max_new_tokens=20, **search)


@pytest.mark.parametrize("search", [SEARCHES[0], SEARCHES[3]], ids=str)
@pytest.mark.parametrize("prompt", [[[2, 9, 10]], [[9, 10, 11]], [[2]]])
def test_a_prompt_of_the_decoder_gives_the_same(taught, search, prompt) -> None:
    given = torch.tensor(prompt, dtype=torch.int32).expand(4, -1)
    assert_same_as_transformers(taught, {**batch_of(4), "decoder_input_ids": given}, **search, max_new_tokens=8)


@pytest.mark.parametrize("search", [SEARCHES[0], SEARCHES[3]], ids=str)
@pytest.mark.parametrize("masked", [True, False])
def test_the_source_may_come_in_any_form(taught, search, masked: bool) -> None:
    inputs = batch_of(4)
    mask = {"attention_mask": inputs["attention_mask"]} if masked else {}
    encoded = taught.get_encoder()(inputs["input_ids"], **mask)
    forms = [
        {"inputs": inputs["input_ids"]},
        {"inputs_embeds": taught.get_input_embeddings()(inputs["input_ids"])},
        {"encoder_outputs": encoded},
        {"encoder_outputs": encoded, "input_ids": inputs["input_ids"]},
    ]
    for form in forms:
        assert_same_as_transformers(taught, {**form, **mask}, **search, max_new_tokens=8)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_sentences_without_anything_to_see_give_the_same(taught, num_beams: int) -> None:
    inputs = batch_of(4)
    inputs["attention_mask"][2] = 0
    assert_same_as_transformers(taught, inputs, num_beams=num_beams)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_sentences_that_leave_the_batch_early_change_nothing(taught, num_beams: int) -> None:
    inputs = batch_of(40, seed=5)
    together = taught.generate(**inputs, num_beams=num_beams, num_return_sequences=num_beams)
    arguments = {"num_beams": num_beams, "num_return_sequences": num_beams, "use_cache": False}
    assert torch.equal(together, taught.generate(**inputs, **arguments))
    lengths = together.ne(3).logical_and(together.ne(0)).sum(dim=1)
    assert len(lengths.unique()) > 5, "sentences that end together would never leave early"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_half_precision_gives_scores_as_close_as_it_can(taught, dtype: torch.dtype, num_beams: int) -> None:
    arguments = {"num_beams": num_beams, "max_new_tokens": 4, **RECORDS}
    inputs = batch_of(8)
    taught.to(dtype)
    ours, theirs = taught.generate(**inputs, **arguments), taught.generate(**inputs, **arguments, use_cache=False)
    assert ours.scores[0].dtype == torch.float32
    torch.testing.assert_close(ours.scores[0], theirs.scores[0], rtol=0.05, atol=0.1)
    assert ours.sequences.eq(theirs.sequences).all(dim=1).float().mean() >= 0.75


@pytest.mark.parametrize("num_beams", [1, 3])
def test_the_returned_cache_is_that_of_transformers(taught, num_beams: int) -> None:
    arguments = {**batch_of(3), "num_beams": num_beams, "max_new_tokens": 7, "return_dict_in_generate": True}
    ours = taught.generate(**arguments)[CACHE]
    theirs = taught.generate(**arguments, no_repeat_ngram_size=50)[CACHE]  # which changes nothing but the search
    assert type(ours) is type(theirs)
    assert ours.is_updated == theirs.is_updated
    for part in ("self_attention_cache", "cross_attention_cache"):
        for found, expected in zip(getattr(ours, part).layers, getattr(theirs, part).layers, strict=True):
            torch.testing.assert_close(found.keys, expected.keys, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-4)


def plain_beam_search(
    score_next: Callable[[list[list[int]]], torch.Tensor], beams: int, longest: int, penalty: float
) -> list[tuple[float, list[int]]]:
    """Section 6.1 in 30 lines: one sentence, and every beginning computed from its start again.

    Args:
        score_next: gives log P(token | beginning, source) of beginnings, `[N, V]`.

    Returns:
        The best hypotheses with their scores, best first.
    """
    beginnings: list[tuple[float, list[int]]] = [(0.0, [2])]
    hypotheses: list[tuple[float, list[int]]] = []
    while True:
        totals = score_next([ids for _, ids in beginnings]) + torch.tensor([[total] for total, _ in beginnings])
        best = totals.flatten().topk(2 * beams)
        candidates = [
            (total, [*beginnings[index // totals.shape[1]][1], index % totals.shape[1]])
            for total, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        ends = [ids[-1] == 3 or len(ids) == longest for _, ids in candidates]
        for (total, ids), end in list(zip(candidates, ends, strict=True))[:beams]:
            if end:
                hypotheses.append((total / (len(ids) - 1) ** penalty, ids))
        hypotheses = sorted(hypotheses, reverse=True)[:beams]
        beginnings = [each for each, end in zip(candidates, ends, strict=True) if not end][:beams]
        if not beginnings:
            return hypotheses
        best_now = beginnings[0][0] / (len(beginnings[0][1]) - 1) ** penalty
        if len(hypotheses) == beams and best_now <= hypotheses[-1][0]:
            return hypotheses


@pytest.mark.parametrize(("beams", "penalty"), [(2, 0.0), (4, 0.6), (5, 1.0)])
def test_the_plain_idea_gives_the_same(taught: SineformerForConditionalGeneration, beams: int, penalty: float) -> None:
    for source in batch_of(5, seed=8)["input_ids"]:
        ids = source[source != 0].unsqueeze(0)

        def score_next(beginnings: list[list[int]], ids: torch.Tensor = ids) -> torch.Tensor:
            prompts = torch.tensor(beginnings)
            with torch.no_grad():
                logits = taught(input_ids=ids.expand(len(prompts), -1), decoder_input_ids=prompts).logits
            return logits[:, -1].log_softmax(dim=-1)

        expected = plain_beam_search(score_next, beams, 20, penalty)
        arguments: dict[str, Any] = {"num_beams": beams, "num_return_sequences": beams, "length_penalty": penalty}
        found = taught.generate(ids, **arguments, max_length=20, **RECORDS)
        assert [row[: len(ids)] for row, (_, ids) in zip(found.sequences.tolist(), expected, strict=True)] == [
            ids for _, ids in expected
        ]
        torch.testing.assert_close(found.sequences_scores, torch.tensor([score for score, _ in expected]))
