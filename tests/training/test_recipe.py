from pathlib import Path

import pytest

from sineformer.configuration.configuration_sineformer import SineformerConfig
from sineformer.training.arguments import CONCERNS
from sineformer.training.recipe import RecipeError, print_help, read_settings

RECIPES = Path(__file__).parents[2] / "training" / "recipes"


def problems(*argv: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read_settings([*argv])
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


@pytest.fixture
def enough(tmp_path: Path) -> list[str]:
    """Flags without which nothing runs."""
    return ["--output_dir", str(tmp_path / "out"), "--max_steps", "5"]


def recipe(folder: Path, text: str) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return ["--config", str(path)]


def test_flags_override_the_recipe_and_the_recipe_overrides_defaults(tmp_path: Path, enough: list[str]) -> None:
    config = recipe(tmp_path, "d_model: 64\nlearning_rate: 1e-3\ntrain_size: 7\nnormalize_before: true\n")
    settings = read_settings([*config, *enough, "--d_model", "128", "--train-size=9"])
    assert settings.model.d_model == 128
    assert settings.data.train_size == 9
    assert settings.model.normalize_before is True
    assert settings.optimisation.learning_rate == 1e-3  # which YAML alone would read as text
    assert settings.optimisation.warmup_steps == 4000


def test_model_defaults_are_those_of_the_configuration(enough: list[str]) -> None:
    fields = read_settings(enough).model.config_fields()
    config = SineformerConfig()
    assert {key: getattr(config, key) for key in fields} == fields


def test_every_key_belongs_to_one_concern_only() -> None:
    keys = [key for concern in CONCERNS.values() for key in concern.__dataclass_fields__]
    assert len(keys) == len(set(keys))


def test_lists_come_from_yaml_and_from_several_values(tmp_path: Path, enough: list[str]) -> None:
    for name in ("a.en", "a.de"):
        (tmp_path / name).write_text("x\n")
    config = recipe(tmp_path, f"dataset: files\ndata_dir: {tmp_path}\ntrain_files: [a.en, a.de]\n")
    settings = read_settings([*config, *enough, "--validation_files", "a.en", "a.de"])
    assert (
        settings.data.files_of("train")
        == settings.data.files_of("validation")
        == [tmp_path / "a.en", tmp_path / "a.de"]
    )


def test_null_unsets_what_may_be_missing_and_nothing_else(tmp_path: Path, enough: list[str]) -> None:
    config = recipe(tmp_path, "num_epochs: 3\npatience: null\n")
    assert read_settings([*config, *enough, "--num_epochs", "null"]).optimisation.num_epochs is None
    assert problems(*enough, "--seed", "null") == ["command line: seed: invalid int value: 'null'"]


def test_all_problems_are_reported_together_with_place_and_nearest_key(tmp_path: Path) -> None:
    config = recipe(
        tmp_path,
        "d_modl: 128\ndropout: lots\nmixed_precision: fp8\nlearning_rate: -1\nlabel_smoothing: 1.5\ntrain_files: [x]\n"
        "seed: 1\nseed: 2\n",
    )
    found = problems(*config, "--warmup_steps", "0", "--no_such_thing", "3", "--max_minutes", "soon")
    place = f"{tmp_path / 'recipe.yaml'}"
    expected = [
        f"{place}:1: unknown key 'd_modl'; did you mean 'd_model'?",
        f"{place}:2: dropout: invalid float value: 'lots'",
        f"{place}:3: mixed_precision: invalid choice: 'fp8'",
        f"{place}:8: seed is given twice",
        "command line: unknown key 'no_such_thing'",
        "command line: max_minutes: invalid float value: 'soon'",
        "learning_rate: must be a positive number, got -1.0",
        "label_smoothing: must be in [0, 1), got 1.5",
        "warmup_steps: must be at least 1, got 0",
        "train_files: only read with 'dataset: files'",
        "nothing says when to stop",
        "output_dir: say where the model goes",
    ]
    for text in expected:
        assert any(text in problem for problem in found), f"missing: {text}"
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--d_model", "30"], "`d_model` (30) is not divisible by `encoder_attention_heads`"),
        (["--activation_function", "rlu"], "activation_function: must be a name"),
        (["--dataset", "files"], "train_files: no files: cannot tell how to read this"),
        (["--source_column", "en"], "source_column, target_column: set both or neither"),
        (["--target_language", "fr"], "the embedded task goes from en to de"),
        (["--target_language", "en"], "both are 'en'"),
        (["--mixed_precision", "fp16", "--use_cpu"], "fp16 needs a GPU"),
        (["--max_tokens", "100"], "a sentence of max_length tokens must fit into a batch"),
        (["--d_model"], "d_model: expected one argument"),
        (["--d_model", "64", "32"], "d_model: takes one value, got 2: 64 32"),
        (["--eval_steps", "2.5"], "eval_steps: invalid int value: '2.5'"),
        (["--normalize_before", "perhaps"], "normalize_before: Truthy value expected"),
    ],
)
def test_settings_that_cannot_work_are_named(enough: list[str], flags: list[str], problem: str) -> None:
    found = problems(*enough, *flags)
    assert len(found) >= 1
    assert problem in " ".join(found)


def test_words_without_a_flag_are_a_problem(enough: list[str]) -> None:
    assert problems("fast", *enough) == ["command line: 'fast' belongs to no flag"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model:\n  d_model: 8\n", "recipe.yaml:1: model: recipes are flat"),
        ("- d_model\n", "a recipe is lines of 'key: value'"),
        ("d_model: [8\n", "not YAML"),
    ],
)
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problems(*recipe(tmp_path, text))[0]


def test_a_recipe_that_is_missing_or_not_utf8_is_named(tmp_path: Path) -> None:
    assert "--config: cannot read" in problems("--config", str(tmp_path / "none.yaml"))[0]
    (tmp_path / "latin.yaml").write_bytes(b"dataset: \xfc\n")
    assert "--config: cannot read" in problems("--config", str(tmp_path / "latin.yaml"))[0]


def test_an_empty_recipe_leaves_the_defaults(tmp_path: Path, enough: list[str]) -> None:
    assert read_settings([*recipe(tmp_path, "# nothing\n"), *enough]) == read_settings(enough)


def test_an_output_folder_in_use_is_refused_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    flags = ["--output_dir", str(tmp_path), "--max_steps", "1"]
    assert "is not empty" in problems(*flags)[0]
    assert "is a file" in problems("--output_dir", str(tmp_path / "thesis.txt"), "--max_steps", "1")[0]
    assert read_settings([*flags, "--overwrite_output_dir"]).run.overwrite_output_dir


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_package_is_valid(path: Path, tmp_path: Path) -> None:
    flags = ["--config", str(path), "--output_dir", str(tmp_path)]
    try:
        read_settings(flags)
    except RecipeError as error:
        # A checkout may lack the data; everything else has to fit.
        others = [problem for problem in error.problems if "no such file" not in problem]
        assert not others


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    print_help("train", "The end.")
    shown = capsys.readouterr().out
    for concern in CONCERNS.values():
        for key in concern.__dataclass_fields__:
            assert f"--{key}" in shown
