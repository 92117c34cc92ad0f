"""Folders load in other versions: of Sineformer, which add fields, and of transformers, from the oldest we support."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from packaging.requirements import Requirement
from transformers import AutoModelForSeq2SeqLM

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython

# As a later version would write them: fields that this version does not know.
LATER = {"config.json": {"later_field": {"a": 1}, "transformers_version": "99.0.0"}, "generation_config.json": {"b": 2}}


def as_a_later_version_saves(folder: Path) -> None:
    for name, fields in LATER.items():
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(values | fields))


def test_fields_of_a_later_version_do_no_harm_and_are_kept(make_model, source, target, tmp_path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path / "model")
    as_a_later_version_saves(tmp_path / "model")
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    expected = model(input_ids=source, decoder_input_ids=target).logits
    assert torch.equal(loaded(input_ids=source, decoder_input_ids=target).logits, expected)
    loaded.save_pretrained(tmp_path / "copy")
    assert json.loads((tmp_path / "copy/config.json").read_text())["later_field"] == {"a": 1}


@pytest.fixture
def oldest_transformers(tmp_path) -> Path:
    """A folder with the oldest transformers that Sineformer supports, and what that needs beside torch."""
    needed = map(Requirement, metadata.requires("sineformer") or [])
    (specifier,) = next(each for each in needed if each.name == "transformers").specifier
    assert specifier.operator == ">="
    folder = tmp_path / "oldest"
    install = ["install", "-qq", "--target", str(folder), f"transformers=={specifier.version}.0"]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    return folder


WITH_THE_OLDEST = """
import json, sys
packages, folder, copy, results = sys.argv[1:]
sys.path.insert(0, packages)
import torch, transformers
from transformers import AutoModelForSeq2SeqLM
assert transformers.__file__.startswith(packages), transformers.__file__
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
ids = torch.tensor([[5, 6, 7, 3], [8, 3, 0, 0]])
mask = (ids != 0).long()
output = {
    "logits": model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).logits,
    "beams": model.generate(ids, attention_mask=mask, num_beams=3, max_new_tokens=9),
    "static": model.generate(ids, attention_mask=mask, num_beams=1, max_new_tokens=9, cache_implementation="static"),
    "unlimited": model.generate(ids, attention_mask=mask),
}
model.train()(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
output["gradient"] = model.lm_head.weight.grad
torch.save(output, results)
model.save_pretrained(copy)
"""


@pytest.mark.slow
def test_a_folder_works_in_the_oldest_transformers(
    make_model, tmp_path, bare_python: BarePython, oldest_transformers
) -> None:
    make_model().save_pretrained(tmp_path / "model")
    as_a_later_version_saves(tmp_path / "model")
    outputs = []
    for packages in (oldest_transformers, Path(metadata.distribution("transformers").locate_file(""))):
        copy, results = tmp_path / f"{packages.name} copy", tmp_path / "results.pt"
        bare_python.run(WITH_THE_OLDEST, packages, tmp_path / "model", copy, results)
        outputs.append(torch.load(results))
        assert (copy / "model.safetensors").read_bytes() == (tmp_path / "model/model.safetensors").read_bytes()
    assert all(torch.equal(outputs[0][name], outputs[1][name]) for name in outputs[1])
