"""Test `pipeline("translation", model=MODEL, tokenizer=TOKENIZER)` with a loaded model and tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from sineformer import SineformerConfig, SineformerForConditionalGeneration
from sineformer.modeling.translation_pipeline import SineformerTranslationPipeline, register_pipeline
from sineformer.training.data.bpe import train_tokenizer

TEXT = "the dog sleeps"


@pytest.fixture
def folder(make_model_folder: Callable[[Path], Path], tmp_path: Path) -> Path:
    return make_model_folder(tmp_path / "model")


@pytest.mark.parametrize("trust", [{}, {"trust_remote_code": True}, {"trust_remote_code": False}])
@pytest.mark.parametrize("load", [{}, {"trust_remote_code": True}])
def test_a_loaded_model_translates_like_its_folder(folder: Path, trust: Any, load: Any) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, **load)
    tokenizer = AutoTokenizer.from_pretrained(folder, **load)
    translate: Any = pipeline("translation", model=model, tokenizer=tokenizer, **trust)
    expected: Any = pipeline("translation", model=str(folder), trust_remote_code=True)
    assert translate(TEXT, max_new_tokens=9) == expected(TEXT, max_new_tokens=9)


def test_a_new_model_is_enough(folder: Path) -> None:
    tokenizer = train_tokenizer([TEXT], vocab_size=270)
    sizes: Any = {**dict.fromkeys(("encoder_layers", "decoder_layers"), 1), "d_model": 16}
    sizes |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    model = SineformerForConditionalGeneration(SineformerConfig(vocab_size=len(tokenizer), **sizes)).eval()
    translate: Any = pipeline("translation", model=model, tokenizer=tokenizer)
    assert isinstance(translate, SineformerTranslationPipeline)
    (ids,) = model.generate(**tokenizer(TEXT, return_tensors="pt"), max_new_tokens=9)
    assert translate(TEXT, max_new_tokens=9)[0]["translation_text"] == tokenizer.decode(ids, skip_special_tokens=True)


def test_it_works_where_sineformer_is_missing(folder: Path, bare_python: Any) -> None:
    program = """
import sys
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
from transformers import pipeline
translate = pipeline("translation", model=model, tokenizer=tokenizer)
translate.save_pretrained(sys.argv[2])
again = pipeline("translation", model=sys.argv[2], trust_remote_code=True)
print(translate("the dog", max_new_tokens=9) == again("the dog", max_new_tokens=9))
"""
    assert bare_python.run(program, folder, folder.parent / "saved").splitlines()[-1] == "True"


def test_a_pipeline_of_the_user_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.pipelines import PIPELINE_REGISTRY

    class Other(SineformerTranslationPipeline):
        pass

    monkeypatch.setattr(PIPELINE_REGISTRY, "supported_tasks", {"translation": {"impl": Other, "pt": ()}})
    register_pipeline()
    assert PIPELINE_REGISTRY.supported_tasks["translation"]["impl"] is Other
