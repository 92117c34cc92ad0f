"""Test saved folders in releases of transformers from the oldest to the newest supported one, and with fields of later
versions of Sineformer."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from packaging.requirements import Requirement
from transformers import AutoModelForSeq2SeqLM

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython

# Fields of a later version, unknown to this one.
LATER = {"config.json": {"later_field": {"a": 1}, "transformers_version": "99.0.0"}, "generation_config.json": {"b": 2}}


def as_a_later_version_saves(folder: Path) -> None:
    for name, fields in LATER.items():
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(values | fields))


def test_fields_of_a_later_version_are_ignored_and_kept(make_model, source, target, tmp_path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path / "model")
    as_a_later_version_saves(tmp_path / "model")
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    expected = model(input_ids=source, decoder_input_ids=target).logits
    assert torch.equal(loaded(input_ids=source, decoder_input_ids=target).logits, expected)
    loaded.save_pretrained(tmp_path / "copy")
    assert json.loads((tmp_path / "copy/config.json").read_text())["later_field"] == {"a": 1}


def oldest() -> str:
    """Return the oldest release of transformers that the package declares."""
    needed = map(Requirement, metadata.requires("sineformer") or [])
    (specifier,) = next(each for each in needed if each.name == "transformers").specifier
    assert specifier.operator == ">="
    return f"{specifier.version}.0"


# Releases between the oldest and the installed one that changed interfaces used by a model.
RELEASES = [oldest(), "5.20.2", *(["5.23.0"] if sys.version_info >= (3, 11) else [])]

# Use the folder without this package, and save the result of every step.
USE_THE_FOLDER = """
import sys
packages, folder, copy, results = sys.argv[1:]
sys.path.insert(0, packages)
import torch, transformers
from transformers import (AutoModelForSeq2SeqLM, AutoTokenizer, DataCollatorForSeq2Seq, Seq2SeqTrainer,
                          Seq2SeqTrainingArguments, pipeline, set_seed)
assert transformers.__file__.startswith(packages), transformers.__file__

tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
def load(place=folder):
    return AutoModelForSeq2SeqLM.from_pretrained(place, trust_remote_code=True).eval()

model, texts = load(), ["the dog sleeps", "der Hund", "a"]
batch = tokenizer(texts, return_tensors="pt", padding=True)
static = {"cache_implementation": "static", "num_beams": 1, "max_new_tokens": 9}
output = {
    "logits": model(**batch, decoder_input_ids=batch["input_ids"]).logits,
    "greedy": model.generate(**batch, num_beams=1),
    "beams": model.generate(**batch, num_beams=3, num_return_sequences=2, max_new_tokens=12),
    "scores": model.generate(**batch, num_beams=3, max_new_tokens=5, return_dict_in_generate=True,
                             output_scores=True).sequences_scores,
    "static": model.generate(**batch, **static),
    "static beams": model.generate(**batch, **static | {"num_beams": 2}),
}
set_seed(1)
output["sampled"] = model.generate(**batch, do_sample=True, num_beams=1, max_new_tokens=8)
step = model(input_ids=batch["input_ids"][:, :2], decoder_input_ids=batch["input_ids"][:, :2], use_cache=True)
output["two tokens"] = step.logits
for how in (folder, model):
    translate = pipeline("translation", model=how, tokenizer=tokenizer, trust_remote_code=True)
    output["pipeline", str(how is model)] = [each["translation_text"] for each in translate(texts, max_new_tokens=9)]

def train(model):
    examples = [dict(tokenizer(text, text_target=text)) for text in texts]
    arguments = Seq2SeqTrainingArguments(
        copy + "-run", max_steps=3, learning_rate=1e-2, per_device_train_batch_size=3, predict_with_generate=True,
        generation_num_beams=2, report_to=[], save_strategy="no", use_cpu=True, seed=3, logging_strategy="no")
    trainer = Seq2SeqTrainer(model=model, args=arguments, train_dataset=examples, eval_dataset=examples,
                             data_collator=DataCollatorForSeq2Seq(tokenizer), processing_class=tokenizer)
    trainer.train()
    output["evaluated", type(model).__name__] = trainer.evaluate(max_new_tokens=4)["eval_loss"]
    return trainer

train(model).save_model(copy)
again = load(copy)
output["trained"] = again(**batch, decoder_input_ids=batch["input_ids"]).logits
assert torch.equal(output["trained"], model.eval()(**batch, decoder_input_ids=batch["input_ids"]).logits)
assert again.generation_config.to_dict() == model.generation_config.to_dict()

from peft import LoraConfig, get_peft_model
set_seed(2)
adapted = get_peft_model(load(), LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q_proj", "v_proj"], r=2))
train(adapted)
adapted.eval()
output["adapted"] = adapted(**batch, decoder_input_ids=batch["input_ids"]).logits
output["adapted text"] = adapted.generate(**batch, max_new_tokens=6)
merged = adapted.merge_and_unload()
merged.save_pretrained(copy + "-merged")
output["merged"] = load(copy + "-merged")(**batch, decoder_input_ids=batch["input_ids"]).logits
torch.save(output, results)
"""


def install(release: str, folder: Path) -> Path:
    """Install a release of transformers and its dependencies into a folder."""
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([*command, f"transformers=={release}"], check=True)
    return folder


def use(python: BarePython, packages: Path, model: Path, results: Path) -> dict[Any, Any]:
    """Return the results of `USE_THE_FOLDER` with the transformers in `packages`."""
    python.run(USE_THE_FOLDER, packages, model, results.with_name(f"{results.stem}-copy"), results)
    return torch.load(results)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, make_model_folder, bare_python_with_peft: BarePython) -> tuple[Path, dict[Any, Any]]:
    """Return a model folder and its results with the installed transformers."""
    folder = tmp_path_factory.mktemp("versions")
    model = make_model_folder(folder / "model")
    as_a_later_version_saves(model)
    installed = Path(str(metadata.distribution("transformers").locate_file("")))
    packages = folder / "installed"
    packages.symlink_to(installed)
    return model, use(bare_python_with_peft, installed, model, folder / "installed.pt")


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_a_folder_works_alike_in_every_release(
    release: str, expected, tmp_path, bare_python_with_peft: BarePython
) -> None:
    model, results = expected
    found = use(bare_python_with_peft, install(release, tmp_path / release), model, tmp_path / "found.pt")
    assert found.keys() == results.keys()
    for name, value in results.items():
        same = torch.equal(found[name], value) if isinstance(value, torch.Tensor) else found[name] == value
        assert same, name
