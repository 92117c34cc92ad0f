"""Test that a converted Marian checkpoint has the logits, translations and text of transformers' MarianMTModel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianConfig, MarianMTModel, MarianTokenizer, pipeline

from sineformer.training.data.tokenizer import load_tokenizers
from sineformer.training.pretrained.conversion.marian import convert_marian
from sineformer.training.pretrained.translation import translate_lines

# Words of both languages and neither, unknown characters, language codes, special tokens, unusual spaces.
ODD_TEXT = [
    "the dog",
    "",
    " ",
    ">>deu<< a man",
    "a  ß東東京 \u200b man\n",
    "</s> the ﬁne é e\u0301 <pad>",
    "<unk>☃☃ 5.000",
]
OPUS = {
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 6),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 8),
    **{"d_model": 512, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048, "max_position_embeddings": 512},
    **{"activation_function": "swish", "scale_embedding": True},
}
SEPARATE = {"share_encoder_decoder_embeddings": False}
MakeMarian = Callable[..., Path]
Text = dict[str, list[str]]


def batch_of(folder: Path, text: Text) -> dict[str, torch.Tensor]:
    tokenizer = MarianTokenizer.from_pretrained(folder)
    return tokenizer(text["source"], text_target=text["target"], padding=True, return_tensors="pt")


def assert_equal_models(folder: Path, output: Path, text: Text) -> None:
    theirs, ours = (AutoModelForSeq2SeqLM.from_pretrained(each).eval() for each in (folder, output))
    batch = batch_of(folder, text)
    expected, found = theirs(**batch), ours(**batch)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=1e-5)
    del batch["labels"]
    arguments = {"output_scores": True, "return_dict_in_generate": True, "num_return_sequences": 2}
    # Random weights give hypotheses of almost the same score, whose order in fp32 depends on the processor.
    expected, found = (model.double().generate(**batch, **arguments) for model in (theirs, ours))
    assert torch.equal(found.sequences, expected.sequences)
    torch.testing.assert_close(found.sequences_scores, expected.sequences_scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale_embedding": False, "activation_function": "gelu", "decoder_layers": 1, "encoder_attention_heads": 2},
        {"tie_word_embeddings": False},
        SEPARATE,
        {**SEPARATE, "tie_word_embeddings": False},
    ],
)
def test_logits_beams_and_scores_are_those_of_marian(
    make_marian: MakeMarian, marian_text: Text, tmp_path: Path, changes
) -> None:
    folder = make_marian(**changes)
    convert_marian(str(folder), tmp_path / "out")
    assert_equal_models(folder, tmp_path / "out", marian_text)


@pytest.mark.slow
def test_a_checkpoint_of_the_size_of_opus_mt_is_converted(
    make_marian: MakeMarian, marian_text: Text, tmp_path: Path
) -> None:
    folder = make_marian(size=58101, **OPUS)
    convert_marian(str(folder), tmp_path / "out")
    assert_equal_models(folder, tmp_path / "out", marian_text)


@pytest.mark.parametrize("changes", [{}, SEPARATE])
def test_text_is_encoded_and_decoded_as_by_marian(
    make_marian: MakeMarian, marian_text: Text, tmp_path: Path, changes
) -> None:
    folder, output = make_marian(**changes), tmp_path / "out"
    convert_marian(str(folder), output)
    theirs, ours = MarianTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(output)
    assert "where/it/was" not in (output / "tokenizer_config.json").read_text()
    texts = [*marian_text["source"], *marian_text["target"], *ODD_TEXT]
    assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]
    assert ours(text_target=texts)["input_ids"] == theirs(text_target=texts)["input_ids"]
    model = MarianMTModel.from_pretrained(folder).eval()
    expected = [
        theirs.decode(model.generate(**theirs(text, return_tensors="pt"))[0], skip_special_tokens=True)
        for text in marian_text["source"]
    ]
    translate = pipeline("translation", model=str(output), trust_remote_code=True)
    assert [each["translation_text"] for each in translate(marian_text["source"])] == expected
    assert translate_lines(translate.model, load_tokenizers(output), marian_text["source"]) == expected


def test_generation_settings_are_kept_and_max_length_defaults_to_the_positions(
    make_marian: MakeMarian, change_config: Callable[..., None], tmp_path: Path
) -> None:
    folder = make_marian()
    pad = MarianConfig.from_pretrained(folder).pad_token_id
    config = convert_marian(str(folder), tmp_path / "first").generation_config
    assert (config.num_beams, config.max_length, config.forced_eos_token_id) == (3, 30, 0)
    assert (config.bad_words_ids, config.decoder_start_token_id, config.renormalize_logits) == ([[pad]], pad, True)
    (folder / "generation_config.json").unlink()  # older checkpoints have these settings in config.json
    change_config(folder, num_beams=6)
    convert_marian(str(folder), tmp_path / "second")
    saved = json.loads((tmp_path / "second" / "generation_config.json").read_text())
    assert (saved["num_beams"], saved["max_length"], saved["max_tokens_beyond_source"]) == (6, 40, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_dtype_of_the_checkpoint_is_kept(make_marian: MakeMarian, tmp_path: Path, dtype) -> None:
    convert_marian(str(make_marian(dtype=dtype)), tmp_path / "out")
    assert {weight.dtype for weight in load_file(tmp_path / "out" / "model.safetensors").values()} == {dtype}


def test_a_pickled_checkpoint_with_position_tables_is_converted(
    make_marian: MakeMarian, marian_text: Text, tmp_path: Path
) -> None:
    folder = make_marian()
    model = MarianMTModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    convert_marian(str(folder), tmp_path / "out")
    assert_equal_models(folder, tmp_path / "out", marian_text)


def test_shared_embeddings_with_a_separate_output_projection_are_found_as_transformers_4_saved_them(
    make_marian: MakeMarian, change_weights: Callable[..., None], tmp_path: Path
) -> None:
    folder = make_marian(tie_word_embeddings=False)
    change_weights(
        folder, lambda weights: [weights.pop(f"model.{stack}.embed_tokens.weight") for stack in ("encoder", "decoder")]
    )
    shared = load_file(folder / "model.safetensors")["model.shared.weight"]
    model = convert_marian(str(folder), tmp_path / "out")
    assert model.config.share_encoder_decoder_embeddings
    assert torch.equal(model.model.encoder.embed_tokens.weight, shared)
    assert not torch.equal(model.lm_head.weight, shared)


def test_loss_and_gradients_are_those_of_marian(make_marian: MakeMarian, marian_text: Text, tmp_path: Path) -> None:
    folder = make_marian()
    ours = convert_marian(str(folder), tmp_path / "out").train()
    theirs = MarianMTModel.from_pretrained(folder).train()
    batch = batch_of(folder, marian_text)
    batch["labels"][batch["labels"] == ours.config.pad_token_id] = -100
    loss, expected = ours(**batch).loss, theirs(**batch).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    compared = {name: each for name, each in ours.named_parameters() if name != "lm_head.bias"}  # a buffer in Marian
    assert len(compared) > 60
    for name, parameter in compared.items():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-4)


def test_a_checkpoint_on_the_hub_is_converted(
    make_marian: MakeMarian, marian_text: Text, tmp_path: Path, hub_client
) -> None:
    folder = make_marian()
    HfApi(endpoint=hub_client.endpoint).create_repo("user/opus")
    HfApi(endpoint=hub_client.endpoint).upload_folder(repo_id="user/opus", folder_path=folder)
    convert_marian("user/opus", tmp_path / "out")
    assert_equal_models(folder, tmp_path / "out", marian_text)


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        ({"source_lang": "eng", "target_lang": "zh_Hans"}, "marian", ("eng", "zh_Hans")),
        ({"source_lang": "en", "target_lang": "ROMANCE"}, "opus-mt-en-ROMANCE", ("en", None)),
        ({}, "opus-mt-tc-big-en-de", ("en", "de")),
        ({"source_lang": None, "target_lang": None}, "opus-mt-fi-sv", ("fi", "sv")),
        (None, "opus-mt-fi-sv", ("fi", "sv")),
        ({}, "my-model", (None, None)),
    ],
)
def test_the_languages_are_those_of_the_tokenizer_or_of_the_name(
    make_marian: MakeMarian,
    tmp_path: Path,
    settings: dict[str, str | None] | None,
    name: str,
    expected: tuple[str | None, str | None],
) -> None:
    folder = make_marian().rename(tmp_path / name)
    (folder / "tokenizer_config.json").unlink()
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    convert_marian(str(folder), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert (config.get("source_language"), config.get("target_language")) == expected


@pytest.mark.slow
def test_the_folder_loads_where_sineformer_is_not_installed(
    make_marian: MakeMarian, tmp_path: Path, bare_python
) -> None:
    model = convert_marian(str(make_marian()), tmp_path / "out")
    source, target = torch.tensor([[4, 9, 7, 0]]), torch.tensor([[5, 6, 8]])
    torch.save(
        {"ids": (source, target), "logits": model(source, decoder_input_ids=target).logits}, tmp_path / "expected"
    )
    program = """
import sys, torch
from transformers import AutoModelForSeq2SeqLM
model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True)
expected = torch.load(sys.argv[2])
source, target = expected["ids"]
print(torch.equal(model(source, decoder_input_ids=target).logits, expected["logits"]))
"""
    assert bare_python.run(program, tmp_path / "out", tmp_path / "expected").split()[-1] == "True"
