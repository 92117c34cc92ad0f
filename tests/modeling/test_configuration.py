"""The configuration: the paper's defaults, round trips, and errors that name the field and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import StrictDataclassError

from sineformer import SineformerConfig


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


def test_names_that_every_model_has_are_those_of_ours() -> None:
    config = SineformerConfig(d_model=64, encoder_layers=3, encoder_attention_heads=4)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (64, 3, 4)
    assert config.decoder_vocab_size == config.vocab_size


def test_a_shared_vocabulary_keeps_one_size_when_it_is_set_later() -> None:
    config = SineformerConfig(vocab_size=50)
    config.vocab_size = 60
    assert SineformerConfig.from_dict(config.to_diff_dict()).target_vocab_size == 60


def test_vocabularies_of_their_own_keep_their_own_sizes() -> None:
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
def test_what_does_not_fit_together_is_refused(fields, message: str) -> None:
    with pytest.raises(StrictDataclassError, match=f"(?s){message}"):
        SineformerConfig(**fields)


def test_classes_that_a_pipeline_puts_into_the_configuration_are_saved_by_name() -> None:
    config = SineformerConfig()
    config.custom_pipelines = {"translation": {"impl": "file.Class", "pt": (SineformerConfig, "AutoModel")}}
    assert config.to_dict()["custom_pipelines"]["translation"]["pt"] == ["SineformerConfig", "AutoModel"]
    assert "SineformerConfig" in config.to_json_string()
