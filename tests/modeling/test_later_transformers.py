"""Test a saved folder with a simulated later release of transformers: it renames the cache, passes new keywords, lacks
names that are deprecated today, and calls hooks by keyword or by position."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING

import pytest

from sineformer import SineformerConfig, SineformerForConditionalGeneration, SineformerTokenizer
from sineformer.modeling.translation_pipeline import SineformerTranslationPipeline

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython

TINY = {"vocab_size": 9, "d_model": 4, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 1}
TINY |= {"decoder_attention_heads": 1, "encoder_ffn_dim": 4, "decoder_ffn_dim": 4}
# Names of the cache: up to 5.23, since 5.24, and one that no release has.
NAMES = ["past_key_values", "cache", "memory"]

USE = """
def use(model, tokenizer, later):
    "Return outputs of the model, called with keywords of a later release."
    texts = ["the dog sleeps", "der Hund", "a"]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    output = {"logits": model(**batch, decoder_input_ids=batch["input_ids"], **later)["logits"].tolist()}
    searches = {"greedy": {"num_beams": 1}, "beams": {"num_beams": 3}, "sampled": {"num_beams": 1, "do_sample": True},
                "static": {"num_beams": 1, "cache_implementation": "static"}}
    for kind, arguments in searches.items():
        torch.manual_seed(0)
        ids = model.generate(**batch, max_new_tokens=9, **arguments, **later)
        output[kind] = tokenizer.batch_decode(ids, skip_special_tokens=True)
    translate = pipeline("translation", model=model, tokenizer=tokenizer)
    output["pipeline"] = [each["translation_text"] for each in translate(texts, max_new_tokens=9, **later)]
    return output
"""
AS_TODAY = f"""
import json, sys
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
{USE}
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
print(json.dumps(use(model, tokenizer, {{}})))
"""
LIKE_A_LATER_RELEASE = (
    """
import dataclasses, inspect, json, sys
folder, copy, name = sys.argv[1:]
import torch
from transformers import (AutoModelForSeq2SeqLM, AutoTokenizer, Cache, GenerationMixin, masking_utils,
                          modeling_outputs, pipeline)
from transformers.utils import generic

LATER = {"later_flag": True, "later_tensor": torch.zeros(1), "later_settings": {"a": 1}}
TODAY = dataclasses.fields(modeling_outputs.Seq2SeqLMOutput)[2].name
called = set()

def renamed(keywords, old, new):
    return {new if key == old else key: value for key, value in keywords.items()}

# Outputs have the cache only under the new name.
for old in {"past_key_values", "cache_params"} & vars(generic.ModelOutput).keys():
    delattr(generic.ModelOutput, old)
generic.ModelOutput._replace_old_cache_name = lambda self, key: key
generic._rename_kwargs_for_bc = lambda keywords: None
for kind in ("BaseModelOutputWithPastAndCrossAttentions", "Seq2SeqModelOutput", "Seq2SeqLMOutput"):
    names = [name if each.name == TODAY else each.name for each in dataclasses.fields(getattr(modeling_outputs, kind))]
    fields = [(each, object, dataclasses.field(default=None)) for each in names]
    setattr(modeling_outputs, kind, dataclasses.make_dataclass(kind, fields, bases=(generic.ModelOutput,)))

# The mask functions take it only under the new name.
def mask_of_later(function):
    def make(*arguments, **keywords):
        assert not {TODAY, "past_key_values"} & keywords.keys() - {name}, "a mask was asked for by an old name"
        return function(*arguments, **renamed(keywords, name, TODAY))
    return make
for key in [key for key in vars(masking_utils) if key.startswith("create_")]:
    setattr(masking_utils, key, mask_of_later(getattr(masking_utils, key)))

class Outputs(dict):
    __getattr__ = dict.get

