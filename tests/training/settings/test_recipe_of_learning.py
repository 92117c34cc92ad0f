"""Test that invalid values and combinations of settings of learning are reported before anything starts."""

from pathlib import Path

import pytest

from sineformer.training.checkpoints.resume import _changes
from sineformer.training.preflight import read_settings
from sineformer.training.settings.recipe import RecipeError


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("--lr_scheduler_type cosine --max_minutes 5", "cosine ends at the last step; set max_steps or num_epochs"),
        ("--lr_scheduler_type linear --max_minutes 5", "linear ends at the last step; set max_steps or num_epochs"),
        (
            "--lr_scheduler_type cosine --max_steps 9 --warmup_steps 9",
            "warmup_steps: the warm-up of 9 steps does not end in a run of 9; set fewer",
        ),
        ("--lr_scheduler_type noam --max_steps 9", "learning_rate: with noam it is a factor to equation (3), 1 in"),
        ("--max_steps 9 --r_drop -1", "r_drop: must not be negative, got -1.0"),
        ("--max_steps 9 --r_drop 1 --simcut 3", "r_drop, simcut: both compare two passes"),
        ("--max_steps 9 --simcut 3 --simcut_p 0", "simcut_p: without it SimCut zeroes no token"),
        ("--max_steps 9 --simcut 3 --word_dropout 0.1", "simcut, word_dropout: SimCut compares with a pass over all"),
        ("--max_steps 9 --simcut_p 0.1", "simcut_p: only for SimCut; set simcut"),
        ("--max_steps 9 --word_dropout 1", "word_dropout: must be in [0, 1), got 1.0"),
        ("--max_steps 9 --shuffle_buffer 9", "shuffle_buffer: only for streaming; set streaming: true"),
        ("--max_steps 9 --lora_alpha 9", "lora_alpha: only for adapters; set lora_r"),
        ("--max_steps 9 --lora_target_modules fc1", "lora_target_modules: only for adapters; set lora_r"),
        ("--max_steps 9 --bpe_dropout 1.1", "bpe_dropout: must be in [0, 1], got 1.1"),
        (
            "--max_steps 9 --bpe_dropout 0.1 --streaming true --tokenizer_sample 5",
            "streaming, bpe_dropout: a stream is not kept to be segmented again",
        ),
        ("--max_steps 9 --ema_decay 1", "ema_decay: must be in [0, 1), got 1.0"),
        ("--max_steps 9 --average_checkpoints 0", "average_checkpoints: must be at least 1, got 0"),
        ("--max_steps 9 --encoder_layerdrop 1", "encoder_layerdrop: must be in [0, 1), got 1.0"),
        ("--max_steps 9 --decoder_layerdrop -0.5", "decoder_layerdrop: must be in [0, 1), got -0.5"),
    ],
)
def test_invalid_settings_are_reported(tmp_path: Path, flags: str, problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_settings(["--dataset", "embedded", "--output_dir", str(tmp_path / "out"), *flags.split()])
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


@pytest.mark.parametrize(
    "flags",
    [
        "--lr_scheduler_type cosine --num_epochs 2",
        "--lr_scheduler_type noam --learning_rate 1 --max_minutes 5",
        "--max_steps 9 --simcut 3 --simcut_p 0.1",
        "--max_steps 9 --r_drop 5 --word_dropout 0.1 --encoder_layerdrop 0.1 --decoder_layerdrop 0.1",
        "--max_steps 9 --bpe_dropout 1 --ema_decay 0.999 --average_checkpoints 5",
    ],
)
def test_valid_settings_are_accepted(tmp_path: Path, flags: str) -> None:
    read_settings(["--dataset", "embedded", "--output_dir", str(tmp_path / "out"), *flags.split()])


def test_a_resumed_run_must_average_the_same_models() -> None:
    now = {"eval_steps": 20, "average_checkpoints": 2, "lr_scheduler_type": "inverse_sqrt"}
    problem = "eval_steps: was 10, is 20; it selects the models of average_checkpoints"
    assert list(_changes({**now, "eval_steps": 10}, now)) == [problem]
    alone = {**now, "average_checkpoints": 1}
    assert list(_changes({**alone, "eval_steps": 10}, alone)) == []


@pytest.mark.parametrize("flags", [["--average_checkpoints", "2"], ["--ema_decay", "0.9"]])
def test_adapters_cannot_be_averaged(tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        read_settings(
            [
                "--dataset",
                "embedded",
                "--output_dir",
                str(tmp_path / "out"),
                "--max_steps",
                "9",
                "--lora_r",
                "4",
                *flags,
            ]
        )
    problem = "lora_r: averages of adapters are not those of the weights; remove ema_decay and average_checkpoints"
    assert problem in caught.value.problems
