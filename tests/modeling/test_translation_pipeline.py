"""Test input and output of the translation pipeline, which are as in transformers 4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset
from huggingface_hub import HfApi
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GenerationConfig, PreTrainedTokenizerFast, TextIteratorStreamer, TextStreamer, pipeline
from transformers.pipelines.pt_utils import KeyDataset, PipelineIterator

from sineformer.modeling import compatibility
from sineformer.modeling.translation_pipeline import SineformerTranslationPipeline

TEXTS = ["w5 w9 w20", "w40", "w77 w31 w8 w60 w12 w90", "w4 w4"]
SHORT = {"num_beams": 1, "max_new_tokens": 8}


def make_tokenizer(letter: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for each word from w4 to w96, or with another letter."""
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    vocabulary = {name: index for index, name in enumerate([*special, *(f"{letter}{index}" for index in range(4, 97))])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 3)])
    names = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=16, **names)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer("w")


@pytest.fixture
def folder(taught, tokenizer, tmp_path) -> str:
    taught.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture
def translate(taught, tokenizer) -> SineformerTranslationPipeline:
    return SineformerTranslationPipeline(model=taught, tokenizer=tokenizer)


@pytest.fixture
def expected(taught, tokenizer) -> list[dict[str, str]]:
    """Return the translation of each text on its own."""
    outputs = [taught.generate(**tokenizer(text, return_tensors="pt"), **SHORT) for text in TEXTS]
    texts = [tokenizer.decode(output[0], skip_special_tokens=True) for output in outputs]
    assert len(set(texts)) == len(texts), "texts that translate alike would hide an exchange"
    return [{"translation_text": text} for text in texts]


def test_a_string_gives_a_list_with_its_translation(translate, expected) -> None:
    for text, translation in zip(TEXTS, expected, strict=True):
        assert translate(text, **SHORT) == [translation]


@pytest.mark.parametrize("kind", [list, tuple, lambda texts: Dataset.from_dict({"en": texts})["en"]])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_list_or_column_gives_a_list_of_translations(translate, expected, kind, batch_size: int) -> None:
    assert translate(kind(TEXTS), batch_size=batch_size, **SHORT) == expected
    assert translate(kind(TEXTS[:1]), batch_size=batch_size, **SHORT) == expected[:1]


def lazily(texts: list[str]) -> Iterator[str]:
    yield from texts


def streamed_column(texts: list[str]) -> Any:
    return IterableDataset.from_generator(lambda: ({"en": text} for text in texts))["en"]


@pytest.mark.parametrize(
    "kind", [lazily, iter, streamed_column, lambda texts: KeyDataset(Dataset.from_dict({"en": texts}), "en")]
)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_generator_or_dataset_is_translated_lazily(translate, expected, kind, batch_size: int) -> None:
    outputs = translate(kind(TEXTS), batch_size=batch_size, **SHORT)
    assert isinstance(outputs, PipelineIterator)
    assert list(outputs) == [[translation] for translation in expected]


def test_an_endless_generator_is_not_exhausted(translate, expected) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield TEXTS[0]

    outputs = iter(translate(endless(), **SHORT))
    assert [next(outputs), next(outputs)] == [expected[:1]] * 2


def test_an_empty_list_gives_an_empty_list(translate) -> None:
    assert translate([]) == translate(()) == translate(Dataset.from_dict({"en": []})["en"]) == []
    assert list(translate(text for text in [])) == []


@pytest.mark.parametrize("text", ["", " ", "w5", "x", "x y z"])
def test_empty_short_and_unknown_texts_end_soon(translate, tokenizer, text: str) -> None:
    limit = len(tokenizer(text)["input_ids"]) + 50
    for arguments in ({}, {"num_beams": 1}):
        (output,) = translate(text, **arguments)
        assert len(output["translation_text"].split()) <= limit
    assert translate(["w5", text], batch_size=2)[1] == translate(text)[0]


