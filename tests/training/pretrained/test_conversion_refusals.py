"""Test that unsupported and damaged checkpoints are refused, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sineformer.training.pretrained.conversion.marian import convert_marian
from sineformer.training.pretrained.conversion.output import ConversionError, write_output
from sineformer.training.pretrained.conversion.torch_transformer import TorchModel, convert_torch_transformer

MakeMarian = Callable[..., Path]
AssertRefused = Callable[[Path, str], None]


@pytest.fixture
def assert_refused(tmp_path: Path) -> Callable[[Path, str], None]:
    """Return a function that checks that converting a folder fails with a message and writes nothing."""

    def check(folder: Path, message: str) -> None:
        with pytest.raises(ConversionError) as caught:
            convert_marian(str(folder), tmp_path / "out")
        assert message in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == ["marian"]

    return check


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bart"}, "is a model of type 'bart'"),
        ({"normalize_before": True}, "`normalize_before` is True"),
        ({"static_position_embeddings": False}, "`static_position_embeddings` is False"),
        ({"activation_function": "snake"}, "`activation_function` 'snake' is unknown"),
        ({"d_model": 64}, "cannot be loaded"),
    ],
)
def test_an_unsupported_model_is_one_error_and_nothing_is_written(
    make_marian: MakeMarian,
    assert_refused: AssertRefused,
    change_config: Callable[..., None],
    changes: dict[str, Any],
    message: str,
) -> None:
    folder = make_marian()
    change_config(folder, **changes)
    assert_refused(folder, message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "has no config.json with a `model_type`"),
        ("model.safetensors", "cannot be loaded"),
        ("target.spm", "lacks target.spm of its tokenizer"),
    ],
)
def test_a_missing_file_is_one_error_and_nothing_is_written(
    make_marian: MakeMarian, assert_refused: AssertRefused, name: str, message: str
) -> None:
    folder = make_marian()
    (folder / name).unlink()
    assert_refused(folder, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: weights.pop("model.decoder.layers.1.fc1.bias"),
            "lacks the weights model.decoder.layers.1.fc1.bias",
        ),
        (
            lambda weights: weights.update({"model.encoder.layer_norm.weight": torch.ones(32)}),
            "has weights that MarianMTModel does not have: model.encoder.layer_norm.weight",
        ),
        (
            lambda weights: weights.update({"model.encoder.embed_positions.weight": torch.ones(40, 32)}),
            "model.encoder.embed_positions.weight is not Marian's table of sines and cosines",
        ),
    ],
    ids=["one too few", "one too many", "other positions"],
)
def test_weights_that_do_not_fit_are_one_error_and_nothing_is_written(
    make_marian: MakeMarian,
    assert_refused: AssertRefused,
    change_weights: Callable[..., None],
    change: Callable[[dict[str, torch.Tensor]], object],
    message: str,
) -> None:
    folder = make_marian()
    change_weights(folder, change)
    assert_refused(folder, message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "cannot be loaded"),
        ("tokenizer_config.json", "tokenizer_config.json is not JSON"),
    ],
)
def test_a_damaged_file_is_one_error_and_nothing_is_written(
    make_marian: MakeMarian, assert_refused: AssertRefused, name: str, message: str
) -> None:
    folder = make_marian()
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    assert_refused(folder, message)


@pytest.mark.parametrize("source", ["none/of/these", "no folder", "nobody/nothing"])
def test_a_missing_source_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConversionError, match=f"{source} is (neither the folder of a model|no model)"):
        convert_marian(source, tmp_path / "out")


def test_a_folder_in_use_is_left_alone(make_marian: MakeMarian, tmp_path: Path) -> None:
    folder, output = make_marian(), tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(ConversionError, match="already exists; choose another folder"):
        convert_marian(str(folder), output)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("file", "file is a file; name another folder"), ("file/new", "file is a file"), (".", "the working directory")],
)
def test_an_unwritable_folder_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(ConversionError, match=message):
        convert_marian("a model that is not searched for", Path(name))
    model = TorchModel(heads=1, pad_token_id=0, start_token_id=1, eos_token_id=2)
    with pytest.raises(ConversionError, match=message):
        convert_torch_transformer(Path("a file that is not searched for"), Path(name), model)


def test_a_full_disk_is_one_error_and_nothing_is_written(
    make_marian: MakeMarian, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = make_marian()
    request.getfixturevalue("small_files_only")
    with pytest.raises(
        ConversionError, match=r"out cannot be written: .*File too large.*; earlier files are unchanged"
    ):
        convert_marian(str(folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["marian"]


def test_a_full_disk_met_by_safetensors_is_the_same_error(tmp_path: Path, small_files_only: None) -> None:
    with pytest.raises(ConversionError, match=r"out cannot be written: .*File too large"):
        write_output(
            tmp_path / "out", lambda folder: save_file({"a": torch.zeros(1_000)}, folder / "model.safetensors")
        )


def test_a_bug_while_writing_is_not_reported_as_a_full_disk(
    make_marian: MakeMarian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_marian()
    monkeypatch.setattr(shutil, "copyfile", None)
    with pytest.raises(TypeError):
        convert_marian(str(folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["marian"]
