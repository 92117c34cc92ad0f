"""Test the configuration: the paper's defaults, saving, and errors that name the field and the fix."""

from __future__ import annotations

import importlib
import re
from importlib import metadata
from pathlib import Path

import pytest
import transformers
from huggingface_hub.errors import StrictDataclassError

from sineformer import SineformerConfig
from sineformer.configuration import configuration_sineformer

ROOT = Path(__file__).resolve().parent.parent.parent


def test_defaults_are_the_base_model_of_the_paper() -> None:
    config = SineformerConfig()
    assert (config.encoder_layers, config.decoder_layers, config.d_model, config.encoder_ffn_dim) == (6, 6, 512, 2048)
    assert (config.encoder_attention_heads, config.decoder_attention_heads, config.dropout) == (8, 8, 0.1)
    assert (config.activation_function, config.normalize_before, config.scale_embedding) == ("relu", False, True)
    assert (config.share_encoder_decoder_embeddings, config.tie_word_embeddings) == (True, True)


def test_fields_survive_saving(tmp_path: Path) -> None:
    config = SineformerConfig(
        vocab_size=50,
        decoder_vocab_size=60,
        share_encoder_decoder_embeddings=False,
        sliding_window=7,
        position_layout="halves",
        dropout=0,
        decoder_layers=2,
    )
    config.save_pretrained(tmp_path)
    assert SineformerConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_common_names_of_models_are_aliases() -> None:
    config = SineformerConfig(d_model=64, encoder_layers=3, encoder_attention_heads=4)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (64, 3, 4)
    assert config.decoder_vocab_size == config.vocab_size


def test_setting_the_size_of_a_shared_vocabulary_changes_both_sides() -> None:
    config = SineformerConfig(vocab_size=50)
    config.vocab_size = 60
    assert SineformerConfig.from_dict(config.to_diff_dict()).target_vocab_size == 60


def test_separate_vocabularies_keep_their_sizes() -> None:
    config = SineformerConfig(vocab_size=50, decoder_vocab_size=70, share_encoder_decoder_embeddings=False)
    config.vocab_size = 60
    assert (config.vocab_size, config.target_vocab_size) == (60, 70)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_model": 7, "encoder_attention_heads": 1, "decoder_attention_heads": 1}, "must be even.*Use 6 or 8"),
        ({"d_model": 100}, r"`d_model` \(100\) is not divisible by `encoder_attention_heads` \(8\).*96 or 104"),
        ({"decoder_attention_heads": 7}, "`decoder_attention_heads`"),
        ({"decoder_vocab_size": 5}, "share_encoder_decoder_embeddings=False"),
        ({"dropout": 1.5}, r"`dropout` is 1.5; give a probability in \[0, 1\)"),
        ({"encoder_layers": 0}, "`encoder_layers` is 0; give a positive number"),
        ({"sliding_window": 0}, "`sliding_window` is 0"),
        ({"vocab_size": 10, "pad_token_id": 10}, "`pad_token_id` is 10.*from 0 to 9"),
        ({"vocab_size": 10, "decoder_start_token_id": -1}, "`decoder_start_token_id` is -1"),
        ({"d_model": "512"}, "d_model"),
        ({"position_layout": "learned"}, "position_layout"),
    ],
)
def test_contradictory_fields_are_refused(fields, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=f"(?s){message}"):
        SineformerConfig(**fields)


def test_classes_that_a_pipeline_puts_into_the_configuration_are_saved_by_name() -> None:
    config = SineformerConfig()
    config.custom_pipelines = {"translation": {"impl": "file.Class", "pt": (SineformerConfig, "AutoModel")}}
    assert config.to_dict()["custom_pipelines"]["translation"]["pt"] == ["SineformerConfig", "AutoModel"]
    assert "SineformerConfig" in config.to_json_string()


def load_with(monkeypatch, release: str) -> None:
    """Run the configuration file as if this release of transformers were installed."""
    monkeypatch.setattr(transformers, "__version__", release)
    spec = importlib.util.find_spec(configuration_sineformer.__name__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("release", ["4.57.1", "5.16.2", "5.9.0"])
def test_an_old_transformers_is_refused_with_the_tested_range(monkeypatch, release: str) -> None:
    message = r"transformers 5\.17 or newer \(tested with 5\.17 to 5\.24\), but {} is installed.*pip install"
    with pytest.raises(ImportError, match=message.format(re.escape(release))):
        load_with(monkeypatch, release)


@pytest.mark.parametrize("release", ["5.17.0", "5.24.0", "5.25.0.dev0", "6.0.0rc1", "10.0"])
def test_later_releases_are_accepted(monkeypatch, release: str) -> None:
    load_with(monkeypatch, release)


def test_the_tested_range_is_that_of_pyproject_and_constraints() -> None:
    assert f"transformers>={configuration_sineformer.OLDEST}" in (metadata.requires("sineformer") or [])
    pins = re.findall(
        r"^transformers==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert max(pins, key=lambda pin: [int(part) for part in pin.split(".")]) == configuration_sineformer.NEWEST
