"""Time several programs in turns, so that other work on the machine meets all of them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

Program = Callable[[], object]


def take_turns(programs: Mapping[str, Program], rounds: int, device: str = "cpu") -> dict[str, list[float]]:
    """Return the seconds of each program in each round, after a round of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            started = time.perf_counter()
            program()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Return the median over the rounds of their seconds divided by ours."""
    return statistics.median(first / second for first, second in zip(theirs, ours, strict=True))


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median with the smallest and the largest value, in words."""
    median, least, largest = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({least} to {largest})"


def describe_machine(device: str = "cpu", dtype: str = "fp32") -> str:
    """Return the machine and the versions, for a line above a table."""
    if device == "cuda":
        machine = torch.cuda.get_device_name()
    else:
        kind = torch.backends.cpu.get_cpu_capability()
        machine = f"{_processor()} ({kind}), {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{machine}, {dtype}; Python {platform.python_version()}, {', '.join(_versions())}"


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> list[str]:
    found = []
    for package in ("torch", "transformers", "ctranslate2", "onnxruntime"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
