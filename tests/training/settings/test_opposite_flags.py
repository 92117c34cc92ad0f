"""Test flags that set a boolean setting to false."""

from pathlib import Path

import pytest

from sineformer.training.preflight import read_settings
from sineformer.training.settings.arguments import CONCERNS
from sineformer.training.settings.recipe import RecipeError, print_help


@pytest.fixture
def enough(tmp_path: Path) -> list[str]:
    """Return the required flags."""
    return ["--dataset", "embedded", "--output_dir", str(tmp_path / "out"), "--max_steps", "5"]


@pytest.mark.parametrize("flag", ["--no_tie_word_embeddings", "--no-tie-word-embeddings"])
def test_an_opposite_flag_sets_false_and_overrides_the_recipe(tmp_path: Path, enough: list[str], flag: str) -> None:
    (tmp_path / "recipe.yaml").write_text("tie_word_embeddings: true\n")
    settings = read_settings(["--config", str(tmp_path / "recipe.yaml"), flag, *enough])
    assert settings.model.tie_word_embeddings is False
    assert settings.model.normalize_before is False
    assert read_settings(["--no_profile", *enough]).run.profile is False


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            ["--no_tie_word_embeddings", "true"],
            "unknown key 'no_tie_word_embeddings'; did you mean 'tie_word_embeddings'?",
        ),
        (["--no_tie_word_embeddings", "--tie_word_embeddings"], "tie_word_embeddings is given twice"),
        (["--no_d_model"], "unknown key 'no_d_model'"),
    ],
)
def test_a_contradictory_opposite_flag_is_one_error(enough: list[str], flags: list[str], problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_settings([*enough, *flags])
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


def test_help_is_grouped_with_one_spelling_and_the_default_of_each_setting(capsys: pytest.CaptureFixture[str]) -> None:
    print_help("train", "", complete=True)
    out = capsys.readouterr().out
    shown = " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert "--tie_word_embeddings true|false One matrix for embedding and output. (default: true)" in shown
    assert "--mixed_precision no|fp16|bf16" in shown
    assert "--save_minutes X" in shown
    assert "--no_KEY sets a boolean setting to false" in shown
    assert "--no_tie" not in shown
    assert "--d-model" not in shown
    titles = [line.rstrip(":") for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == list(CONCERNS)
