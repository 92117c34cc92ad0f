"""What is no Marian checkpoint, or one that Sineformer cannot compute, is refused, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sineformer.training.conversion.marian import convert_marian
from sineformer.training.conversion.output import ConversionError

MakeMarian = Callable[..., Path]


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop_a_weight(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop("model.decoder.layers.1.fc1.bias"))


def add_a_norm(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"model.encoder.layer_norm.weight": torch.ones(32)}))


def train_positions(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"model.encoder.embed_positions.weight": torch.ones(40, 32)}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: change_config(folder, model_type="bart"), "is a model of type 'bart'"),
        (lambda folder: change_config(folder, normalize_before=True), "`normalize_before` is True"),
        (
            lambda folder: change_config(folder, static_position_embeddings=False),
            "`static_position_embeddings` is False",
        ),
        (lambda folder: change_config(folder, activation_function="snake"), "`activation_function` 'snake' is unknown"),
        (lambda folder: change_config(folder, d_model=64), "cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json with a `model_type`"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "target.spm").unlink(), "lacks target.spm of its tokenizer"),
        (drop_a_weight, "lacks the weights model.decoder.layers.1.fc1.bias"),
        (add_a_norm, "no place for: model.encoder.layer_norm.weight"),
        (train_positions, "model.encoder.embed_positions.weight holds other positions"),
    ],
)
def test_what_cannot_be_converted_is_one_clear_error_and_leaves_nothing(
    make_marian: MakeMarian, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = make_marian()
    spoil(folder)
    with pytest.raises(ConversionError) as caught:
        convert_marian(str(folder), tmp_path / "out")
    assert message in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["marian"]


@pytest.mark.parametrize("source", ["none/of/these", "no folder", "nobody/nothing"])
def test_a_source_that_is_not_there_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConversionError, match=f"{source} is (neither a folder of a model|no model)"):
        convert_marian(source, tmp_path / "out")


def test_a_folder_in_use_is_left_alone(make_marian: MakeMarian, tmp_path: Path) -> None:
    folder, output = make_marian(), tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(ConversionError, match="already exists; choose another folder"):
        convert_marian(str(folder), output)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]


def test_a_failure_while_writing_leaves_nothing(
    make_marian: MakeMarian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_marian()

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(ConversionError, match=r"cannot be written: .*No space left"):
        convert_marian(str(folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["marian"]
