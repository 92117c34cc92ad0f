"""Test that all processes of a run end together when one fails."""

import signal
from pathlib import Path
from typing import Any

import pytest

LOST = "ends because another process of the run has ended; see the error of that process"


@pytest.mark.parametrize(
    ("rank", "way", "status", "message"),
    [
        (1, "raises", 1, "ValueError: a mistake of this process alone"),
        (0, "raises", 1, "ValueError: a mistake of this process alone"),
        (1, "no data", 1, "error: train.en: no such file on this machine"),
        (1, "killed", -signal.SIGKILL, ""),
        (0, "exits", 3, ""),
    ],
)
def test_a_failing_process_ends_the_other_with_one_line(
    runs: Any, tmp_path: Path, rank: int, way: str, status: int, message: str
) -> None:
    runs.start(tmp_path / "run", "--max_steps", "3", processes=2, failure=(rank, way))
    statuses = runs.end()
    log = runs.log.read_text()
    assert (statuses[rank], statuses[1 - rank]) == (status, 1), log
    assert log.count(f"process {1 - rank} {LOST}") == log.count(LOST) == 1
    assert message in log.partition(LOST)[0]
    assert log.count("Traceback") == (way == "raises")


def test_processes_with_different_data_do_not_begin(runs: Any, tmp_path: Path) -> None:
    runs.start(tmp_path / "run", "--max_steps", "3", processes=2, failure=(1, "other data"))
    assert runs.end() == [1, 1], runs.log.read_text()
    assert "error: the processes have different data or models: validation\n" in runs.log.read_text()
    assert not (tmp_path / "run").exists()


def test_an_error_of_the_main_process_ends_all_with_one_message(runs: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    runs.start(tmp_path, "--max_steps", "1", "--resume", processes=2)
    log = runs.log
    assert runs.end() == [1, 1], log.read_text()
    assert f"error: {tmp_path} holds files, but no run to resume" in log.read_text()
    assert LOST not in log.read_text()


def test_the_main_process_decides_whether_a_run_has_finished(runs: Any, tmp_path: Path) -> None:
    runs.start(tmp_path / "run", "--max_steps", "1", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    runs.start(tmp_path / "run", "--max_steps", "1", "--resume", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    assert runs.log.read_text().count("has finished") == 1
