"""Without a limit of the caller, every translation ends 50 tokens beyond the length of its own source."""

from __future__ import annotations

import copy
import tempfile

import pytest
import torch
import transformers
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from sineformer import SineformerForConditionalGeneration
from sineformer.training.data.bpe import train_tokenizer

LENGTHS = (7, 3, 1)
MASK = torch.tensor([[1] * length + [0] * (7 - length) for length in LENGTHS])
LIMITED = [length + 50 for length in LENGTHS]


@pytest.fixture
def endless(make_model) -> SineformerForConditionalGeneration:
    """A model that never ends a translation by itself."""
    model = make_model(decoder_layers=1)
    model.generation_config.suppress_tokens = [0, 3]
    return model


def new_tokens(sequences: torch.Tensor, prompt_length: int = 1) -> list[int]:
    """How many tokens each sequence has after the prompt; greedy search pads with 0, beam search with the end token."""
    return [int((ids.ne(0) & ids.ne(3)).sum()) for ids in sequences[:, prompt_length:]]


@pytest.mark.parametrize(
    "arguments",
    [
        *({"num_beams": 1}, {"num_beams": 3}, {"num_beams": 3, "early_stopping": "never"}),
        *({"num_beams": 1, "do_sample": True}, {"num_beams": 3, "do_sample": True}),
        *({"num_beams": 1, "use_cache": False}, {}),
    ],
)
def test_each_translation_ends_50_tokens_beyond_its_own_source(endless, source, arguments) -> None:
    assert new_tokens(endless.generate(source, attention_mask=MASK, **arguments)) == LIMITED


def test_every_hypothesis_of_a_source_has_the_limit_of_that_source(endless, source) -> None:
    output = endless.generate(source, attention_mask=MASK, num_beams=3, num_return_sequences=2)
    assert new_tokens(output) == [limit for limit in LIMITED for _ in range(2)]


@pytest.mark.parametrize("form", ["input_ids", "inputs_embeds", "encoder_outputs"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_the_source_may_come_in_any_form(endless, source, form: str, mask) -> None:
    inputs = {
        "input_ids": lambda: source,
        "inputs_embeds": lambda: endless.get_input_embeddings()(source),
        "encoder_outputs": lambda: endless.get_encoder()(source, mask),
    }
    output = endless.generate(**{form: inputs[form]()}, attention_mask=mask)
    assert new_tokens(output) == ([57] * 3 if mask is None else LIMITED)


def test_padding_is_no_part_of_the_source_with_or_without_a_mask(endless, source) -> None:
    padded = source.masked_fill(MASK == 0, 0)
    assert new_tokens(endless.generate(padded)) == LIMITED
    assert new_tokens(endless.generate(padded, attention_mask=MASK)) == LIMITED


def as_keywords(model, asked):
    return asked


def as_a_new_config(model, asked):
    return {"generation_config": GenerationConfig(num_beams=model.generation_config.num_beams, **asked)}


def as_a_copy_of_the_models_config(model, asked):
    config = copy.deepcopy(model.generation_config)
    config.update(**asked)
    return {"generation_config": config}


def in_place(model, asked):
    model.generation_config.update(**asked)
    return {}


def saved_and_loaded(model, asked):
    model.generation_config.update(**asked)
    with tempfile.TemporaryDirectory() as folder:
        model.generation_config.save_pretrained(folder)
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return {}


ways = pytest.mark.parametrize(
    "ask", [as_keywords, as_a_new_config, as_a_copy_of_the_models_config, in_place, saved_and_loaded]
)


@ways
@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        *(({"max_new_tokens": 60}, 60), ({"max_length": 61}, 60), ({"max_new_tokens": 2}, 2)),
        *(({"max_length": 55}, 54), ({"max_length": 20}, 19), ({"max_length": 64}, 63), ({"max_new_tokens": 90}, 90)),
    ],
)
def test_a_length_that_is_asked_for_replaces_the_limit_of_the_source(
    endless, source, ask, num_beams: int, asked, expected: int
) -> None:
    endless.generation_config.num_beams = num_beams
    assert new_tokens(endless.generate(source, attention_mask=MASK, **ask(endless, asked))) == [expected] * 3


@ways
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("asked", [{"min_new_tokens": 80}, {"min_length": 81}])
def test_a_least_length_that_is_asked_for_wins_over_the_limit_of_the_source(
    make_model, source, ask, mask, asked
) -> None:
    model = make_model(decoder_layers=1)
    model.generation_config.suppress_tokens = [0]
    output = model.generate(source, attention_mask=mask, **ask(model, asked))
    assert all(count >= 80 for count in new_tokens(output))


