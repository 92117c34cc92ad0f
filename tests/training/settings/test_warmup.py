"""Test that the warm-up fits the run, and that one that does not end is found before the first step."""

from pathlib import Path

import pytest

from sineformer.training.checkpoints.resume import _changes
from sineformer.training.preflight import fit_to_fine_tuning, read_settings
from sineformer.training.settings.arguments import OptimisationArguments
from sineformer.training.settings.recipe import RecipeError
from sineformer.training.train import main


@pytest.mark.parametrize(
    ("given", "planned", "expected"),
    [
        ({}, None, 4000),
        ({}, 100_000, 4000),
        ({}, 4_000, 400),
        ({}, 1, 1),
        ({"warmup_steps": 7}, 4_000, 7),
        ({"warmup_ratio": 0.06}, 101, 7),
        ({"warmup_ratio": 0.0}, 101, 1),
    ],
)
def test_warmup_is_given_in_steps_or_as_a_fraction_or_fits_the_run(
    given: dict[str, float], planned: int | None, expected: int
) -> None:
    assert OptimisationArguments(**given).planned_warmup(planned) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            "--max_steps 9 --warmup_steps 9 --lr_scheduler_type linear",
            "warmup_steps: the warm-up of 9 steps does not end",
        ),
        (
            "--max_steps 9 --warmup_steps 3 --warmup_ratio 0.1",
            "warmup_steps, warmup_ratio: set one of them; the value null",
        ),
        ("--max_minutes 9 --warmup_ratio 0.1", "warmup_ratio: the length of the run is unknown; set max_steps, or use"),
        (
            "--num_epochs 9 --warmup_ratio 0.1 --streaming true --tokenizer_sample 9",
            "warmup_ratio: the length of the run is unknown; set max_steps, or use",
        ),
        ("--max_steps 9 --warmup_ratio 1", "warmup_ratio: must be in [0, 1), got 1.0"),
    ],
)
def test_impossible_warmup_is_reported(tmp_path: Path, flags: str, problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_settings(["--dataset", "embedded", "--output_dir", str(tmp_path / "out"), *flags.split()])
    assert [each[: len(problem)] for each in caught.value.problems] == [problem]


@pytest.mark.parametrize(
    "flags", ["--max_steps 9 --warmup_steps 10", "--max_steps 9 --warmup_steps null --warmup_ratio 0.5"]
)
def test_possible_warmup_is_accepted(tmp_path: Path, flags: str) -> None:
    read_settings(["--dataset", "embedded", "--output_dir", str(tmp_path / "out"), *flags.split()])


@pytest.mark.parametrize(("schedule", "status"), [("inverse_sqrt", 0), ("linear", 2), ("cosine", 2)])
def test_warmup_beyond_the_epochs_is_found_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schedule: str, status: int
) -> None:
    flags = "--train_size 40 --validation_size 3 --test_size 3 --vocab_size 320 --use_cpu --report_to none --d_model 16"
    flags += f" --max_tokens 400 --num_epochs 2 --warmup_steps 4000 --lr_scheduler_type {schedule} --num_beams 1"
    flags += " --max_length 32 --max_unusable_share 1 --encoder_layers 1 --decoder_layers 1"
    assert main([*flags.split(), "--dataset", "embedded", "--output_dir", str(tmp_path / "out")]) == status
    shown = capsys.readouterr().err
    assert "warmup_steps: the warm-up of 4000 steps does not end in a run of " in shown
    assert ("warning: warmup_steps" in shown) == (tmp_path / "out").exists() == (status == 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_steps": 9}, {"learning_rate": 1e-4}),
        ({"num_epochs": 9, "learning_rate": 1.0}, {"learning_rate": 1.0}),
        ({"num_epochs": 9, "streaming": True}, {"learning_rate": 1e-4, "warmup_steps": 100}),
        ({"max_minutes": 9.0, "warmup_steps": 5}, {"learning_rate": 1e-4, "warmup_steps": 5}),
        ({"max_steps": 9, "lr_scheduler_type": "noam"}, {}),
    ],
)
def test_fine_tuning_has_smaller_defaults(given: dict[str, object], expected: dict[str, object]) -> None:
    values = dict(given)
    fit_to_fine_tuning(values)
    assert values == given | expected


def test_a_warmup_that_depends_on_the_length_of_the_run_keeps_it_when_resumed() -> None:
    now = {"max_steps": 20, "warmup_steps": None, "lr_scheduler_type": "inverse_sqrt"}
    problem = "max_steps: was 10, is 20; the warm-up depends on it, as warmup_steps is not set"
    assert list(_changes({**now, "max_steps": 10}, now)) == [problem]
    fixed = {**now, "warmup_steps": 4}
    assert list(_changes({**fixed, "max_steps": 10}, fixed)) == []
