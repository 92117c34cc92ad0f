import re
from pathlib import Path

import pytest

from sineformer.configuration.configuration_sineformer import SineformerConfig
from sineformer.training.preflight import read_settings
from sineformer.training.settings.arguments import CONCERNS, keys_with
from sineformer.training.settings.facts import Fact
from sineformer.training.settings.recipe import RecipeError
from sineformer.training.train import main

RECIPES = Path(__file__).parents[3] / "training" / "recipes"

EMBEDDED = ["--dataset", "embedded"]
LANGUAGES = ["--source_language", "en", "--target_language", "de"]


def problems(*argv: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read_settings([*argv])
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


@pytest.fixture
def enough(tmp_path: Path) -> list[str]:
    """Return the required flags."""
    return [*EMBEDDED, "--output_dir", str(tmp_path / "out"), "--max_steps", "5"]


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
    assert settings.optimisation.label_smoothing == 0.1


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
    config = recipe(tmp_path, f"data_dir: {tmp_path}\ntrain_files: [a.en, a.de]\n")
    flags = [*enough[len(EMBEDDED) :], *LANGUAGES, "--validation_files", "a.en", "a.de"]
    settings = read_settings([*config, *flags])
    assert settings.data.dataset == "files"
    assert (
        settings.data.files_of("train")
        == settings.data.files_of("validation")
        == [tmp_path / "a.en", tmp_path / "a.de"]
    )


def test_null_unsets_optional_settings_only(tmp_path: Path, enough: list[str]) -> None:
    config = recipe(tmp_path, "num_epochs: 3\npatience: null\ntest_files:\nsave_minutes: NULL\n")
    assert read_settings([*config, *enough]).data.test_files == []
    assert read_settings([*config, *enough]).run.save_minutes is None
    assert read_settings([*config, *enough, "--num_epochs", "null"]).optimisation.num_epochs is None
    assert problems(*enough, "--seed", "null") == ["command line: seed: invalid int value: 'null'"]


def test_all_problems_are_reported_together_with_location_and_nearest_key(tmp_path: Path) -> None:
    config = recipe(
        tmp_path,
        "d_modl: 128\ndropout: lots\nmixed_precision: fp8\nlearning_rate: -1\nlabel_smoothing: 1.5\ntrain_files: [x]\n"
        "seed: 1\nseed: 2\n",
    )
    found = problems(*config, *EMBEDDED, "--warmup_steps", "0", "--no_such_thing", "3", "--max_minutes", "soon")
    location = f"{tmp_path / 'recipe.yaml'}"
    expected = [
        f"{location}:1: unknown key 'd_modl'; did you mean 'd_model'?",
        f"{location}:2: dropout: invalid float value: 'lots'",
        f"{location}:3: mixed_precision: invalid choice: 'fp8'",
        f"{location}:8: seed is given twice",
        "command line: unknown key 'no_such_thing'",
        "command line: max_minutes: invalid float value: 'soon'",
        "learning_rate: must be a positive number, got -1.0",
        "label_smoothing: must be in [0, 1), got 1.5",
        "warmup_steps: must be at least 1, got 0",
        "train_files: only read with 'dataset: files'",
        "training would never end",
        "output_dir: set the folder for the model",
    ]
    for text in expected:
        assert any(text in problem for problem in found), f"missing: {text}"
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--d_model", "30"], "`d_model` (30) is not divisible by `encoder_attention_heads`"),
        (["--activation_function", "rlu"], "activation_function: must be a name"),
        (["--source_column", "en"], "source_column, target_column: set both or neither"),
        (["--target_language", "fr"], "the embedded task goes from en to de"),
        (["--target_language", "en"], "both are 'en'"),
        (["--mixed_precision", "fp16", "--use_cpu"], "fp16 needs a GPU"),
        (["--max_tokens", "100"], "a sentence of max_length tokens must fit into a batch"),
        (["--d_model"], "d_model: expected one argument"),
        (["--d_model", "64", "32"], "d_model: takes one value, got 2: 64 32"),
        (["--eval_steps", "2.5"], "eval_steps: invalid int value: '2.5'"),
        (["--normalize_before", "perhaps"], "normalize_before: Truthy value expected"),
        (["--attn_implementation", "spda"], 'attn_implementation: Specified `attn_implementation="spda"` is not supp'),
        (["--source_column", "x", "--target_column", "x"], "source_column, target_column: both are 'x'"),
        (["--D_MODEL", "8"], "unknown key 'D_MODEL'; did you mean 'd_model'?"),
        (["--seed", "-1"], "seed: must not be negative, got -1"),
        (["--seed", "4294967296"], "seed: must be at most 2147483647, got 4294967296"),
        (["--vocab_size", "0"], "vocab_size: must be at least 1, got 0"),
        (["--num_epochs", "3.0"], "num_epochs: invalid int value: '3.0'"),
        (["--train_size", "0x10"], "train_size: invalid int value: '0x10'"),
        (["--patience", "1:30"], "patience: invalid int value: '1:30'"),
        (["--learning_rate", "nan"], "learning_rate: must be a positive number, got nan"),
        (["--learning_rate", ".nan"], "learning_rate: invalid float value: '.nan'"),
        (["--learning_rate", "1e999"], "learning_rate: must be a positive number, got inf"),
        (["--max_minutes", "inf"], "max_minutes: must be a positive number, got inf"),
        (["--length_penalty", "nan"], "length_penalty: must be a finite number, got nan"),
        (["--dropout", "nan"], "dropout: must be in [0, 1), got nan"),
        (["--dropout", "1"], "dropout: must be in [0, 1), got 1.0"),
        (["--learning_rate", "0"], "learning_rate: must be a positive number, got 0.0"),
        (["--max_unusable_share", "10"], "max_unusable_share: must be in [0, 1], got 10.0"),
        (["--bleu_tokenize", "moses"], "bleu_tokenize: 'moses' is not one of sacrebleu's tokenizers: none, zh, 13a"),
        (["--bpe_dropout", "1.1"], "bpe_dropout: must be in [0, 1], got 1.1"),
        (["--train_split", ""], "train_split: needs a value"),
        (["--train_split", "null"], "train_split: needs a value"),
        (["--data_dir", "a\0b"], "data_dir: contains U+0000, which is not text"),
        (["--dataset_name", "\udcff"], "dataset_name: contains U+DCFF, which is not text"),
        (["--seed", "9" * 5000], "[...] "),
    ],
)
def test_settings_that_cannot_work_are_named(enough: list[str], flags: list[str], problem: str) -> None:
    found = problems(*enough, *flags)
    assert len(found) >= 1
    assert problem in " ".join(found)


