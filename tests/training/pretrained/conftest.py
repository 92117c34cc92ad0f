"""Provide random models of several architectures to the tests of exports."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sineformer import SineformerConfig, SineformerForConditionalGeneration
from sineformer.training.data.bpe import train_tokenizers
from sineformer.training.data.readers.text_files import text_lines
from sineformer.training.data.tokenizer import save_tokenizers

ROOT = Path(__file__).resolve().parents[3]
TEXT = ["a man is riding a horse", "the dog sleeps", "ein Mann reitet auf einem Pferd", "der Hund schläft"]
SIZES: dict[str, Any] = {
    **{"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "max_position_embeddings": 64},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40},
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "pre-norm, gelu": {"normalize_before": True, "activation_function": "gelu"},
    "halves, bias, unscaled, final norm": {
        **{"position_layout": "halves", "lm_head_bias": True, "scale_embedding": False, "add_final_layer_norm": True}
    },
    "two vocabularies, untied, swish": {
        **{"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
        **{"activation_function": "swish", "layer_norm_eps": 1e-3},
    },
    "pre-norm without final norm, more embeddings than tokens": {
        **{"normalize_before": True, "add_final_layer_norm": False, "vocab_size": 333}
    },
}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the fields of an architecture; a test with it runs for each."""
    return ARCHITECTURES[request.param]


@pytest.fixture(scope="session")
def some_lines() -> list[str]:
    """Return lines of several lengths, one of them empty."""
    draw = random.Random(3)
    return [" ".join(draw.choices(" ".join(TEXT).split(), k=count)) for count in (1, 4, 0, 4, 9, 2, 17)]


@pytest.fixture
def make_random_model(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a model of an architecture with random weights and its tokenizer.

    Its translations are of various lengths: the end is likely, and never certain.
    """

    def make(**fields: Any) -> Path:
        separate = not fields.get("share_encoder_decoder_embeddings", True)
        tokenizers = train_tokenizers(TEXT[:2], TEXT[2:], 300, 310 if separate else None)
        sizes = SIZES | {"vocab_size": len(tokenizers.source)} | fields
        sizes |= {"decoder_vocab_size": len(tokenizers.target)} if separate else {}
        torch.manual_seed(1)
        model = SineformerForConditionalGeneration(SineformerConfig(**sizes))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.generation_config.early_stopping = True
        model.save_pretrained(tmp_path / "model")
        save_tokenizers(tokenizers, tmp_path / "model")
        return tmp_path / "model"

    return make


@pytest.fixture(scope="session")
def trained_model() -> Path:
    """Return the folder of the trained model of the project, if it is there."""
    folder = ROOT / "pretrained" / "sineformer-tiny-multi30k-en-de"
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not in the folder pretrained/")
    return folder


@pytest.fixture(scope="session")
def multi30k(multi30k_test: list[list[str]]) -> list[list[str]]:
    """Return the first 200 sentences of a test set of Multi30k, English and German, if the corpus is there."""
    return [lines[:200] for lines in multi30k_test]


@pytest.fixture(scope="session")
def multi30k_test() -> list[list[str]]:
    """Return the 1,000 sentences of a test set of Multi30k, English and German, if the corpus is there."""
    folder = ROOT.parent / "shared" / "data" / "multi30k"
    if not folder.is_dir():
        pytest.skip("the corpus Multi30k is not in ../shared/data/multi30k")
    files = [folder / f"test_2016_flickr.{language}.gz" for language in ("en", "de")]
    return [[line.text or "" for line in text_lines(file)] for file in files]
