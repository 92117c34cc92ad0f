"""Which requests the searches behind `generate` serve, and which go to transformers."""

from __future__ import annotations

import copy
import types
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
    TextStreamer,
)
from transformers.generation import GenerationMixin

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling.compatibility import CACHE
from sineformer.modeling.likeliest_tokens import FEW, chunk_maxima, likeliest, likeliest_extensions, log_sum_exp


class AskedTransformersError(Exception):
    """What `GenerationMixin.generate` raises here."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if transformers had renamed everything that its search rests on."""

    def generate(*args: Any, **kwargs: Any) -> Any:
        raise AskedTransformersError

    monkeypatch.setattr(GenerationMixin, "generate", generate)


@pytest.fixture
def model(make_model) -> Any:
    return make_model(decoder_layers=1)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    "arguments",
    [
        *({}, {"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 2, "max_length": 4}),
        *({"early_stopping": stop, "max_new_tokens": 3} for stop in (True, False, "never")),
        *({"min_new_tokens": 2, "max_new_tokens": 3}, {"min_length": 2, "max_length": 4}, {"eos_token_id": [3, 5]}),
        *({"do_sample": False, "temperature": 1.0, "top_k": 50}, {"synced_gpus": False}, {"use_cache": True}),
        *({"generation_config": GenerationConfig(num_beams=2, max_new_tokens=3)}, {"max_tokens_beyond_source": 2}),
        *({"logits_processor": LogitsProcessorList()}, {"stopping_criteria": StoppingCriteriaList()}),
        *({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}, {"labels": torch.ones(3, 2)}, {"max_length": None}),
        *({"return_dict_in_generate": True, "output_scores": True}, {"decoder_input_ids": torch.full((3, 2), 9)}),
    ],
    ids=str,
)
def test_plain_requests_do_not_need_the_search_of_transformers(model, source, arguments) -> None:
    assert len(model.generate(source, **arguments)) > 0
    saved = {name: value for name, value in arguments.items() if hasattr(model.generation_config, name)}
    model.generation_config.update(**saved)
    rest = {name: value for name, value in arguments.items() if name not in saved}
    assert len(model.generate(source, **rest)) > 0


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    "arguments",
    [
        *({"use_cache": False}, {"do_sample": True}, {"no_repeat_ngram_size": 2}, {"repetition_penalty": 1.1}),
        *({"suppress_tokens": [5]}, {"bad_words_ids": [[5]]}, {"forced_bos_token_id": 0}, {"max_time": 1.0}),
        *({"output_attentions": True}, {"output_hidden_states": True}, {"cache_implementation": "static"}),
        *({"renormalize_logits": True}, {"remove_invalid_values": True}, {"stop_strings": ["a"]}),
        *({"prompt_lookup_num_tokens": 2}, {"penalty_alpha": 0.5}, {"num_beam_groups": 2}, {"synced_gpus": True}),
        *({"num_beams": 2, "num_return_sequences": 3}, {"num_beams": 0}, {"num_beams": None}, {"max_length": 1}),
        *({"pad_token_id": -100}, {"pad_token_id": 1000, "num_beams": 2}),
        *({"num_beams": True}, {"num_return_sequences": True}),
        *({"eos_token_id": 1000}, {"eos_token_id": None}, {"decoder_start_token_id": [2, 2, 2]}, {"later": 1}),
        *({"early_stopping": "soon"}, {"decoder_attention_mask": torch.ones(3, 1)}, {"streamer": TextStreamer(None)}),
        *({"logits_processor": [len]}, {"stopping_criteria": [len]}, {"prefix_allowed_tokens_fn": len}),
        *({"attention_mask": torch.ones(3, 9)}, {"decoder_input_ids": torch.full((2, 2), 9)}),
        *({"encoder_outputs": (torch.zeros(3, 7, 32),)}, {"input_ids": torch.ones(3, 7)}, {"custom_generate": len}),
        {CACHE: EncoderDecoderCache(DynamicCache(), DynamicCache())},
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_everything_else_goes_to_transformers(model, source, arguments) -> None:
    with pytest.raises(AskedTransformersError):
        model.generate(source, **arguments)


def add_adapter(model: Any) -> Any:
    return get_peft_model(model, LoraConfig(target_modules=["q_proj"])).base_model.model


def add_hook(model: Any) -> Any:
    model.model.decoder.layers[0].fc1.register_forward_hook(lambda *_: None)
    return model


def replace_forward(model: Any) -> Any:
    model.forward = types.MethodType(lambda self, **kwargs: type(self).forward(self, **kwargs), model)
    return model


def become_a_subclass(model: Any) -> Any:
    class Other(SineformerForConditionalGeneration):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    model.__class__ = Other
    return model


def embed_otherwise(model: Any) -> Any:
    decoder = model.model.decoder
    decoder.__class__ = type("Other", (type(decoder),), {"embed": lambda *_: torch.zeros(3, 1, 32)})
    return model


def replace_the_head(model: Any) -> Any:
    model.lm_head = nn.Sequential(nn.Linear(32, 97).double()).eval()
    return model


def replace_a_step_of_generate(model: Any) -> Any:
    def processors(self: Any, *args: Any, **kwargs: Any) -> Any:
        return LogitsProcessorList([len])

    model.__class__ = type("Other", (SineformerForConditionalGeneration,), {"_get_logits_processor": processors})
    return model


def replace_a_step_of_this_model(model: Any) -> Any:
    model.prepare_inputs_for_generation = types.MethodType(lambda self, *args, **kwargs: {}, model)
    return model


def put_a_module_around_a_projection(model: Any) -> Any:
    layer = model.model.decoder.layers[0]
    layer.fc2 = nn.Sequential(layer.fc2, nn.Tanh()).eval()
    return model


def take_a_bias_away(model: Any) -> Any:
    model.model.decoder.layers[0].self_attn.q_proj.bias = None
    return model


def replace_a_norm(model: Any) -> Any:
    model.model.decoder.layers[0].final_layer_norm = nn.RMSNorm(model.config.d_model).eval()
    return model


def quantise(model: Any) -> Any:
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def mix_types(model: Any) -> Any:
    model.model.decoder.layers[0].final_layer_norm.double()
    return model


def compile_module(model: Any) -> Any:
    model.model.decoder.compile(backend="eager")
    return model


def write_into_the_config(model: Any) -> Any:
    model.config.num_beams = 2
    return model


def parametrise(model: Any) -> Any:
    nn.utils.parametrizations.weight_norm(model.model.decoder.layers[0].self_attn.q_proj)
    return model


@pytest.mark.usefixtures("broken")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "change",
    [
        *(
            add_adapter,
            add_hook,
            replace_forward,
            become_a_subclass,
            embed_otherwise,
            replace_the_head,
            quantise,
            mix_types,
            compile_module,
        ),
        *(put_a_module_around_a_projection, take_a_bias_away, replace_a_norm),
        *(replace_a_step_of_generate, replace_a_step_of_this_model),
        *(write_into_the_config, parametrise, lambda model: model.train()),
    ],
)
def test_a_model_that_computes_otherwise_goes_to_transformers(model, source, change) -> None:
    model = change(model)
    with pytest.raises(AskedTransformersError):
        model.generate(source, max_new_tokens=2)


@pytest.mark.usefixtures("broken")
def test_autocast_goes_to_transformers(model, source) -> None:
    with pytest.raises(AskedTransformersError), torch.autocast("cpu", dtype=torch.bfloat16):
        model.generate(source, max_new_tokens=2)


def test_attentions_that_were_once_asked_for_leave_the_search_as_it_was(model, source, request) -> None:
    model.generate(source, max_new_tokens=2, output_attentions=True, return_dict_in_generate=True)
    request.getfixturevalue("broken")
    assert len(model.generate(source, max_new_tokens=2)) == 3


@pytest.mark.usefixtures("broken")
def test_a_subclass_that_computes_the_same_is_served(model, source) -> None:
    expected = model.generate(source, max_new_tokens=4)
    model.__class__ = type("Other", (SineformerForConditionalGeneration,), {})
    assert torch.equal(model.generate(source, max_new_tokens=4), expected)


@pytest.mark.usefixtures("broken")
def test_a_field_that_a_later_release_adds_with_a_default_asks_for_nothing(model, source, monkeypatch) -> None:
    class Later(GenerationConfig):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.later_field = 7

    defaults = type(model).generate.__globals__["Request"].value.__globals__
    monkeypatch.setitem(defaults, "DEFAULTS", vars(Later()))
    config = Later(max_new_tokens=3)
    assert len(model.generate(source, generation_config=config)) == 3
    config.later_field = 8
    with pytest.raises(AskedTransformersError):
        model.generate(source, generation_config=config)


@pytest.mark.parametrize("beams", [1, 3])
def test_the_start_that_a_prompt_lacks_may_be_the_beginning_of_text(model, source, beams) -> None:
    """Without `decoder_start_token_id`, `generate` starts with `bos_token_id`."""
    model.generation_config.update(decoder_start_token_id=None, bos_token_id=6)
    prompt = torch.full((3, 2), 9)
    arguments = {"decoder_input_ids": prompt, "num_beams": beams, "max_new_tokens": 4}
    found = model.generate(source, **arguments)
    assert found[:, :3].tolist() == [[6, 9, 9]] * 3
    assert torch.equal(found, model.generate(source, **arguments, max_time=100.0))  # by transformers


@pytest.mark.parametrize("beams", [1, 3])
def test_a_prompt_outside_the_vocabulary_is_named(model, source, beams) -> None:
    prompt = torch.full((3, 2), model.config.vocab_size)
    with pytest.raises(ValueError, match="`decoder_input_ids` holds token id"):
        model.generate(source, decoder_input_ids=prompt, num_beams=beams)


@pytest.mark.parametrize("beams", [1, 3])
def test_positions_are_those_of_the_table_and_go_beyond_it(make_model, source, beams) -> None:
    model = make_model(max_position_embeddings=8).double()
    arguments = {"min_new_tokens": 40, "max_new_tokens": 40, "num_beams": beams}
    found = model.generate(source, **arguments)
    assert len(model.model.decoder.embed_positions.table) == 8, "evaluation in one process must not change buffers"
    assert torch.equal(found, model.generate(source, **arguments, use_cache=False))
    model = make_model(max_position_embeddings=64).double()
    table = model.model.decoder.embed_positions.table
    table.copy_(table.flip(0))
    assert torch.equal(model.generate(source, **arguments), model.generate(source, **arguments, use_cache=False))


def test_a_search_changes_neither_the_model_nor_what_it_is_given(model, source) -> None:
    weights = copy.deepcopy(model.state_dict())
    encoded = model.get_encoder()(source)
    states = encoded.last_hidden_state.clone()
    config = GenerationConfig(num_beams=3, max_new_tokens=4)
    before = config.to_dict()
    model.generate(encoder_outputs=encoded, generation_config=config)
    assert torch.equal(encoded.last_hidden_state, states)
    assert config.to_dict() == before
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("vocabulary", [5, 127, 128, 129, 256, 1000])
@pytest.mark.parametrize("ties", [True, False])
def test_the_likeliest_tokens_are_those_of_a_careful_look(vocabulary: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(4, 3, vocabulary, generator=generator)
    logits = logits.round() if ties else logits
    running = torch.randn(4, 3, generator=generator)
    many = logits.flatten(0, 1).repeat(FEW // logits[0, 0].numel(), 1)
    for scores in (logits[:, 0], many):
        assert torch.equal(likeliest(scores), scores.argmax(dim=-1))
    maxima = chunk_maxima(logits)
    normalizer = log_sum_exp(logits, maxima)
    torch.testing.assert_close(normalizer, logits.logsumexp(dim=-1))
    sums = (logits - normalizer.unsqueeze(2) + running.unsqueeze(2)).flatten(1)
    values, found = likeliest_extensions(logits, maxima, normalizer, running, 6)
    assert torch.equal(values, sums.topk(6).values)
    places = found[..., 1] * vocabulary + found[..., 0]
    assert torch.equal(sums.gather(1, places), values)
    assert all(len(row.unique()) == 6 for row in places)
