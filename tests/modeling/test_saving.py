"""Test that a saved folder is complete, loads bit-equal with and without the package, and can be saved again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, pipeline

from sineformer import SineformerConfig, SineformerForConditionalGeneration, SineformerModel
from sineformer.modeling.code_files import CODE_FILES
from sineformer.training.data.bpe import train_tokenizer, train_tokenizers
from sineformer.training.data.tokenizer import save_tokenizers

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython

ROOT = Path(__file__).resolve().parents[2]
TYING = [
    {"share_encoder_decoder_embeddings": share, "tie_word_embeddings": tie, **others}
    for share, tie, others in [
        (True, True, {}),
        (True, True, {"lm_head_bias": True}),
        (True, False, {"lm_head_bias": True}),
        (True, False, {}),
        (False, True, {"decoder_vocab_size": 103, "lm_head_bias": True}),
        (False, True, {"decoder_vocab_size": 103}),
        (False, False, {"decoder_vocab_size": 103}),
    ]
]


def test_every_file_of_the_model_is_saved() -> None:
    in_folders = [*(ROOT / "modeling").glob("*.py"), *(ROOT / "configuration").glob("*.py")]
    assert set(CODE_FILES) == {path.name for path in in_folders} - {"__init__.py"}


def test_a_saved_folder_is_complete(make_model, tmp_path) -> None:
    make_model().save_pretrained(tmp_path)
    expected = {*CODE_FILES, "config.json", "generation_config.json", "model.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    config = json.loads((tmp_path / "config.json").read_text())
    assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM"}
    assert config["custom_pipelines"]["translation"]["pt"] == ["AutoModelForSeq2SeqLM"]


@pytest.mark.parametrize("tying", TYING)
def test_only_tied_parameters_are_shared(make_model, tying) -> None:
    model = make_model(**tying)
    encoder, decoder = model.model.encoder.embed_tokens.weight, model.model.decoder.embed_tokens.weight
    assert (encoder is decoder) == tying["share_encoder_decoder_embeddings"]
    assert (model.lm_head.weight is decoder) == tying["tie_word_embeddings"]


@pytest.mark.parametrize("tying", TYING)
@pytest.mark.parametrize("normalize_before", [False, True])
def test_reloading_is_bit_equal(make_model, source, target, tmp_path, tying, normalize_before) -> None:
    model = make_model(**tying, normalize_before=normalize_before)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "first")
    loaded = SineformerForConditionalGeneration.from_pretrained(tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "second")
    expected = model(input_ids=source, decoder_input_ids=target).logits
    for each in (loaded, again):
        assert torch.equal(each(input_ids=source, decoder_input_ids=target).logits, expected)
        assert [name for name, _ in each.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert (tmp_path / "first/model.safetensors").read_bytes() == (tmp_path / "second/model.safetensors").read_bytes()


@pytest.mark.parametrize("tying", TYING)
def test_resizing_the_vocabulary_keeps_old_tokens_and_tying(make_model, source, target, tmp_path, tying) -> None:
    model = make_model(**tying)
    expected = model(input_ids=source, decoder_input_ids=target).logits
    model.resize_token_embeddings(120)
    if not tying["share_encoder_decoder_embeddings"]:
        assert model.lm_head.weight.shape[0] == 103
        model.resize_decoder_token_embeddings(120)
    assert (model.config.vocab_size, model.config.decoder_vocab_size) == (120, 120)
    output = model(input_ids=source, decoder_input_ids=target).logits
    assert output.shape[-1] == 120
    torch.testing.assert_close(output[..., :97], expected[..., :97])
    assert (model.lm_head.weight is model.model.decoder.embed_tokens.weight) == tying["tie_word_embeddings"]
    model.save_pretrained(tmp_path)
    reloaded = SineformerForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(reloaded(input_ids=source, decoder_input_ids=target).logits, output)


def test_shared_embeddings_cannot_be_resized_for_the_target_only(make_model) -> None:
    with pytest.raises(ValueError, match="resize_token_embeddings"):
        make_model().resize_decoder_token_embeddings(120)


def test_languages_are_kept_by_every_save_and_may_be_unknown(make_model, tmp_path) -> None:
    make_model().save_pretrained(tmp_path / "unknown")
    assert SineformerConfig.from_pretrained(tmp_path / "unknown").target_language is None
    make_model(source_language="en", target_language="fr").save_pretrained(tmp_path / "known")
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "known", trust_remote_code=True)
    model.save_pretrained(tmp_path / "again")
    config = SineformerConfig.from_pretrained(tmp_path / "again")
    assert (config.source_language, config.target_language) == ("en", "fr")


def test_importing_the_package_registers_the_auto_classes(make_model, tmp_path) -> None:
    make_model().save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is SineformerConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is SineformerModel
    assert type(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)) is SineformerForConditionalGeneration


IN_A_BARE_PROCESS = """
import json, sys, torch
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM
folder, ids, results, copy = sys.argv[1:]
ids = torch.tensor(json.loads(ids))
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
base = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
assert type(base).__module__.startswith("transformers_modules."), type(base)
torch.save(
    {
        "d_model": config.d_model,
        "hidden": base(input_ids=ids, decoder_input_ids=ids).last_hidden_state,
        "logits": model(input_ids=ids, decoder_input_ids=ids).logits,
        "text": model.generate(ids, num_beams=3, max_new_tokens=12),
    },
    results,
)
model.save_pretrained(copy)
"""


def check_elsewhere(python: BarePython, model: SineformerForConditionalGeneration, folder: Path) -> None:
    """Load, generate and save without the package; then the same with the copy saved there."""
    source = torch.randint(4, 97, (3, 7), generator=torch.Generator().manual_seed(1))
    expected = {
        "d_model": torch.tensor(model.config.d_model),
        "hidden": model.model(input_ids=source, decoder_input_ids=source).last_hidden_state,
        "logits": model(input_ids=source, decoder_input_ids=source).logits,
        "text": model.generate(source, num_beams=3, max_new_tokens=12),
    }
    saved = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("first copy", "second.copy"):
        copy, results = folder.parent / name, folder.parent / "results.pt"
        python.run(IN_A_BARE_PROCESS, folder, json.dumps(source.tolist()), results, copy)
        found = torch.load(results)
        assert all(torch.equal(torch.as_tensor(found[each]), expected[each]) for each in expected)
        assert {path.name: path.read_bytes() for path in copy.iterdir()} == saved
        folder = copy


def test_loads_and_saves_in_a_process_without_the_package(make_model, tmp_path, bare_python: BarePython) -> None:
    model = make_model()
    model.save_pretrained(tmp_path / "a folder.with dots")
    check_elsewhere(bare_python, model, tmp_path / "a folder.with dots")


@pytest.mark.slow
def test_loads_and_saves_in_a_new_virtual_environment(make_model, tmp_path, fresh_python: BarePython) -> None:
    model = make_model(share_encoder_decoder_embeddings=False, decoder_vocab_size=103, normalize_before=True)
    model.save_pretrained(tmp_path / "model")
    check_elsewhere(fresh_python, model, tmp_path / "model")


def test_the_pipeline_translates_and_its_model_can_be_saved_again(make_model, tmp_path, bare_python) -> None:
    tokenizer = train_tokenizer(["the dog sleeps", "der Hund schläft"], vocab_size=290)
    model = make_model(vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    batch = tokenizer(["the dog sleeps", "der Hund"], return_tensors="pt", padding=True)
    expected = tokenizer.batch_decode(model.generate(**batch, num_beams=2, max_new_tokens=8), skip_special_tokens=True)
    said = bare_python.run(WITH_THE_PIPELINE, tmp_path / "model", tmp_path / "copy")
    assert json.loads(said.splitlines()[-1]) == [{"translation_text": text} for text in expected]
    assert (tmp_path / "copy/config.json").read_bytes() == (tmp_path / "model/config.json").read_bytes()
    assert {path.name for path in (tmp_path / "copy").iterdir()} >= {*CODE_FILES, "tokenizer.json"}


def test_the_pipeline_decodes_with_the_tokenizer_of_the_target(make_model, tmp_path) -> None:
    tokenizers = train_tokenizers(["the dog sleeps"], ["der Hund schläft"], 275, 280)
    model = make_model(
        vocab_size=len(tokenizers.source),
        decoder_vocab_size=len(tokenizers.target),
        share_encoder_decoder_embeddings=False,
    )
    model.save_pretrained(tmp_path / "model")
    save_tokenizers(tokenizers, tmp_path / "model")
    batch = tokenizers.source(["the dog"], return_tensors="pt")
    expected = tokenizers.target.batch_decode(model.generate(**batch, max_new_tokens=9), skip_special_tokens=True)
    folder = tmp_path / "model"
    for copy in ("first", "second"):
        translate = pipeline("translation", model=str(folder), trust_remote_code=True)
        assert translate("the dog", max_new_tokens=9) == [{"translation_text": expected[0]}]
        folder = tmp_path / copy
        translate.save_pretrained(folder)


WITH_THE_PIPELINE = """
import json, sys
from transformers import pipeline
translate = pipeline("translation", model=sys.argv[1], trust_remote_code=True)
translations = translate(["the dog sleeps", "der Hund"], num_beams=2, max_new_tokens=8)
assert translate("the dog sleeps", num_beams=2, max_new_tokens=8) == translations[:1]
several = translate("the dog sleeps", num_beams=2, num_return_sequences=2, max_new_tokens=8)
assert len(several) == 2 and set(several[0]) == {"translation_text"}, several
batched = translate((text for text in ["the dog sleeps", "der Hund"]), batch_size=2, num_beams=2, max_new_tokens=8)
assert [each[0] for each in batched] == translations
translate.save_pretrained(sys.argv[2])
print(json.dumps(translations))
"""
