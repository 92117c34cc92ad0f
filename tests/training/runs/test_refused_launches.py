"""Test recipes that do not work with the launch: nothing starts, and all problems are reported."""

from pathlib import Path
from typing import Any

import pytest

from sineformer.training.train import WRONG_SETTINGS

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}


@pytest.mark.parametrize(
    ("environment", "flags", "problems"),
    [
        (FSDP, ("--ema_decay", "0.9"), ["ema_decay, average_checkpoints: not with FSDP"]),
        (FSDP | {"FSDP_VERSION": "1"}, (), ["fsdp_version is 1; it must be 2"]),
        (
            DEEPSPEED,
            ("--ema_decay", "0.9", "--mixed_precision", "fp16"),
            [
                "zero_stage is 3; it must be 2",
                "ema_decay is not supported with DeepSpeed",
                "mixed_precision: fp16 is not supported with DeepSpeed",
            ],
        ),
    ],
)
def test_problems_of_the_launch_are_reported_with_all_others_before_anything_starts(
    runs: Any, tmp_path: Path, environment: dict[str, str], flags: tuple[str, ...], problems: list[str]
) -> None:
    runs.start(tmp_path / "run", "--warmup_steps", "0", *flags, processes=2, **environment)
    assert runs.end() == [WRONG_SETTINGS] * 2, runs.log.read_text()
    log = runs.log.read_text()
    assert "Traceback" not in log
    for problem in ["warmup_steps: must be at least 1, got 0", "training would never end", *problems]:
        assert f"  - {problem}" in log or f": {problem}" in log
    assert not (tmp_path / "run").exists()