def hooks(kind):
    "Every hook of the model's class, called as a later release calls it from the search of today."
    def forward(self, **keywords):
        called.add("forward")
        output = kind.forward(self, **renamed(keywords, TODAY, name) | LATER)
        assert TODAY == name or TODAY not in output.keys()
        return Outputs(renamed(dict(output.items()), name, TODAY))
    forward.__signature__ = inspect.signature(kind.forward)
    def prepare_inputs_for_generation(self, input_ids, **keywords):
        called.add("prepare_inputs_for_generation")
        return kind.prepare_inputs_for_generation(self, input_ids, **keywords | LATER)
    def create_masks_for_generate(config, inputs_embeds, attention_mask, **keywords):
        called.add("create_masks_for_generate")
        given = {"config": config, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask}
        by_name = kind.create_masks_for_generate(**given, **renamed(keywords, TODAY, name) | LATER)
        caches = [each for each in keywords.values() if isinstance(each, Cache)]
        by_position = kind.create_masks_for_generate(*given.values(), *caches)
        assert torch.equal(by_name, by_position)
        return by_position
    return {"forward": forward, "prepare_inputs_for_generation": prepare_inputs_for_generation,
            "create_masks_for_generate": staticmethod(create_masks_for_generate)}
"""
    + USE
    + """
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True, later_flag=True)
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
kind = type(model)
ours = [each for each in model.modules() if type(each).__module__.startswith("transformers_modules")]
for module in ours:
    module.register_forward_pre_hook(lambda module, args, kwargs: (args, kwargs | LATER), with_kwargs=True)
    model._init_weights(module, **LATER) if module is model else None
model.__class__ = type(kind.__name__, (kind,), hooks(kind))
output = use(model, tokenizer, LATER)
model.__class__ = kind
model.save_pretrained(copy, **LATER)
again = kind.from_pretrained(copy)
assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
assert called == {"forward", "prepare_inputs_for_generation", "create_masks_for_generate"}, called
print(json.dumps(output))
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_model_folder):
    return make_model_folder(tmp_path_factory.mktemp("later") / "model")


@pytest.fixture(scope="module")
def expected(folder, bare_python: BarePython) -> dict[str, object]:
    return json.loads(bare_python.run(AS_TODAY, folder))


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_gives_the_same_results_in_a_later_release(
    folder, expected, name: str, tmp_path, bare_python: BarePython
) -> None:
    assert json.loads(bare_python.run(LIKE_A_LATER_RELEASE, folder, tmp_path / "copy", name)) == expected


def _called_from_outside() -> list[object]:
    """Return all methods of ours that transformers, PEFT or Trainer call with arguments."""
    kinds = (SineformerConfig, SineformerForConditionalGeneration, SineformerTokenizer, SineformerTranslationPipeline)
    names = {
        *("forward", "generate", "prepare_inputs_for_generation", "create_masks_for_generate", "save_pretrained"),
        *("from_pretrained", "_init_weights", "_resize_token_embeddings", "get_expanded_tied_weights_keys"),
        *("prepare_decoder_input_ids_from_labels", "compute_transition_scores", "_validate_model_kwargs", "__call__"),
        *("preprocess", "_forward", "postprocess", "_sanitize_parameters", "add_tokens", "decode", "to_dict"),
    }
    methods = {getattr(kind, name, None) for kind in kinds for name in names}
    layers = {type(module).forward for module in SineformerForConditionalGeneration(SineformerConfig(**TINY)).modules()}
    ours = [each for each in methods | layers if "sineformer" in str(getattr(each, "__module__", ""))]
    return sorted(ours, key=lambda method: method.__qualname__)


@pytest.mark.parametrize("method", _called_from_outside(), ids=lambda method: method.__qualname__)
def test_methods_called_by_libraries_accept_unknown_keywords(method) -> None:
    kinds = [parameter.kind for parameter in inspect.signature(method).parameters.values()]
    assert inspect.Parameter.VAR_KEYWORD in kinds
