"""Test the scripts that convert models: their output and exit status."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import MarianMTModel, MarianTokenizer

from sineformer import SineformerConfig

IDS = ["--pad_token_id", "1", "--start_token_id", "2", "--eos_token_id", "3"]


def call(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    return int(importlib.import_module(f"sineformer.scripts.{name}").main())


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    """Return a state dict in which several matrices fit as embedding or head."""
    core = nn.Transformer(8, 2, 1, 1, 16, norm_first=True)
    state = {f"core.{name}": weight for name, weight in core.state_dict().items()}
    for name in ("source", "target", "head"):
        state[f"{name}.weight"] = torch.randn(11, 8)
    torch.save(state, tmp_path / "state.pt")
    return tmp_path / "state.pt"


def test_every_option_reaches_the_converted_torch_model(
    state_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["--embedding", "source", "--target_embedding", "target", "--head", "head"]
    settings = ["--norm_first", "--activation", "gelu", "--layer_norm_eps", "1e-3", "--dropout", "0.3"]
    positions = ["--no-scale_embedding", "--positions", "halves"]
    arguments = [state_file, tmp_path / "out", "--heads", "2", *IDS, *names, *settings, *positions]
    assert call("convert_torch_transformer", monkeypatch, *arguments) == 0
    assert f"{tmp_path / 'out'}: " in capsys.readouterr().out
    config = SineformerConfig.from_pretrained(tmp_path / "out")
    assert (config.normalize_before, config.activation_function, config.layer_norm_eps) == (True, "gelu", 1e-3)
    assert (config.dropout, config.attention_dropout, config.activation_dropout) == (0.3, 0.3, 0.3)
    assert (config.scale_embedding, config.position_layout) == (False, "halves")
    assert (config.encoder_attention_heads, config.decoder_attention_heads) == (2, 2)
    assert (config.pad_token_id, config.decoder_start_token_id, config.eos_token_id) == (1, 2, 3)
    assert not config.share_encoder_decoder_embeddings


def test_a_torch_model_that_cannot_be_converted_is_an_error_of_one_line(
    state_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [state_file, tmp_path / "out", "--heads", "2", *IDS, "--positions", "halves"]
    assert call("convert_torch_transformer", monkeypatch, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        f"error: {state_file}: cannot tell which is the `head`: name it, one of source, target, head"
    )
    assert error.count("\n") == 1


def test_a_converted_marian_model_translates_from_the_command_line(
    make_marian: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make_marian()
    assert call("convert_marian", monkeypatch, folder, tmp_path / "out") == 0
    theirs, tokenizer = MarianMTModel.from_pretrained(folder).eval(), MarianTokenizer.from_pretrained(folder)
    output = theirs.generate(**tokenizer("the dog sleeps", return_tensors="pt"), num_beams=2)
    capsys.readouterr()
    arguments = ["--model", tmp_path / "out", "--num_beams", "2", "--device", "cpu", "the dog sleeps"]
    assert call("translate", monkeypatch, *arguments) == 0
    assert capsys.readouterr().out == tokenizer.decode(output[0], skip_special_tokens=True) + "\n"


def test_a_model_that_is_not_marian_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert call("convert_marian", monkeypatch, tmp_path / "bert", tmp_path / "out") == 1
    error = capsys.readouterr().err
    expected = f"{tmp_path / 'bert'} is a model of type 'bert'; this converts those of type 'marian'"
    assert error == f"error: {expected}\n"
