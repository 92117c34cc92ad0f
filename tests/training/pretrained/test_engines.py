"""Test what is said of a model and an engine that do not fit each other, without the libraries of exports."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.engines import ModelChoice, load_engine
from sineformer.training.pretrained.export.exporting import export_model
from sineformer.training.pretrained.translator import TranslationError


@pytest.fixture
def folder(make_model_folder: Callable[..., Path], tmp_path: Path) -> Path:
    return make_model_folder(tmp_path / "model")


@pytest.fixture
def export(folder: Path) -> Path:
    """Return a folder that looks like an export for CTranslate2."""
    (folder / "config.json").rename(folder / "model_config.json")
    (folder / "model.bin").touch()
    return folder


def test_a_model_is_not_computed_by_the_engine_of_an_export(folder: Path) -> None:
    assert ModelChoice(str(folder)).found_engine() == "torch"
    message = f"{folder} is a model for torch, not for onnx; export it: sineformer-export {folder} OUTPUT --format onnx"
    with pytest.raises(TranslationError) as caught:
        load_engine(ModelChoice(str(folder), engine="onnx"))
    assert str(caught.value) == message


def test_an_export_is_recognised_and_has_neither_another_engine_nor_dtype(export: Path) -> None:
    assert ModelChoice(str(export)).found_engine() == "ctranslate2"
    with pytest.raises(TranslationError, match="not for torch; leave out --engine, or give ctranslate2"):
        load_engine(ModelChoice(str(export), engine="torch"))
    with pytest.raises(TranslationError, match="has the dtype that it was exported with; leave out --dtype"):
        load_engine(ModelChoice(str(export), dtype="float16"))


def test_a_missing_library_is_named_with_its_extra(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
    with pytest.raises(ConversionError, match=r"needs ctranslate2.*: pip install 'sineformer\[ctranslate2\]'"):
        export_model(str(folder), tmp_path / "export", "ctranslate2")
    assert not (tmp_path / "export").exists()
    (folder / "config.json").rename(folder / "model_config.json")
    (folder / "model.bin").touch()
    with pytest.raises(TranslationError, match=r"needs ctranslate2: pip install 'sineformer\[ctranslate2\]'"):
        load_engine(ModelChoice(str(folder)))


def test_the_fingerprint_changes_with_the_weights_alone(folder: Path) -> None:
    before = ModelChoice(str(folder)).fingerprint()
    (folder / "report.html").write_text("new")
    assert ModelChoice(str(folder)).fingerprint() == before
    os.utime(folder / "model.safetensors", ns=(0, 0))
    assert ModelChoice(str(folder)).fingerprint() != before
    assert ModelChoice("user/model").fingerprint() == [["user/model"]]
