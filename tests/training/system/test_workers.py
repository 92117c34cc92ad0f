"""Test the pool of workers with real processes: order, errors, and that no worker is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sineformer.training.system.workers import ITEMS_AHEAD, WorkerError, WorkerPool

EVALUATE = partial(partial, eval)  # makes, in a worker, a function of an expression


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_results_have_the_order_of_the_items_whatever_they_take() -> None:
    items = [f"__import__('time').sleep({0.5 if number == 0 else 0}) or {number}" for number in range(9)]
    with WorkerPool(EVALUATE, 3) as pool:
        assert list(pool.map(items)) == list(range(9))
        assert list(pool.map([])) == []
        assert len(set(pool.map(["__import__('time').sleep(0.3) or __import__('os').getpid()"] * 3))) == 3


def test_items_are_read_only_when_a_worker_is_free() -> None:
    read: list[int] = []

    def items() -> Iterator[str]:
        for number in range(100):
            read.append(number)
            yield str(number)

    with WorkerPool(EVALUATE, 2) as pool:
        results = pool.map(items())
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert len(read) <= 2 + 2 * ITEMS_AHEAD


def test_an_error_of_the_function_is_raised_with_the_traceback_of_the_worker() -> None:
    with WorkerPool(EVALUATE, 2) as pool, pytest.raises(ZeroDivisionError) as caught:
        list(pool.map(["1", "1 / 0"]))
    assert 'File "<string>", line 1' in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("death", "message"),
    [("__import__('os').kill(__import__('os').getpid(), 9)", "by SIGKILL"), ("__import__('os')._exit(3)", "status 3")],
)
def test_a_worker_that_dies_is_an_error_that_says_how(death: str, message: str) -> None:
    with WorkerPool(EVALUATE, 2) as pool:
        processes = [worker.pid for worker in pool.workers.values()]
        with pytest.raises(WorkerError, match=rf"worker process \d+ of 2 ended .*{message}"):
            list(pool.map(["1", death, "2"]))
    assert not any(map(is_alive, processes))


def test_workers_end_with_the_process_that_started_them_even_if_it_is_killed() -> None:
    program = (
        "from functools import partial\n"
        "from sineformer.training.system.workers import WorkerPool\n"
        "pool = WorkerPool(partial(partial, eval), 2)\n"
        "print(*(worker.pid for worker in pool.workers.values()), flush=True)\n"
        "list(pool.map(['__import__(\"time\").sleep(0.1)'] * 10000))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = list(map(int, process.stdout.readline().split()))
        assert all(map(is_alive, workers))
        os.kill(process.pid, signal.SIGKILL)
    while any(map(is_alive, workers)):
        time.sleep(0.05)
