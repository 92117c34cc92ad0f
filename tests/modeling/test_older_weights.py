"""Test that saving removes weights of earlier saves that would be loaded instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

SHARDED: dict[str, Any] = {"max_shard_size": "20KB"}
WAYS: dict[str, dict[str, Any]] = {
    "one file": {},
    "shards": SHARDED,
    "more shards": {"max_shard_size": "9KB"},
    "one file of a variant": {"variant": "new"},
    "shards of a variant": {"variant": "new", **SHARDED},
}


def save(model: Any, folder: Path, value: float, **how: Any) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    model.save_pretrained(folder, **how)


def loaded_values(folder: Path, **how: Any) -> set[float]:
    """Return the values of all weights that a folder loads."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True, **how)
    return {value for parameter in model.parameters() for value in parameter.unique().tolist()}


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("second", WAYS)
def test_the_last_save_is_loaded(make_model, tmp_path, first: str, second: str) -> None:
    model = make_model()
    save(model, tmp_path, 1.0, **WAYS[first])
    save(model, tmp_path, 2.0, **WAYS[second])
    variants = [WAYS[way].get("variant") for way in (first, second)]
    assert loaded_values(tmp_path, variant=variants[1]) == {2.0}
    # Variants can be in one folder, as on the Hub; but transformers removes shards of one as old shards of the model.
    if variants[0] != variants[1] and first != "shards of a variant":
        assert loaded_values(tmp_path, variant=variants[0]) == {1.0}


@pytest.mark.parametrize("how", [{}, SHARDED])
def test_pickled_weights_of_earlier_saves_are_removed(make_model, tmp_path, how) -> None:
    for name in ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"):
        (tmp_path / name).write_text("old")
    kept = [tmp_path / name for name in ("pytorch_model.fp16.bin", "optimizer.bin", "notes.txt")]
    for path in kept:
        path.write_text("kept")
    make_model().save_pretrained(tmp_path, **how)
    assert {path.name for path in tmp_path.glob("*.bin*")} == {"pytorch_model.fp16.bin", "optimizer.bin"}
    assert all(path.read_text() == "kept" for path in kept)


def test_only_the_main_process_removes_weights(make_model, tmp_path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path, **SHARDED)
    index = (tmp_path / "model.safetensors.index.json").read_text()
    (tmp_path / "pytorch_model.bin").write_text("old")
    model.save_pretrained(tmp_path, is_main_process=False)
    assert json.loads(index) == json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert (tmp_path / "pytorch_model.bin").is_file()