def test_a_keyword_wins_over_a_config_and_that_over_the_models_own(endless, source) -> None:
    endless.generation_config.max_new_tokens = 7
    assert new_tokens(endless.generate(source)) == [7] * 3
    assert new_tokens(endless.generate(source, GenerationConfig(max_length=6))) == [5] * 3
    assert new_tokens(endless.generate(source, GenerationConfig(max_new_tokens=4))) == [4] * 3
    assert new_tokens(endless.generate(source, max_length=4)) == [3] * 3


def test_a_length_is_asked_for_without_a_warning(endless, source, caplog) -> None:
    transformers.utils.logging.enable_propagation()
    endless.generate(source, max_new_tokens=4)
    endless.generate(source, GenerationConfig(max_new_tokens=5))
    endless.generation_config.max_new_tokens = 6
    endless.generate(source)
    transformers.utils.logging.disable_propagation()
    assert [record.getMessage() for record in caplog.records] == []


def test_a_long_source_is_not_cut(endless, source) -> None:
    long = torch.cat([source] * 10, dim=1)
    assert new_tokens(endless.generate(long)) == [120] * 3


def test_the_limit_is_a_field_of_the_generation_config(endless, source) -> None:
    shorter = GenerationConfig(max_tokens_beyond_source=2)
    assert new_tokens(endless.generate(source, shorter, attention_mask=MASK)) == [9, 5, 3]
    endless.generation_config.max_tokens_beyond_source = 1
    assert new_tokens(endless.generate(source, attention_mask=MASK)) == [8, 4, 2]
    endless.generation_config.max_tokens_beyond_source = None
    assert new_tokens(endless.generate(source, attention_mask=MASK)) == [64] * 3
    del endless.generation_config.max_tokens_beyond_source
    assert new_tokens(endless.generate(source, attention_mask=MASK)) == LIMITED


def test_a_prompt_of_the_decoder_does_not_count(endless, source) -> None:
    prompt = torch.tensor([[2, 9, 10]]).expand(3, -1)
    output = endless.generate(source, attention_mask=MASK, decoder_input_ids=prompt)
    assert new_tokens(output, prompt_length=3) == LIMITED
    without_start = endless.generate(source, attention_mask=MASK, decoder_input_ids=prompt[:, 1:])
    assert torch.equal(without_start, output)


def test_stopping_criteria_of_the_caller_still_hold(endless, source) -> None:
    class AtFour(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
            return torch.full(input_ids.shape[:1], input_ids.shape[1] >= 4)

    for criteria in ([AtFour()], StoppingCriteriaList([AtFour()])):
        assert endless.generate(source, num_beams=1, stopping_criteria=criteria).shape == (3, 4)
        assert endless.generate(source, None, None, criteria, num_beams=1).shape == (3, 4)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_a_translation_ends_at_a_string_of_the_caller(make_model, num_beams: int) -> None:
    tokenizer = train_tokenizer(["the dog sleeps"], vocab_size=270)
    model = make_model(vocab_size=len(tokenizer))
    batch = tokenizer("the dog", return_tensors="pt")
    letters = tokenizer("abc", add_special_tokens=False)["input_ids"]
    arguments = {"num_beams": num_beams, "max_new_tokens": 6, "suppress_tokens": [0, 3]}
    arguments["prefix_allowed_tokens_fn"] = lambda _, ids: letters[len(ids) - 1 : len(ids)] or letters
    stopped = model.generate(**batch, **arguments, stop_strings=["b"], tokenizer=tokenizer)
    assert tokenizer.batch_decode(stopped, skip_special_tokens=True) == ["ab"]


def test_the_defaults_are_saved_and_loaded(make_model, tmp_path) -> None:
    model = make_model(max_position_embeddings=77)
    model.generation_config.max_tokens_beyond_source = 12
    model.save_pretrained(tmp_path)
    config = SineformerForConditionalGeneration.from_pretrained(tmp_path).generation_config
    assert (config.num_beams, config.early_stopping, config.max_length) == (4, None, 78)
    assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (2, 3, 0)
    assert config.max_tokens_beyond_source == 12


@pytest.mark.parametrize("changes", [{"num_beams": 1}, {"num_beams": 1, "do_sample": True}, {"max_length": 9}])
def test_a_changed_generation_config_is_saved(make_model, tmp_path, changes) -> None:
    model = make_model()
    model.generation_config.update(**changes)
    model.generation_config.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    loaded = SineformerForConditionalGeneration.from_pretrained(tmp_path).generation_config
    assert {name: getattr(loaded, name) for name in changes} == changes


def test_a_folder_without_a_generation_config_has_the_defaults(make_model, source, tmp_path) -> None:
    make_model().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    model = SineformerForConditionalGeneration.from_pretrained(tmp_path)
    model.generation_config.suppress_tokens = [0, 3]
    assert model.generation_config.num_beams == 4
    assert new_tokens(model.generate(source, attention_mask=MASK)) == LIMITED
