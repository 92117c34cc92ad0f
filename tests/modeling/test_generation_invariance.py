"""What a sentence is translated into does not depend on its batch, and there is no text that cannot be translated."""

from __future__ import annotations

import itertools
import math
import threading
from typing import Any

import pytest
import torch
from transformers import TextIteratorStreamer

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling.positional_encoding import sinusoidal_encoding

Translation = tuple[list[int], float]
SEARCHES = [
    {"num_beams": 1},
    {"num_beams": 4, "early_stopping": True},
    {"num_beams": 3, "early_stopping": False, "length_penalty": 0.6},
    {"num_beams": 3, "early_stopping": "never", "length_penalty": 1.4},
    {"num_beams": 2, "no_repeat_ngram_size": 2, "repetition_penalty": 1.2},
]


def random_sentences(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 20, (9,), generator=generator).tolist()
    return [torch.randint(4, 97, (length,), generator=generator) for length in lengths]


def batch_of(sentences: list[torch.Tensor], side: str) -> dict[str, torch.Tensor]:
    """Token ids `[B, S]` and their mask, padded on one side."""
    ids = torch.nn.utils.rnn.pad_sequence(sentences, batch_first=True, padding_side=side)
    ones = [torch.ones_like(each) for each in sentences]
    return {"input_ids": ids, "attention_mask": torch.nn.utils.rnn.pad_sequence(ones, True, padding_side=side)}


def translations(
    model: SineformerForConditionalGeneration, batch: dict[str, Any], search: dict[str, Any]
) -> list[Translation]:
    """For each sentence its tokens, without end and padding, and its score."""
    output = model.generate(**batch, **search, return_dict_in_generate=True, output_scores=True)
    texts = [
        list(itertools.takewhile(lambda token: token not in (0, 3), ids)) for ids in output.sequences[:, 1:].tolist()
    ]
    if search["num_beams"] > 1:
        return list(zip(texts, output.sequences_scores.tolist(), strict=True))
    scores = model.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
    return [(text, float(row[: len(text)].sum())) for text, row in zip(texts, scores, strict=True)]


@pytest.mark.parametrize("search", SEARCHES)
def test_text_and_scores_depend_on_neither_batch_size_nor_order_nor_padding_side(taught, search) -> None:
    sentences = random_sentences(seed=SEARCHES.index(search))
    alone = [translations(taught, batch_of([sentence], "right"), search)[0] for sentence in sentences]
    assert len({tuple(ids) for ids, _ in alone}) >= 5, "translations that are alike would hide an exchange"
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0)).tolist()
    for size, side in ((9, "left"), (9, "right"), (4, "left")):
        for start in range(0, 9, size):
            chosen = order[start : start + size]
            together = translations(taught, batch_of([sentences[i] for i in chosen], side), search)
            for i, (ids, score) in zip(chosen, together, strict=True):
                assert ids == alone[i][0]
                assert math.isclose(score, alone[i][1], rel_tol=1e-4, abs_tol=1e-4)


def test_sampling_one_sentence_does_not_depend_on_the_side_of_padding(taught) -> None:
    sentences = random_sentences(seed=9)
    drawn = []
    for side in ("left", "right"):
        torch.manual_seed(5)
        drawn.append(taught.generate(**batch_of(sentences, side), do_sample=True, num_beams=1, max_new_tokens=15))
    assert torch.equal(*drawn)


def test_a_source_of_5000_tokens(make_model) -> None:
    model = make_model(max_position_embeddings=1024, encoder_layers=1)
    source = torch.randint(4, 97, (1, 5000), generator=torch.Generator().manual_seed(0))
    output = model.generate(source, max_new_tokens=5, num_beams=2, return_dict_in_generate=True, output_scores=True)
    assert output.sequences.shape == (1, 6)
    assert torch.isfinite(output.sequences_scores).all()
    table = model.model.encoder.embed_positions.table
    assert torch.equal(table[:5000], sinusoidal_encoding(torch.arange(5000), 32))
    larger = make_model(max_position_embeddings=5000, encoder_layers=1)
    assert torch.equal(larger.generate(source, max_new_tokens=5, num_beams=2), output.sequences)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_target_longer_than_the_table(make_model, source, cache: str) -> None:
    arguments = {"max_new_tokens": 40, "num_beams": 2, "suppress_tokens": [3], "disable_compile": True}
    model = make_model(max_position_embeddings=8)
    output = model.generate(source, cache_implementation=cache, **arguments)
    assert output.shape == (3, 41)
    assert torch.equal(output, make_model(max_position_embeddings=64).generate(source, **arguments))
    table = model.model.decoder.embed_positions.table
    assert torch.equal(table[:40], sinusoidal_encoding(torch.arange(40), 32))


@pytest.mark.parametrize(
    ("ids", "mask"),
    [
        ([[3]], [[1]]),  # an empty text, of which only the end token is left
        ([[50]], [[1]]),
        ([[1] * 12], [[1] * 12]),  # nothing but unknown tokens
        ([[0, 0, 0]], [[0, 0, 0]]),  # nothing but padding
        ([[3, 0, 0], [50, 60, 3]], [[1, 0, 0], [1, 1, 1]]),
    ],
)
@pytest.mark.parametrize("num_beams", [1, 4])
def test_degenerate_sources_end_soon_and_finite(taught, ids, mask, num_beams: int) -> None:
    output = taught.generate(
        torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        num_beams=num_beams,
        return_dict_in_generate=True,
        output_logits=True,
    )
    for tokens, length in zip(output.sequences[:, 1:], torch.tensor(mask).sum(dim=1), strict=True):
        assert int((tokens.ne(0) & tokens.ne(3)).sum()) <= length + 50
    assert all(torch.isfinite(logits).all() for logits in output.logits)


@pytest.mark.parametrize("dtype", [torch.long, torch.float])  # a tokenizer makes an empty list a float tensor
def test_a_source_without_any_token_is_refused_with_the_mend(taught, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"`input_ids` has shape \[2, 0\], no token at all. Give at least one"):
        taught.generate(torch.zeros(2, 0, dtype=dtype), attention_mask=torch.zeros(2, 0))


class Words:
    """As much of a tokenizer as streamers and stop strings need: token 17 reads ` w17`."""

    def decode(self, ids: Any, **kwargs: Any) -> str:
        return "".join(f" w{int(index)}" for index in torch.as_tensor(ids).flatten())


def test_tokens_can_be_streamed_while_they_are_made(taught, source) -> None:
    arguments = {"num_beams": 1, "max_new_tokens": 9}
    streamer = TextIteratorStreamer(Words(), skip_prompt=True, timeout=60)
    thread = threading.Thread(target=taught.generate, args=(source[:1],), kwargs={**arguments, "streamer": streamer})
    thread.start()
    pieces = list(streamer)
    thread.join()
    assert "".join(pieces) == Words().decode(taught.generate(source[:1], **arguments)[0, 1:])
    assert len(pieces) > 2  # not all at once, at the end
    with pytest.raises(ValueError, match="`streamer` cannot be used with beam search"):
        taught.generate(source[:1], num_beams=2, streamer=streamer)
