"""Run every benchmark with `--quick`, and test the variants of recipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sineformer.scripts.benchmark import BENCHMARKS
from sineformer.scripts.benchmarks.recipes import VARIANTS, flags_of
from sineformer.training.preflight import read_settings


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_only_its_own_settings(name: str, tmp_path: Path) -> None:
    flags = [word for pair in flags_of(name, 500).items() for word in pair]
    rest = ["--dataset", "embedded", "--warmup_steps", "100", "--output_dir", str(tmp_path / "out")]
    changed = read_settings([*flags, *rest]).as_dict()
    base = read_settings([word for pair in flags_of("the recipe", 500).items() for word in pair] + rest).as_dict()
    differing = {key for key, value in changed.items() if value != base[key]}
    assert bool(differing) == (name != "the recipe")
    assert differing <= {word.removeprefix("--") for word in VARIANTS[name].split()} | {"eval_steps"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sineformer.scripts.benchmark", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("train", "| Sineformer | 2,349,056 |"),
        ("memory", "| MarianMTModel |"),
        ("startup", "| MarianMTModel |"),
        ("scaling", "| translation, 4 sentences, 5 beams |"),
        ("corpora", "| streaming | 1,000 |"),
        ("int8", "int8"),
    ],
)
def test_a_benchmark_prints_its_table(
    name: str, row: str, make_model_folder: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    model = ["--model", make_model_folder(tmp_path / "model", 1)] if name == "int8" else []
    done = run(name, *model, "--quick")
    assert done.returncode == 0, done.stderr
    assert row in done.stdout


@pytest.mark.slow
def test_searches_are_compared_on_the_same_sentences(
    make_model_folder: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("a b c\nb\n" * 5)
    done = run("translate", "--model", make_model_folder(tmp_path / "model", 1), "--data", tmp_path / "text", "--quick")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("of 10 |") == 4
    for export in ("CTranslate2 fp32", "CTranslate2 int8", "ONNX"):
        assert done.stdout.count(f"| {export}") >= 3, "twice in seconds, once in MB"


def test_help_names_every_benchmark() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"benchmark.py {name} " in done.stdout for name in BENCHMARKS)
    assert run().returncode == 2
    assert "invalid choice" in run("speed").stderr
    assert "rows is not one of lengths, vocabularies, batches" in run("scaling", "rows").stderr
