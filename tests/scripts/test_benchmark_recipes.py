"""Test that training accepts every variant, and that a variant differs from the recipe as its name says."""

from pathlib import Path

import pytest

from sineformer.scripts.benchmark_recipes import VARIANTS, flags_of
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
