"""Test that decoding step by step with a cache equals decoding all positions at once."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache

from sineformer.modeling.compatibility import CACHE

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("changes", [{}, {"normalize_before": True}, {"sliding_window": 2}])
def test_one_token_at_a_time_equals_all_at_once(make_model, source, target, implementation: str, changes) -> None:
    model = make_model(attn_implementation=implementation, **changes)
    mask = torch.ones_like(source)
    mask[1, 4:] = 0
    expected = model(input_ids=source, attention_mask=mask, decoder_input_ids=target, use_cache=False).logits
    encoded, cache = model.get_encoder()(source, mask), None
    for step in range(target.shape[1]):
        output = model(
            encoder_outputs=encoded,
            attention_mask=mask,
            decoder_input_ids=target[:, step : step + 1],
            cache=cache,
            use_cache=True,
        )
        cache = output[CACHE]
        torch.testing.assert_close(output.logits[:, 0], expected[:, step], **TOLERANCE)
    assert isinstance(cache, EncoderDecoderCache)
    assert cache.get_seq_length() == target.shape[1]


def test_a_left_padded_prompt_continues_from_the_cache(make_model, source, target) -> None:
    model = make_model()
    expected = model(input_ids=source, decoder_input_ids=target).logits
    padded = torch.nn.functional.pad(target, (2, 0))
    mask = torch.nn.functional.pad(torch.ones_like(target), (2, 0))
    first = model(input_ids=source, decoder_input_ids=padded[:, :4], decoder_attention_mask=mask[:, :4], use_cache=True)
    second = model(
        input_ids=source,
        decoder_input_ids=padded[:, 4:],
        decoder_attention_mask=mask,
        cache=first[CACHE],
    )
    torch.testing.assert_close(first.logits[:, 2:], expected[:, :2], **TOLERANCE)
    torch.testing.assert_close(second.logits, expected[:, 2:], **TOLERANCE)


@pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated")
@pytest.mark.parametrize("name", ["cache", "past_key_values", "memory"])
def test_a_cache_is_accepted_under_every_name(make_model, source, target, name: str) -> None:
    model = make_model()
    first = model(input_ids=source, decoder_input_ids=target[:, :2], use_cache=True)
    rest = model(input_ids=source, decoder_input_ids=target[:, 2:], **{name: first[CACHE]})
    expected = model(input_ids=source, decoder_input_ids=target, use_cache=False).logits[:, 2:]
    torch.testing.assert_close(rest.logits, expected, **TOLERANCE)


@pytest.mark.skipif(CACHE == "past_key_values", reason="this transformers itself uses that name")
def test_the_older_name_of_the_cache_is_deprecated_as_in_transformers(make_model, source, target) -> None:
    model = make_model()
    with pytest.warns(FutureWarning, match="`past_key_values` is deprecated.*Use `cache`"):
        model(input_ids=source, decoder_input_ids=target, past_key_values=DynamicCache(config=model.config))


@pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated")
@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_cache_of_tuples_is_refused(make_model, source, target, name: str) -> None:
    with pytest.raises(TypeError, match="The cache is a tuple; give a `Cache` of transformers"):
        make_model()(input_ids=source, decoder_input_ids=target, **{name: ((target,),)})


def test_a_plain_cache_is_used_for_self_attention(make_model, source, target) -> None:
    model = make_model()
    output = model(input_ids=source, decoder_input_ids=target, cache=DynamicCache(config=model.config))
    torch.testing.assert_close(
        output.logits, model(input_ids=source, decoder_input_ids=target, use_cache=False).logits, **TOLERANCE
    )


@pytest.mark.parametrize(
    "arguments",
    [{"num_beams": 1}, {"num_beams": 4}, {"num_beams": 4, "num_return_sequences": 3}],
)
@pytest.mark.parametrize("changes", [{}, {"sliding_window": 4}])
def test_generate_with_and_without_cache_is_the_same(make_model, source, arguments, changes) -> None:
    model = make_model(**changes)
    outputs = [model.generate(source, max_new_tokens=15, use_cache=use, **arguments) for use in (True, False)]
    assert torch.equal(*outputs)


def test_sampling_is_repeatable_and_differs_between_seeds(make_model, source) -> None:
    model = make_model()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(model.generate(source, do_sample=True, max_new_tokens=15))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("changes", [{}, {"sliding_window": 4}])
def test_a_static_cache_equals_a_dynamic_one(make_model, source, changes) -> None:
    model = make_model(**changes)
    expected = model.generate(source, max_new_tokens=12)
    output = model.generate(source, max_new_tokens=12, cache_implementation="static", disable_compile=True)
    assert torch.equal(output, expected)


def test_a_new_model_does_not_truncate_translations_at_twenty_tokens(make_model, source) -> None:
    model = make_model(eos_token_id=None, max_position_embeddings=40)
    assert model.generate(source, num_beams=1).shape[1] == 1 + source.shape[1] + 50
