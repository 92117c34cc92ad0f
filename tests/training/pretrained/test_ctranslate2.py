"""Test exports for CTranslate2: the same translations as the model, quantised weights, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from transformers import AutoTokenizer

from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.engines import ModelChoice, load_engine
from sineformer.training.pretrained.export.exporting import export_model
from sineformer.training.pretrained.translation import Search, search_lines
from sineformer.training.pretrained.translator import TranslationError

ctranslate2 = pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed; `make test-slow` does it")


def search(name: Path, lines: list[str], *options: Any) -> Any:
    model, tokenizers = load_engine(ModelChoice(str(name), device="cpu"))
    return search_lines(model, tokenizers, lines, Search(*options), batch_size=4)


def test_translations_and_scores_are_those_of_the_model(
    make_random_model: Callable[..., Path], tmp_path: Path, some_lines: list[str], architecture: dict[str, Any]
) -> None:
    folder, export = make_random_model(**architecture), tmp_path / "export"
    export_model(str(folder), export, "ctranslate2")
    for beams, returned in ((1, 1), (4, 3)):
        ours, theirs = (search(name, some_lines, beams, returned, True) for name in (folder, export))
        for expected, found in zip(ours, theirs, strict=True):
            assert [each.text for each in found] == [each.text for each in expected]
            assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-4)
    assert len({each[0].text for each in ours}) > 3


def test_the_export_works_without_sineformer(
    make_random_model: Callable[..., Path], tmp_path: Path, some_lines: list[str]
) -> None:
    folder, export = make_random_model(), tmp_path / "export"
    export_model(str(folder), export, "ctranslate2")
    tokenizer, translator = AutoTokenizer.from_pretrained(export), ctranslate2.Translator(str(export))
    ids = tokenizer(some_lines[1])["input_ids"]
    (found,) = translator.translate_batch(
        [tokenizer.convert_ids_to_tokens(ids)], beam_size=4, max_decoding_length=len(ids) + 50
    )
    text = tokenizer.decode(tokenizer.convert_tokens_to_ids(found.hypotheses[0]), skip_special_tokens=True)
    assert text == search(folder, [some_lines[1]], 4)[0][0].text


def test_limits_of_the_generation_config_are_kept(make_random_model: Callable[..., Path], tmp_path: Path) -> None:
    folder, export = make_random_model(), tmp_path / "export"
    config = json.loads((folder / "generation_config.json").read_text())
    config |= {"max_new_tokens": 7, "min_new_tokens": 5, "length_penalty": 0.6, "num_beams": 3}
    (folder / "generation_config.json").write_text(json.dumps(config))
    export_model(str(folder), export, "ctranslate2")
    assert search(export, ["the dog", "a man is riding"]) == search(folder, ["the dog", "a man is riding"])


def test_quantised_weights_are_smaller_and_translate(
    make_random_model: Callable[..., Path], tmp_path: Path, some_lines: list[str]
) -> None:
    folder = make_random_model()
    sizes = []
    for quantization in (None, "int8"):
        export_model(str(folder), tmp_path / str(quantization), "ctranslate2", quantization)
        sizes.append((tmp_path / str(quantization) / "model.bin").stat().st_size)
    assert sizes[1] < 0.5 * sizes[0]
    assert len(search(tmp_path / "int8", some_lines)) == len(some_lines)


@pytest.mark.parametrize(
    ("fields", "quantization", "message"),
    [
        ({"sliding_window": 3}, None, "config.json: CTranslate2 has no `sliding_window`, and the model has one"),
        ({"activation_function": "relu6"}, None, "`activation_function` is 'relu6'; CTranslate2 has relu, gelu"),
        ({}, "int3", "quantization: int3 is not a valid quantization type. Accepted types are: int8"),
    ],
)
def test_what_ctranslate2_cannot_express_is_refused(
    make_random_model: Callable[..., Path],
    tmp_path: Path,
    fields: dict[str, Any],
    quantization: str | None,
    message: str,
) -> None:
    with pytest.raises(ConversionError) as caught:
        export_model(str(make_random_model(**fields)), tmp_path / "export", "ctranslate2", quantization)
    assert message in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_generation_config_with_more_than_a_search_is_refused(
    make_random_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_random_model()
    config = json.loads((folder / "generation_config.json").read_text()) | {"no_repeat_ngram_size": 3}
    (folder / "generation_config.json").write_text(json.dumps(config))
    with pytest.raises(ConversionError, match=r"generation_config.json asks for no_repeat_ngram_size, which"):
        export_model(str(folder), tmp_path / "export", "ctranslate2")


def test_a_sentence_longer_than_the_table_of_positions_is_an_error(
    make_random_model: Callable[..., Path], tmp_path: Path
) -> None:
    export_model(str(make_random_model()), tmp_path / "export", "ctranslate2")
    with pytest.raises(TranslationError, match=r"a sentence has 602 tokens, but .* at most 64 "):
        search(tmp_path / "export", ["the dog " * 100])


@pytest.mark.slow
def test_a_trained_model_translates_as_before(trained_model: Path, multi30k: list[list[str]], tmp_path: Path) -> None:
    export_model(str(trained_model), tmp_path / "float", "ctranslate2")
    sources, _ = multi30k
    model, tokenizers = load_engine(ModelChoice(str(trained_model), device="cpu"))
    assert search(tmp_path / "float", sources, 1) == search_lines(model, tokenizers, sources, Search(1))
    theirs, _ = load_engine(ModelChoice(str(tmp_path / "float"), device="cpu"))
    for early, most in ((True, 0), (False, 2)):
        model.generation_config.early_stopping = theirs.generation_config.early_stopping = early
        ours, found = (search_lines(each, tokenizers, sources, Search(5)) for each in (model, theirs))
        assert sum(expected != each for expected, each in zip(ours, found, strict=True)) <= most


@pytest.mark.slow
def test_8_bits_cost_little(trained_model: Path, multi30k_test: list[list[str]], tmp_path: Path) -> None:
    """Of two searches together, and 1,000 sentences: those of 200 alone differ by up to 0.9 in either direction."""
    sources, references = multi30k_test
    scores = []
    for quantization in (None, "int8"):
        folder = tmp_path / str(quantization)
        export_model(str(trained_model), folder, "ctranslate2", quantization)
        found = [hypotheses[0].text for beams in (1, 5) for hypotheses in search(folder, sources, beams)]
        scores.append(sacrebleu.corpus_bleu(found, [references * 2]).score)
    assert abs(scores[0] - scores[1]) < 0.3
