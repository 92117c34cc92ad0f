"""Apply a function to a stream of items in several processes of this machine, and yield the results in order.

A worker ends when its pipe closes, so none outlives this process, not even after `kill -9`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

Function = Callable[[Any], Any]


ITEMS_AHEAD = 4  # for each worker: a slow item keeps the others busy for some time, and does not fill the memory


class WorkerError(RuntimeError):
    """A worker process ended unexpectedly, or failed with the error whose traceback is the message."""


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerPool:
    """Several processes with the same function; as a context, it ends them.

    Args:
        make: called in each worker, returns the function. It is pickled, as are items, results and errors.
        count: number of workers.
    """

    def __init__(self, make: Callable[[], Function], count: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may wait forever
        self.workers: dict[Connection, Any] = {}
        resource_tracker.ensure_running()  # the first worker would start it, and that unblocks SIGINT
        # Workers keep ignoring Ctrl-C, which a terminal sends to them too; this process ends them.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(count):
                ours, theirs = context.Pipe()
                worker = context.Process(target=_work, args=(make, theirs), daemon=True)
                self.workers[ours] = worker
                worker.start()
                theirs.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for connection, worker in self.workers.items():
            connection.close()
            worker.terminate()
        for worker in self.workers.values():
            worker.join()

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the result of each item, in order; an item is read when a worker is free, and at most `ITEMS_AHEAD`
        items for each worker beyond the last result.

        Raises:
            WorkerError: a worker ended unexpectedly. An error of the function is raised as it is.
        """
        waiting, read, ahead = iter(items), 0, ITEMS_AHEAD * len(self.workers)
        idle, busy, results = list(self.workers), dict[Connection, int](), dict[int, Any]()
        following = 0
        while True:
            while following in results:  # before reading items, which may have to wait for them
                yield results.pop(following)
                following += 1
            for item in islice(waiting, min(len(idle), following + ahead - read)):
                connection = idle.pop()
                busy[connection] = read
                read += 1
                with self._watching(connection):
                    connection.send(item)
            if not busy:
                return
            for ready in wait(list(busy)):
                connection = next(each for each in busy if each is ready)
                with self._watching(connection):
                    answer = connection.recv()
                results[busy.pop(connection)] = _result(*answer)
                idle.append(connection)

    @contextlib.contextmanager
    def _watching(self, connection: Connection) -> Iterator[None]:
        """Raise a `WorkerError` if the other end of the pipe is closed."""
        try:
            yield
        except (EOFError, ConnectionError) as error:
            worker = self.workers[connection]
            worker.join()
            status = worker.exitcode
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            raise WorkerError(f"worker process {worker.pid} of {len(self.workers)} ended {how}") from error


def _result(result: Any, error: Exception | None, trace: str) -> Any:
    if error is not None:
        raise error from WorkerError(trace)
    return result


def _work(make: Callable[[], Function], connection: Connection) -> None:
    """Answer each item with its result, or with an error and its traceback."""
    function: Function | None = None
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            item = connection.recv()
            answer: tuple[Any, Exception | None, str]
            try:
                function = function or make()
                answer = function(item), None, ""
            except Exception as error:
                answer = None, error, traceback.format_exc()
            connection.send(answer)