def test_data_follow_from_what_is_given_and_never_from_a_default(tmp_path: Path, enough: list[str]) -> None:
    flags = enough[len(EMBEDDED) :]
    choices = (
        "dataset: nothing says what to train on; give train_files and validation_files, the id of a dataset on the "
    )
    choices += "Hub as dataset, or 'dataset: embedded' for the embedded English-German task"
    assert problems(*flags) == [choices]
    assert "train_files: no files: the format is unknown" in problems(*flags, *LANGUAGES, "--dataset", "files")[0]
    given = problems(*flags, *LANGUAGES, "--dataset", "files")
    assert given[1] == "validation_files: give them, or hold pairs out of train_files with validation_size"
    assert problems(*flags, *LANGUAGES, "--validation_files", "none.en", "none.de")[0].startswith(
        "train_files: no files"
    )


@pytest.mark.parametrize("given", [[], LANGUAGES[:2], LANGUAGES[2:]])
def test_languages_that_are_not_given_are_warned_of(
    tmp_path: Path, enough: list[str], given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.src", "a.tgt"):
        (tmp_path / name).write_text("one\n")
    files = ["--train_files", "a.src", "a.tgt", "--validation_files", "a.src", "a.tgt", "--data_dir", str(tmp_path)]
    data = read_settings([*enough[len(EMBEDDED) :], *files, *given]).data
    assert None in (data.source_language, data.target_language)
    assert "source_language and target_language are not both given" in capsys.readouterr().err
    read_settings([*enough[len(EMBEDDED) :], *files, *LANGUAGES])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("given", [[], LANGUAGES[:2], LANGUAGES[2:]])
def test_columns_of_a_dataset_are_named_by_the_languages_or_by_settings(enough: list[str], given: list[str]) -> None:
    found = problems(*enough[len(EMBEDDED) :], "--dataset", "some/data", *given)
    assert [problem.partition(": give the codes of both")[0] for problem in found] == [
        "source_language, target_language"
    ]
    data = read_settings(enough).data
    assert (data.source_language, data.target_language) == ("en", "de")


def test_words_without_a_flag_are_a_problem(enough: list[str]) -> None:
    assert problems("fast", *enough) == ["command line: 'fast' does not follow a flag"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model:\n  d_model: 8\n", "recipe.yaml:1: model: recipes are flat"),
        ("just text", "a recipe is lines of 'key: value'"),
        ("d_model: 8\n---\nd_model: 8\n", "not YAML: expected a single document"),
        ("d_model:\t8\n\tseed: 1\n", "not YAML"),
        ("d_model: *unknown\n", "not YAML"),
        ("d_model: \0\n", "not YAML"),
        ("[" * 90_000, "nested too deep"),
        ("- " * 40_000, "nested too deep"),
        ("seed: 1\n" * 20_000, "over 100,000 bytes"),
        ("a: 1\n" * 1_001, "at most 1,000"),
        ("- d_model\n", "a recipe is lines of 'key: value'"),
        ("d_model: [8\n", "not YAML"),
    ],
)
def test_invalid_recipe_files_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problems(*recipe(tmp_path, text))[0]