NOTHING = ["", "   ", "\u200b", "\u00ad\n", "\u2060\ufeff\u200e"]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_invisible_text_has_an_empty_translation(translate, expected, batch_size: int) -> None:
    empty = {"translation_text": ""}
    assert translate(NOTHING[1], **SHORT) == [empty]
    assert translate(NOTHING, batch_size=batch_size, **SHORT) == [empty] * len(NOTHING)
    mixed = [NOTHING[0], TEXTS[0], NOTHING[2], TEXTS[1], TEXTS[2]]
    assert translate(mixed, batch_size=batch_size, **SHORT) == [empty, expected[0], empty, *expected[1:3]]


@pytest.mark.parametrize("way", ["call", "config", "model"])
def test_invisible_text_has_as_many_translations_as_other_text(translate, way: str) -> None:
    settings: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8}
    given = {"call": settings, "config": {"generation_config": GenerationConfig(**settings)}, "model": {}}[way]
    if way == "model":
        translate.model.generation_config.update(**settings)
    one, nothing = translate([TEXTS[0], NOTHING[0]], batch_size=2, **given)
    assert len(one) == 2
    assert nothing == translate(NOTHING[0], **given) == [{"translation_text": ""}] * 2


def test_invisible_text_is_not_passed_to_the_model(translate, monkeypatch) -> None:
    monkeypatch.setattr(translate.model, "generate", None)
    assert translate(NOTHING) == [{"translation_text": ""}] * len(NOTHING)


def test_a_stream_of_invisible_text_ends(translate, tokenizer) -> None:
    streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True, timeout=1)
    translate(NOTHING[0], streamer=streamer, **SHORT)
    assert "".join(streamer) == ""


def test_ids_of_invisible_text_start_and_end(translate) -> None:
    (output,) = translate(NOTHING[0], return_tensors=True)
    assert output["translation_token_ids"].tolist() == [2, 3]


def test_a_long_text_is_truncated_only_on_request(translate, taught, tokenizer) -> None:
    long = " ".join(TEXTS * 20)
    batch = tokenizer(long, return_tensors="pt")
    assert batch["input_ids"].shape[1] == 241 > taught.config.max_position_embeddings
    (whole,) = taught.generate(**batch, **SHORT)
    assert translate(long, **SHORT)[0]["translation_text"] == tokenizer.decode(whole, skip_special_tokens=True)
    (cut,) = taught.generate(**tokenizer(long, return_tensors="pt", truncation=True), **SHORT)
    found = translate(long, truncation=True, **SHORT)
    assert found[0]["translation_text"] == tokenizer.decode(cut, skip_special_tokens=True)


def test_several_translations_of_a_text_are_a_list(translate, taught, tokenizer) -> None:
    arguments = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8}
    lists = []
    for text in TEXTS:
        outputs = taught.generate(**tokenizer(text, return_tensors="pt"), **arguments)
        texts = tokenizer.batch_decode(outputs, skip_special_tokens=True)
        lists.append([{"translation_text": each} for each in texts])
    assert translate(TEXTS[0], **arguments) == lists[0]
    assert translate(TEXTS[:1], **arguments) == lists[:1]
    assert translate(TEXTS, **arguments) == translate(TEXTS, batch_size=3, **arguments) == lists


