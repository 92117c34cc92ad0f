"""Every recipe of `training/recipes` is accepted with files of data, and trains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from sineformer.training.data.embedded_task import load_split
from sineformer.training.preflight import read_settings
from sineformer.training.train import main

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))
LARGE = ("base", "big", "paper_base")
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Return the flags of made-up pairs, and of an output folder."""
    for split, size in {"train": 60, "validation": 3}.items():
        rows = [f"{source}\t{target}\n" for source, target in load_split(split, size, seed=5)]
        (tmp_path / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")
    files = ["--dataset", "files", "--train_files", "train.tsv", "--validation_files", "validation.tsv"]
    languages = ["--source_language", "en", "--target_language", "de", "--test_files", "null", "--test_split", "null"]
    return [*files, *languages, "--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "run")]


@pytest.fixture
def own_precision() -> Iterator[None]:
    """Let a run choose its precision, which Accelerate fixes for a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@each_recipe
def test_a_recipe_is_accepted_with_files_of_data(recipe: Path, data: list[str]) -> None:
    settings = read_settings(["--config", str(recipe), *data])
    assert settings.data.dataset == "files"
    assert settings.optimisation.warmup_problem(settings.optimisation.max_steps) is None


@pytest.mark.slow
@each_recipe
@pytest.mark.usefixtures("own_precision")
def test_a_recipe_trains(recipe: Path, data: list[str], tmp_path: Path) -> None:
    # One layer of a large model is enough; its width, schedule, precision and accumulation are those of the recipe.
    layers = ["--encoder_layers", "1", "--decoder_layers", "1"] if recipe.stem in LARGE else []
    small = ["--vocab_size", "400", "--max_tokens", "300", "--max_steps", "2", "--warmup_steps", "1", "--use_cpu"]
    assert main(["--config", str(recipe), *data, *layers, *small, "--max_length", "60", "--report_to", "none"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 2
    assert (tmp_path / "run" / "model.safetensors").is_file()
