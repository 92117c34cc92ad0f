"""Test that every way of pushing leaves a repository that loads without the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from huggingface_hub import HfApi
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, pipeline

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling.code_files import AUTO_MAP, CODE_FILES

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython, Hub

MODEL = {*CODE_FILES, "config.json", "generation_config.json", "model.safetensors"}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}

LOAD_AND_PUSH_AGAIN = """
import json, sys, torch
from transformers import AutoModelForSeq2SeqLM
for name in sys.argv[1:]:
    model = AutoModelForSeq2SeqLM.from_pretrained(name, trust_remote_code=True).eval()
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    ids = torch.arange(5, 12).unsqueeze(0)
    print(json.dumps(model(input_ids=ids, decoder_input_ids=ids).logits[0, -1, :5].tolist()))
    if "again" not in name:
        model.push_to_hub(name + "-again")
"""


@pytest.fixture
def folder(tmp_path: Path, make_model_folder: Callable[..., Path]) -> Path:
    return make_model_folder(tmp_path / "model", 5)


@pytest.fixture
def model(folder: Path) -> SineformerForConditionalGeneration:
    return SineformerForConditionalGeneration.from_pretrained(folder).eval()


def files_of(name: str) -> set[str]:
    return {*HfApi().list_repo_files(name)} - {".gitattributes", "README.md"}


def logits_of(model: Any) -> list[float]:
    ids = torch.arange(5, 12).unsqueeze(0)
    with torch.inference_mode():
        return model(input_ids=ids, decoder_input_ids=ids).logits[0, -1, :5].tolist()


def check_config(name: str) -> None:
    config = json.loads(Path(HfApi().hf_hub_download(name, "config.json")).read_text())
    assert config["auto_map"] == AUTO_MAP
    assert config["custom_pipelines"]["translation"]["impl"].startswith("translation_pipeline.")


def test_a_model_and_its_tokenizer_push_all_files_for_loading(hub_client: Hub, model: Any, folder: Path) -> None:
    model.push_to_hub("user/parts")
    assert files_of("user/parts") == MODEL
    check_config("user/parts")
    AutoTokenizer.from_pretrained(folder).push_to_hub("user/parts")
    assert files_of("user/parts") == MODEL | TOKENIZER


def test_saving_and_pushing_at_once(hub_client: Hub, model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved-and-pushed", push_to_hub=True, private=True, commit_message="Both")
    assert files_of("user/saved-and-pushed") == MODEL
    assert HfApi().model_info("user/saved-and-pushed").private
    assert HfApi().list_repo_commits("user/saved-and-pushed")[0].title == "Both"


def test_pushing_to_a_branch_does_not_change_main(hub_client: Hub, model: Any) -> None:
    model.push_to_hub("user/branches", revision="better")
    assert files_of("user/branches") == set()
    assert {*HfApi().list_repo_files("user/branches", revision="better")} >= MODEL


def test_a_pipeline_pushes_model_tokenizer_and_code(hub_client: Hub, folder: Path) -> None:
    pipeline("translation", model=str(folder), trust_remote_code=True).push_to_hub("user/pipeline")
    assert files_of("user/pipeline") == MODEL | TOKENIZER
    check_config("user/pipeline")


def trainer_of(model: Any, folder: Path, output_dir: Path) -> Seq2SeqTrainer:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(["the dog sleeps"] * 2, text_target=["der Hund schläft"] * 2)
    arguments = Seq2SeqTrainingArguments(
        str(output_dir), max_steps=1, use_cpu=True, report_to="none", hub_model_id="user/trained", save_strategy="no"
    )
    return Seq2SeqTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(dict(encoded)),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )


def test_the_trainer_of_transformers_pushes_model_tokenizer_and_code(
    hub_client: Hub, model: Any, folder: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(model, folder, tmp_path / "trained")
    trainer.train()
    trainer.push_to_hub()
    assert files_of("user/trained") >= MODEL | TOKENIZER
    check_config("user/trained")


@pytest.mark.slow
def test_a_pushed_model_loads_bit_equal_elsewhere_and_can_be_pushed_from_there(
    hub_client: Hub, model: Any, folder: Path, own_bare_python: BarePython
) -> None:
    model.push_to_hub("user/model")
    pipeline("translation", model=str(folder), trust_remote_code=True).push_to_hub("user/piped")
    names = ("user/model", "user/piped", "user/model-again", "user/piped-again")
    printed = own_bare_python.run(LOAD_AND_PUSH_AGAIN, *names, changes=hub_client.environment)
    assert [json.loads(line) for line in printed.splitlines() if line.startswith("[")] == 4 * [logits_of(model)]
    assert files_of("user/model-again") == MODEL


def test_saving_through_accelerate_leaves_a_complete_folder(model: Any, tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(model)
    accelerator.unwrap_model(prepared).save_pretrained(
        tmp_path / "saved",
        is_main_process=accelerator.is_main_process,
        save_function=accelerator.save,
        state_dict=accelerator.get_state_dict(prepared),
    )
    assert {path.name for path in (tmp_path / "saved").iterdir()} == MODEL
    loaded = SineformerForConditionalGeneration.from_pretrained(tmp_path / "saved").eval()
    assert logits_of(loaded) == logits_of(model)


def test_weights_saved_by_accelerate_fit_the_model(model: Any, tmp_path: Path) -> None:
    expected = logits_of(model)
    accelerator = Accelerator(cpu=True)
    accelerator.save_model(model, tmp_path / "weights")
    model.config.save_pretrained(tmp_path / "weights")
    assert logits_of(SineformerForConditionalGeneration.from_pretrained(tmp_path / "weights").eval()) == expected
