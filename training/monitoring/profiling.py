"""Profile three training steps: write a trace (open it in ui.perfetto.dev) and a table of the slowest operators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProfileKwargs

from ..system.files import writing
from ..system.output_folder import PROFILE_FOLDER
from .run_log import RunLog

# Steps of this process: the first ones allocate memory and compile, and the profiler itself needs warm-up.
WAIT, WARMUP, ACTIVE = 5, 2, 3
OPERATORS = 20


@contextlib.contextmanager
def profiling(accelerator: Accelerator, log: RunLog, output_dir: Path) -> Iterator[None]:
    """Profile the eighth to the tenth step taken in this context, in every process; write into the folder `profile`.

    Raises:
        CheckpointError: the trace cannot be written.
    """
    first = log.latest + WAIT + WARMUP + 1
    folder = output_dir / PROFILE_FOLDER

    def write(profiler: torch.profiler.profile) -> None:
        if log.latest < first:
            return
        name = f"steps-{first}-{log.latest}.rank-{accelerator.process_index}"
        device = "cpu" if accelerator.device.type == "cpu" else "device"
        table = profiler.key_averages().table(f"self_{device}_time_total", OPERATORS, max_name_column_width=60)
        with writing(str(folder)):
            folder.mkdir(exist_ok=True)
            profiler.export_chrome_trace(str(folder / f"{name}.json.gz"))
            (folder / f"{name}.txt").write_text(f"{table}\n", encoding="utf-8")
        log.message(f"profile of steps {first} to {log.latest}: {folder / name}.txt and .json.gz")

    schedule = {"wait": WAIT, "warmup": WARMUP, "active": ACTIVE, "repeat": 1}
    with accelerator.profile(ProfileKwargs(schedule_option=schedule, on_trace_ready=write)) as profiler:
        log.after_step = profiler.step
        yield
    if log.latest < first:
        log.message(f"profile: none, because training ended before step {first}")