def test_errors_inside_a_recipe_are_reported_with_all_others(tmp_path: Path, enough: list[str]) -> None:
    text = "model:\n  d_model: 8\n? [a, b]\n: 1\n'': 2\nsize: [[8]]\nseed: []\nself: &me [*me]\nuse_cpu: []\nsaed: 1\n"
    found = problems(*recipe(tmp_path, text), *enough)
    location = tmp_path / "recipe.yaml"
    assert sorted(found) == sorted(
        [
            f"{location}:1: model: recipes are flat: give one value or one list",
            f"{location}:3: a key is one word before a colon",
            f"{location}:5: a key is one word before a colon",
            f"{location}:6: size: recipes are flat: give one value or one list",
            f"{location}:7: seed: invalid int value: ''",
            f"{location}:8: self: recipes are flat: give one value or one list",
            next(each for each in found if each.startswith(f"{location}:9: use_cpu: Truthy value expected")),
            f"{location}:10: unknown key 'saed'; did you mean 'seed'?",
        ]
    )


def test_aliases_that_multiply_are_not_expanded(tmp_path: Path, enough: list[str]) -> None:
    laughs = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 40))
    found = problems(*recipe(tmp_path, f"l0: &l0 [ha]\n{laughs}"), *enough)
    assert len(found) == 40


@pytest.mark.parametrize("word", ["no", "'no'", "NO"])
def test_words_that_yaml_parses_as_other_types_stay_text(tmp_path: Path, enough: list[str], word: str) -> None:
    text = f"source_language: {word}\ntarget_language: 2024-01-01\nmixed_precision: no\ndataset: 017\ndata_dir: 1_000\n"
    settings = read_settings([*recipe(tmp_path, text), *enough[len(EMBEDDED) :]])
    assert settings.data.source_language == word.strip("'")
    assert (settings.data.target_language, settings.data.dataset) == ("2024-01-01", "017")
    assert (settings.optimisation.mixed_precision, settings.data.data_dir) == ("no", "1_000")


def test_an_error_in_the_architecture_is_reported_with_errors_in_other_keys(enough: list[str]) -> None:
    found = problems(*enough, "--d_model", "30", "--warmup_steps", "0")
    assert len(found) == 2


def test_an_output_folder_with_an_impossible_name_is_named(tmp_path: Path) -> None:
    assert (
        "cannot be written to"
        in problems(*EMBEDDED, "--output_dir", str(tmp_path / ("n" * 300)), "--max_steps", "1")[0]
    )
    (tmp_path / "file").write_text("x")
    assert (
        "cannot be written to"
        in problems(*EMBEDDED, "--output_dir", str(tmp_path / "file" / "out"), "--max_steps", "1")[0]
    )


