"""Test the content of a profile."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from sineformer.training.monitoring.profiling import profiling
from sineformer.training.monitoring.run_log import Fill, RunLog, StepReport


def take_steps(folder: Path, first: int, last: int) -> torch.Tensor:
    """Take steps under the profiler, each with a matrix product; return the sum of the products."""
    accelerator = Accelerator(cpu=True)
    log = RunLog(accelerator, folder, 100, None, 1.0)
    log.latest = first - 1
    generator = torch.Generator().manual_seed(3)
    total = torch.zeros(4, 4)
    with profiling(accelerator, log, folder):
        for step in range(first, last + 1):
            total += torch.rand(4, 4, generator=generator) @ torch.rand(4, 4, generator=generator)
            log.step(step, 0.0, StepReport(1.0, 1.0, 1), Fill(1, 2), 0.1, 1.0)
    return total


def test_three_steps_after_the_first_ones_are_profiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take_steps(tmp_path, 1, 14)
    trace, table = tmp_path / "profile" / "steps-8-10.rank-0.json.gz", tmp_path / "profile" / "steps-8-10.rank-0.txt"
    assert {*tmp_path.joinpath("profile").iterdir()} == {trace, table}
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert len([event for event in events if event.get("name") == "aten::mm"]) == 3
    (row,) = [line for line in table.read_text().splitlines() if "aten::mm " in line]
    assert row.split()[-1] == "3"
    assert "profile of steps 8 to 10: " in capsys.readouterr().err


def test_a_resumed_run_profiles_its_own_first_steps(tmp_path: Path) -> None:
    take_steps(tmp_path, 41, 51)
    assert (tmp_path / "profile" / "steps-48-50.rank-0.txt").exists()


@pytest.mark.parametrize("last", [3, 6, 7])
def test_a_run_that_ends_earlier_reports_that_there_is_no_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], last: int
) -> None:
    take_steps(tmp_path, 1, last)
    assert not (tmp_path / "profile").exists()
    assert capsys.readouterr().err == "profile: none, because training ended before step 8\n"
