"""Test that a folder for the Hub contains a complete model and nothing else; all problems are reported together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from sineformer.training.pretrained.model_folder import belongs_to_model, files_left_out, folder_problems, model_files


@pytest.fixture(scope="module")
def complete(make_model_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("folders") / "complete")


@pytest.fixture
def folder(complete: Path, tmp_path: Path) -> Path:
    """Return a copy of the complete folder, to be damaged."""
    return shutil.copytree(complete, tmp_path / "model")


def test_a_complete_folder_with_records_and_logs_of_its_run_has_no_problems(folder: Path) -> None:
    records = {"metrics.jsonl", "training_args.yaml", "versions.json", "report.html", "report.png"}
    logs = {"tensorboard/events.out.tfevents.1", "wandb/run-1/run-1.wandb", "profile/rank-0.json.gz"}
    for name in records | logs:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    assert folder_problems(folder) == []
    assert {*map(PurePosixPath, records)} <= {*model_files(folder)}
    assert not {*map(PurePosixPath, logs)} & {*model_files(folder)}


@pytest.mark.parametrize("name", ["README.md", "generation_config.json", "model.safetensors", "tokenizer_config.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (problem,) = folder_problems(folder)
    fix = "--card writes one" if name == "README.md" else "save"
    assert problem.startswith(f"{name}: missing; {fix}")


@pytest.mark.parametrize("name", ["attention.py", "translation_pipeline.py", "configuration_sineformer.py"])
def test_missing_code_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert folder_problems(folder)[0].startswith(f"{name}: missing, but other code needs it")


def test_a_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    assert folder_problems(tmp_path) == [f"{tmp_path} holds no config.json; give the folder of a finished training"]


def test_pickles_and_unknown_files_are_refused_together(folder: Path) -> None:
    for name in ("pytorch_model.bin", "older/step-3/optimizer.pt", "older/step-3/model.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    for name in (".DS_Store", "notes.txt", "optimizer.safetensors", "attention.py.orig"):
        (folder / name).write_text("x")
    pickle, unknown = "a pickle, which can run code on loading", "not part of a model"
    found = [problem.split("; ")[0] for problem in folder_problems(folder)]
    assert found == [
        f"older/step-3/optimizer.pt: {pickle}",
        f"pytorch_model.bin: {pickle}",
        *(f"{name}: {unknown}" for name in (".DS_Store", "attention.py.orig", "notes.txt", "older/")),
        f"optimizer.safetensors: {unknown}",
    ]


def test_files_of_a_training_are_left_out(folder: Path) -> None:
    before = model_files(folder)
    states = ("training_args.bin", "trainer_state.json", "optimizer.pt", "rng_state_0.pth", "all_results.json")
    below = ("checkpoints/step-3/optimizer.pt", "checkpoint-10/model.safetensors", "runs/host/events.out.tfevents.1")
    for name in (*states, *below):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert model_files(folder) == before
    assert folder_problems(folder) == []
    assert files_left_out(folder) == sorted([*states, "checkpoints/", "checkpoint-10/", "runs/"])


def test_weights_in_several_files_must_all_be_there_and_no_others(folder: Path) -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / shards[0]).write_bytes(b"x")
    missing, unknown = folder_problems(folder)
    assert missing.startswith(f"{shards[1]}: missing")
    assert unknown.startswith("model.safetensors: not part of a model")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model_type": "marian"}, "config.json: model_type is 'marian'"),
        (
            {"auto_map": {"AutoConfig": "configuration_sineformer.SineformerConfig"}},
            "config.json: auto_map has no Auto",
        ),
    ],
)
def test_a_config_that_names_another_model_or_no_code_is_reported(folder: Path, changes: dict, problem: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert any(each.startswith(problem) for each in folder_problems(folder))


def test_a_card_with_other_languages_than_the_config_is_reported(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"source_language": "en", "target_language": "fr"}))
    problem = "README.md: the metadata have no language fr, but config.json does; make them agree"
    assert folder_problems(folder) == [problem]


def test_a_config_that_is_no_json_is_reported(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert folder_problems(folder)[0].startswith("config.json: not valid JSON")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("language: [en, de]", "language: [en, de", "README.md: the metadata are invalid: while parsing"),
        ("pipeline_tag: translation\n", "", "README.md: the metadata have no pipeline_tag"),
        ("model-index:", "index:", "README.md: the model-index has no results"),
        ("value: 12.5", "value: good", "README.md: model-index, result 1: the value of bleu is 'good', not a number"),
        ("value: 12.5", "value: .nan", "README.md: model-index, result 1: the value of bleu is nan, not a number"),
        ("name: the embedded task, ", "name: '', ", "README.md: model-index, result 1: no dataset name"),
        ("type: embedded, ", "", "README.md: the metadata are invalid"),
        ("{type: bleu, ", "{type: '', ", "README.md: model-index, result 1: no metric type"),
    ],
)
def test_an_incomplete_card_is_reported(folder: Path, old: str, new: str, problem: str) -> None:
    (folder / "model.safetensors").unlink()  # the card is checked even if the model is incomplete
    card = folder / "README.md"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))
    missing, found = folder_problems(folder)
    assert missing.startswith("model.safetensors: missing")
    assert found.startswith(problem)


@pytest.mark.slow
def test_code_with_other_logits_than_the_installed_package_is_reported(folder: Path) -> None:
    code = folder / "modeling_sineformer.py"
    head = "logits = project(self.lm_head, hidden)"
    assert head in code.read_text()
    code.write_text(code.read_text().replace(head, f"{head} * 1.5"))
    (problem,) = folder_problems(folder)
    assert "different logits" in problem


@pytest.mark.slow
def test_code_that_needs_the_package_is_reported(folder: Path) -> None:
    code = folder / "layers.py"
    code.write_text(f"{code.read_text()}\nfrom sineformer.modeling import attention\n")
    (problem,) = folder_problems(folder)
    assert problem.startswith("the folder does not load where Sineformer is not installed: ")
    assert "sineformer" in problem


def test_damaged_weights_are_reported(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")
    (problem,) = folder_problems(folder)
    assert problem.startswith("the folder does not load: ")


def test_files_that_loading_may_read_are_distinguished_from_others() -> None:
    ours = ("old.py", "model-00001-of-00002.safetensors", "target_tokenizer/tokenizer.json", "vocab.json")
    assert all(belongs_to_model(PurePosixPath(name)) for name in ours)
    assert not any(belongs_to_model(PurePosixPath(name)) for name in ("README.md", "picture.png", "data/vocab.json"))