def test_a_recipe_that_is_missing_or_not_utf8_is_named(tmp_path: Path) -> None:
    assert "--config: cannot read" in problems("--config", str(tmp_path / "none.yaml"))[0]
    (tmp_path / "latin.yaml").write_bytes(b"dataset: \xfc\n")
    assert "--config: cannot read" in problems("--config", str(tmp_path / "latin.yaml"))[0]


def test_an_empty_recipe_keeps_the_defaults(tmp_path: Path, enough: list[str]) -> None:
    assert read_settings([*recipe(tmp_path, "# nothing\n"), *enough]) == read_settings(enough)


def test_a_tilde_is_the_home_folder_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    for name in ("a.en", "a.de"):
        (tmp_path / "data" / name).write_text("x\n")
    text = "source_language: en\ntarget_language: de\n"
    text += "data_dir: ~/data\ntrain_files: [a.en, ~/data/a.de]\nvalidation_files: [~/data/a.en, a.de]\n"
    recipe(tmp_path, f"{text}cache_dir: ~/cache\noutput_dir: ~/run\nresume_from_checkpoint: ~/run/x\nmax_steps: 5\n")
    settings = read_settings(["--config=~/recipe.yaml"])
    assert settings.data.files_of("train") == [tmp_path / "data" / "a.en", tmp_path / "data" / "a.de"]
    assert settings.data.files_of("validation") == settings.data.files_of("train")
    assert settings.data.cache_dir == str(tmp_path / "cache")
    assert settings.run.output_dir == str(tmp_path / "run")
    assert settings.run.resume_from_checkpoint == str(tmp_path / "run" / "x")
    flags = ["--output_dir=~/run", "--max_steps=1"]
    found = problems("--model_name_or_path", "~/none", *flags)
    assert f"model_name_or_path: {tmp_path / 'none'} is neither" in found[0]
    assert read_settings(["--dataset=~/d", *LANGUAGES, *flags]).data.dataset == str(tmp_path / "d")


def test_every_setting_that_names_a_file_or_a_folder_is_known_as_a_path() -> None:
    fields = {key for concern in CONCERNS.values() for key in concern.__dataclass_fields__} - {"overwrite_output_dir"}
    named_so = {key for key in fields if key.endswith(("_dir", "_files", "_or_path", "_from_checkpoint"))}
    assert named_so <= {*keys_with(Fact.PATH)}


def test_an_output_folder_in_use_is_refused_unless_requested(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    flags = [*EMBEDDED, "--output_dir", str(tmp_path), "--max_steps", "1"]
    assert "is not empty" in problems(*flags)[0]
    assert "is a file" in problems(*EMBEDDED, "--output_dir", str(tmp_path / "thesis.txt"), "--max_steps", "1")[0]
    assert read_settings([*flags, "--overwrite_output_dir"]).run.overwrite_output_dir


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_package_is_valid(path: Path, tmp_path: Path) -> None:
    flags = ["--config", str(path), "--output_dir", str(tmp_path)]
    try:
        read_settings(flags)
    except RecipeError as error:
        # A checkout may lack the data, and recipes by size name none; everything else must be valid.
        lacking = ("no such file", "nothing says what to train on")
        others = [problem for problem in error.problems if not any(each in problem for each in lacking)]
        assert not others


KEYS = [key for concern in CONCERNS.values() for key in concern.__dataclass_fields__]


def test_help_all_names_every_setting_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help-all"]) == 0
    shown = capsys.readouterr().out
    assert [key for key in KEYS if f"--{key} " not in shown] == []
    assert max(map(len, shown.splitlines())) <= 80
    assert "the exit status is" in " ".join(shown.split()).lower()


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_short_and_has_what_one_needs_first(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "no-such.yaml", flag]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert len(lines) <= 80
    assert max(map(len, lines)) <= 80
    first = ["train_files", "source_language", "vocab_size", "d_model", "learning_rate", "num_epochs", "output_dir"]
    assert [key for key in first if f"--{key} " not in shown] == []
    assert "(default: 512)" in " ".join(shown.split())
    assert len(re.findall(r"^  --\w+", shown, re.MULTILINE)) < len(KEYS) / 2
    assert lines[-1].startswith("--help-all shows all settings")
