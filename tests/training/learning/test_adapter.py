"""Test low-rank adapters: the published model with merged adapter, and the adapter alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sineformer import SineformerForConditionalGeneration
from sineformer.training.checkpoints.checkpoint import load_weights, prepare_output_dir, save_model
from sineformer.training.data.tokenizer import load_tokenizers
from sineformer.training.learning.adapter import add_adapter, load_adapter, merged_weights, save_adapter
from sineformer.training.preflight import read_settings
from sineformer.training.pretrained.model_folder import folder_problems
from sineformer.training.settings.model_arguments import FineTuningArguments
from sineformer.training.settings.recipe import RecipeError
from sineformer.training.train import main

peft = pytest.importorskip("peft")
RUN = {
    "dataset": "embedded",
    **{"train_size": "100", "validation_size": "3", "test_size": "3", "max_length": "80", "max_tokens": "400"},
    **{"warmup_steps": "2", "max_steps": "4", "eval_steps": "2", "best_metric": "loss", "num_beams": "1"},
    **{"learning_rate": "0.05", "use_cpu": "true", "report_to": "none", "lora_r": "4", "lora_alpha": "8"},
}
# Prints what the model says, for adapters on the model that training began from: loaded one after the other, or both
# by the name that the adapter has for its base.
LOGITS = """
import sys
import torch
from peft import AutoPeftModelForSeq2SeqLM, PeftModel
from transformers import AutoModelForSeq2SeqLM

base, adapter, way = sys.argv[1:]
if way == "PeftModel":
    model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base, trust_remote_code=True), adapter)
else:
    model = AutoPeftModelForSeq2SeqLM.from_pretrained(adapter, trust_remote_code=True)
logits = model.eval()(input_ids=torch.arange(4, 10)[None], decoder_input_ids=torch.arange(2, 7)[None]).logits
print(logits.flatten().tolist(), "sineformer" in sys.modules)
"""


@pytest.fixture(scope="module")
def base(make_model_folder: Callable[[Path, int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("base") / "base", 0)


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of a run with adapters."""
    folder = tmp_path_factory.mktemp("tuned") / "tuned"
    settings = [word for key, value in RUN.items() for word in (f"--{key}", value)]
    assert main([*settings, "--model_name_or_path", str(base), "--output_dir", str(folder)]) == 0
    return folder


def load(folder: Path) -> Any:
    return SineformerForConditionalGeneration.from_pretrained(folder).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(4, 10)[None], decoder_input_ids=torch.arange(2, 7)[None]).logits


def adapted(base: Path, **settings: Any) -> Any:
    """Return the base model with adapters that are not zero."""
    model = load(base)
    add_adapter(model, FineTuningArguments(model_name_or_path=str(base), lora_r=3, **settings))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_the_published_model_equals_the_base_with_its_adapter(base: Path, tuned: Path) -> None:
    config = json.loads((tuned / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (str(base), 4, 8)
    assert {path.name for path in (tuned / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    on_base = logits(peft.PeftModel.from_pretrained(load(base), tuned / "adapter"))
    torch.testing.assert_close(logits(load(tuned)), on_base, rtol=0, atol=1e-5)
    assert not torch.allclose(on_base, logits(load(base)), atol=1e-2)


def test_the_published_folder_is_an_ordinary_model(base: Path, tuned: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tuned))
    assert before.keys() == after.keys()
    changed = {
        name.rpartition(".")[0].rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])
    }
    assert changed == {"q_proj", "v_proj"}
    assert (tuned / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert folder_problems(tuned) == []
    text = (tuned / "README.md").read_text()
    assert "Trained as low-rank adapters of rank 4 on `q_proj`, `v_proj`, which are merged" in text


def test_only_the_adapters_are_trained(base: Path) -> None:
    model = load(base)
    add_adapter(model, FineTuningArguments(lora_r=2, lora_target_modules=["fc1"]))
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    sides = ("encoder", "decoder")
    assert trained == {f"model.{side}.layers.0.fc1.lora_{part}.default.weight" for side in sides for part in "AB"}
    assert torch.equal(logits(model.eval()), logits(load(base))), "fresh adapters change nothing"


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["all-linear"], ["decoder.layers.0.fc1"]])
def test_merging_leaves_the_model_in_training_as_it_is(base: Path, tmp_path: Path, targets: list[str]) -> None:
    model = adapted(base, lora_target_modules=targets)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merged = merged_weights(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    plain = load(base)
    plain.load_state_dict(merged)
    torch.testing.assert_close(logits(plain), logits(model), rtol=0, atol=1e-5)
    assert not torch.allclose(logits(plain), logits(load(base)), atol=1e-2)


def test_a_checkpoint_resumes_with_the_same_adapters_bit_for_bit(base: Path, tmp_path: Path) -> None:
    model, fresh = adapted(base), adapted(base)
    for parameter in fresh.parameters():
        if parameter.requires_grad:
            torch.nn.init.zeros_(parameter)
    save_model(tmp_path, model, load_tokenizers(base))
    load_weights(fresh, tmp_path)
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in model.state_dict().items())
    save_adapter(fresh, tmp_path / "again")
    name = "adapter_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "adapter" / name).read_bytes()
    other = load(base)
    add_adapter(other, FineTuningArguments(lora_r=3, lora_target_modules=["fc1"]))
    with pytest.raises(AssertionError):
        load_adapter(other, tmp_path / "adapter")


def test_a_new_run_in_the_folder_leaves_no_adapter_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    prepare_output_dir(tmp_path, ())
    assert not (tmp_path / "adapter").exists()


def test_layers_that_cannot_be_adapted_are_named(base: Path) -> None:
    run = ["--dataset", "embedded", "--output_dir", "unused", "--max_steps", "1"]
    flags = ["--model_name_or_path", str(base), "--lora_r", "2", *run]
    with pytest.raises(RecipeError) as caught:
        read_settings(
            [*flags, "--lora_target_modules", "proj", "lm_head", "--freeze", "encoder", "--lora_dropout", "1"]
        )
    wrong = "lora_target_modules: no linear layer of the encoder's or decoder's layers is called"
    known = "use fc1, fc2, q_proj, k_proj, v_proj, out_proj"
    assert caught.value.problems == [
        f"{wrong} 'proj'; {known}",
        f"{wrong} 'lm_head'; {known}",
        "lora_dropout: must be in [0, 1), got 1.0",
        "freeze, lora_r: with adapters, the complete model is frozen; remove freeze",
    ]
    with pytest.raises(RecipeError, match="lora_r: only for fine-tuning; set model_name_or_path"):
        read_settings(flags[2:])


def test_without_peft_the_error_says_what_to_install(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"lora_r: adapters need PEFT: pip install 'peft>=0\.18'"):
        read_settings(
            [
                "--dataset",
                "embedded",
                "--model_name_or_path",
                str(base),
                "--lora_r",
                "2",
                "--output_dir",
                "unused",
                "--max_steps",
                "1",
            ]
        )


@pytest.mark.slow
def test_runs_without_adapters_do_not_import_peft() -> None:
    program = "import sys; import sineformer.training.train; print('peft' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["PeftModel", "AutoPeftModelForSeq2SeqLM"])
def test_the_adapter_loads_where_sineformer_is_not_installed(
    base: Path, tuned: Path, bare_python_with_peft: Any, way: str
) -> None:
    here = logits(peft.PeftModel.from_pretrained(load(base), tuned / "adapter").eval())
    printed = bare_python_with_peft.run(LOGITS, base, tuned / "adapter", way)
    assert printed.strip() == f"{here.flatten().tolist()} False"
