"""Test killed and resumed runs against an uninterrupted one."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest


def lines_in(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def half_written(output_dir: Path) -> set[Path]:
    """Return the checkpoints that are being written, or were when the run was killed."""
    try:
        return set((output_dir / "checkpoints").glob("*.writing"))
    except FileNotFoundError:  # the run has just removed the folder
        return set()


def kill(runs: Any, output_dir: Path, way: str, rng: random.Random) -> None:
    """Kill the run that was just started: while it starts, some steps later, or in the middle of a save."""
    log, already = output_dir / "metrics.jsonl", half_written(output_dir)
    if way == "start":
        time.sleep(rng.uniform(0, 1))
    elif way == "step":
        wanted = lines_in(log) + rng.randint(0, 2)
        runs.wait_until(lambda: lines_in(log) >= wanted)
        time.sleep(rng.uniform(0, 0.05))
    else:
        runs.wait_until(lambda: bool(half_written(output_dir) - already))
        time.sleep(rng.uniform(0, 0.02))
    runs.send(signal.SIGKILL)


def survive(runs: Any, output_dir: Path, ways: list[str], *flags: str, processes: int = 1) -> int:
    """Kill a run in all these ways, then let it end; return the number of interrupted saves."""
    rng, cut_off = random.Random(processes), 0
    for way in ways:
        runs.start(output_dir, "--resume", *flags, processes=processes)
        kill(runs, output_dir, way, rng)
        statuses = runs.end()
        assert -signal.SIGKILL in statuses, f"ended by itself, {statuses}:\n{runs.log.read_text()}"
        cut_off += way == "save" and bool(half_written(output_dir))
    runs.start(output_dir, "--resume", *flags, processes=processes)
    assert runs.end() == [0] * processes, runs.log.read_text()
    return cut_off


def test_a_run_killed_three_times_equals_an_uninterrupted_one(runs: Any, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, "--max_steps", "20")
    assert runs.end() == [0], runs.log.read_text()
    assert survive(runs, killed, ["save", "step", "save"], "--max_steps", "20") > 0
    runs.assert_same(killed, undisturbed)


def test_a_killed_fine_tuning_equals_an_uninterrupted_one(runs: Any, fine_tuning: list[str], tmp_path: Path) -> None:
    flags = ["--max_steps", "11", *fine_tuning]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, *flags)
    assert runs.end() == [0], runs.log.read_text()
    assert survive(runs, killed, ["save", "step"], *flags) > 0
    runs.assert_same(killed, undisturbed)
    for file in undisturbed.glob("adapter/*"):
        assert (killed / "adapter" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("average", "best"), [(["--average_checkpoints", "3"], "validation_mean"), (["--ema_decay", "0.9"], "validation")]
)
def test_a_run_killed_anywhere_at_its_end_equals_an_uninterrupted_one(
    runs: Any, average: list[str], best: str, tmp_path: Path
) -> None:
    # With so high a learning rate the mean of models, which no checkpoint knows of, is the best.
    flags = ["--max_steps", "12", "--eval_steps", "4", "--learning_rate", "0.5", "--warmup_steps", "4", *average]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, *flags)
    assert runs.end() == [0], runs.log.read_text()
    evaluations = [line for line in runs.metrics(undisturbed) if line["kind"].startswith("validation")]
    assert min(evaluations, key=lambda line: line["loss"])["kind"] == best
    for place in ("finish", "publish", "card", "end"):
        runs.start(killed, "--resume", *flags, failure=(0, f"killed at {place}"))
        assert runs.end() == [-signal.SIGKILL], f"{place}:\n{runs.log.read_text()}"
        assert "using the one before" not in runs.log.read_text(), "the last checkpoint is complete to the end"
    runs.start(killed, "--resume", *flags)
    assert runs.end() == [0], runs.log.read_text()
    runs.assert_same(killed, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_twenty_times_equals_an_uninterrupted_one(runs: Any, tmp_path: Path, processes: int) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, "--max_steps", "100", processes=processes)
    assert runs.end() == [0] * processes, runs.log.read_text()
    ways = ["start"] * 3 + ["step"] * 10 + ["save"] * 7
    random.Random(7).shuffle(ways)
    assert survive(runs, killed, ways, "--max_steps", "100", processes=processes) >= 3
    runs.assert_same(killed, undisturbed)


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_with_one_checkpoint(runs: Any, tmp_path: Path) -> None:
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    runs.start(undisturbed, "--max_steps", "40", processes=2)
    assert runs.end() == [0, 0]
    runs.start(stopped, "--max_steps", "40", processes=2)
    runs.wait_until(lambda: lines_in(stopped / "metrics.jsonl") >= 1)
    os.kill(runs.processes[1], signal.SIGTERM)
    assert runs.end() == [75, 75]
    assert runs.log.read_text().count("by a signal; continue with --resume") == 1
    runs.start(stopped, "--max_steps", "40", "--resume", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    runs.assert_same(stopped, undisturbed)


# All that draws at random.
DRAWN = [
    *("--encoder_layerdrop", "0.2", "--decoder_layerdrop", "0.2", "--activation_dropout", "0.1"),
    *("--word_dropout", "0.1"),
    *("--gradient_accumulation_steps", "2"),
]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_no_option_of_a_recipe_is_lost_with_a_process(
    runs: Any, every_option: list[str], tmp_path: Path, processes: int
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, *DRAWN, *every_option, processes=processes)
    assert runs.end() == [0] * processes, runs.log.read_text()
    assert [line["step"] for line in runs.metrics(undisturbed) if line["kind"] == "validation_mean"] == [25]
    assert {int(line["epoch"]) for line in runs.metrics(undisturbed) if line["kind"] == "train"} >= {0, 1}
    assert survive(runs, killed, ["save", "step", "save"], *DRAWN, *every_option, processes=processes) > 0
    runs.assert_same(killed, undisturbed)