def test_token_ids_are_returned_on_request(translate, taught, tokenizer) -> None:
    expected = taught.generate(**tokenizer(TEXTS[0], return_tensors="pt"), **SHORT)[0]
    for output in (
        *translate(TEXTS[0], return_tensors=True, **SHORT),
        translate(TEXTS, return_tensors=True, **SHORT)[0],
    ):
        assert output.keys() == {"translation_token_ids"}
        assert torch.equal(output["translation_token_ids"], expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_translations_do_not_depend_on_the_side_of_padding(
    translate, expected, tokenizer, side: str, monkeypatch
) -> None:
    monkeypatch.setattr(tokenizer, "padding_side", side)
    assert translate(TEXTS, batch_size=4, **SHORT) == expected


def test_arguments_of_generate_can_be_given_to_pipeline_or_call(taught, tokenizer, expected) -> None:
    early = SineformerTranslationPipeline(model=taught, tokenizer=tokenizer, batch_size=2, **SHORT)
    assert early(TEXTS) == expected
    shorter = [" ".join(each["translation_text"].split()[:2]) for each in expected]
    assert [each["translation_text"] for each in early(TEXTS, max_new_tokens=2)] == shorter
    late = SineformerTranslationPipeline(model=taught, tokenizer=tokenizer)
    assert late(TEXTS, generation_config=GenerationConfig(**SHORT)) == expected


def test_tokens_can_be_streamed(translate, tokenizer, expected, capsys) -> None:
    translate(TEXTS[0], streamer=TextStreamer(tokenizer, skip_special_tokens=True), **SHORT)
    assert capsys.readouterr().out.strip() == expected[0]["translation_text"]


@pytest.mark.parametrize(
    "given", [None, 3, b"w5", {"text": "w5"}, ["w5", None], [["w5"]], Dataset.from_dict({"en": TEXTS})]
)
def test_other_types_than_text_are_refused_with_the_fix(translate, given) -> None:
    with pytest.raises(ValueError, match=r"takes text, but got .* Give a string, a list, a generator or a column"):
        list(translate(given, **SHORT))


def test_languages_must_be_those_of_the_model(translate) -> None:
    assert translate("w5", src_lang="en", tgt_lang="fr")  # which this model does not know
    translate.model.config.source_language, translate.model.config.target_language = "en", "fr"
    try:
        assert translate("w5", src_lang="en", tgt_lang="fr")
        with pytest.raises(ValueError, match="The target language of this model is 'fr', not 'de'"):
            translate("w5", tgt_lang="de")
    finally:
        translate.model.config.source_language = translate.model.config.target_language = None


def test_a_misspelt_argument_is_named_and_not_refused(translate, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(compatibility.logger, "warning_once", said.append)
    assert translate(TEXTS[0], num_beans=2, **SHORT) == translate(TEXTS[0], **SHORT)
    assert set(said) == {"`num_beans` is ignored: no argument has this name. Did you mean `num_beams`?"}


@pytest.mark.parametrize("task", [("translation",), ()])
def test_a_folder_is_enough_with_or_without_the_task(folder, expected, task) -> None:
    translate = pipeline(*task, model=folder, trust_remote_code=True)
    assert translate(TEXTS, batch_size=2, **SHORT) == expected
    assert translate.task == "translation"


def test_device_and_dtype_reach_the_model(folder) -> None:
    translate = pipeline("translation", model=folder, trust_remote_code=True, dtype=torch.bfloat16, device="cpu")
    assert translate.model.dtype == torch.bfloat16
    assert translate.device == translate.model.device == torch.device("cpu")
    (output,) = translate(TEXTS[0])
    assert isinstance(output["translation_text"], str)


def test_a_revision_has_its_own_target_vocabulary(hub_client, make_model, tokenizer, tmp_path) -> None:
    model = make_model(share_encoder_decoder_embeddings=False)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    HfApi().create_repo("user/two-vocabularies")
    commits = []
    for letter in "ab":
        make_tokenizer(letter).save_pretrained(tmp_path / "target_tokenizer")
        commits.append(HfApi().upload_folder(repo_id="user/two-vocabularies", folder_path=tmp_path).oid)
    for revision, letter in ((commits[0], "a"), (commits[1], "b"), ("main", "b")):
        translate: Any = pipeline(
            "translation", model="user/two-vocabularies", revision=revision, trust_remote_code=True
        )
        words = translate(TEXTS[0], **SHORT)[0]["translation_text"].split()
        assert words
        assert {word[0] for word in words} == {letter}
