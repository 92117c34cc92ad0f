"""A program for tests: it has imported everything and starts runs as forks of itself, seconds faster than afresh.

    python preloaded_runs.py LOG

It reads requests, one JSON value a line, and answers each with a line:

    {"arguments": [...], "processes": 2, "examples": FILE}   starts a run; answers the ids of its processes
    {..., "failure": [1, "raises"]}                          the same; process 1 fails in a way of failing_run.py
    "poll"                                                   answers their exit statuses, null for those that still run

Processes of a run write into LOG. Each adds a line to FILE for every step: step, rank, examples of its batches.
"""

import json
import os
import socket
import sys
import traceback
from typing import Any, NoReturn

from failing_run import arrange_failure

from sineformer.training import run
from sineformer.training.evaluation import score_translations
from sineformer.training.loop import Learner, MicroBatch
from sineformer.training.progress import StepReport
from sineformer.training.train import main


def note_examples(file: str, rank: int) -> None:
    """Have every optimiser step leave its examples in a file."""
    update = Learner.update

    def noted(self: Learner, micro_batches: list[MicroBatch], target_tokens: int) -> StepReport:
        report = update(self, micro_batches, target_tokens)
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps([self.step, rank, [batch.examples for batch in micro_batches]]) + "\n")
        return report

    Learner.update = noted  # type: ignore[method-assign]


def be_process(rank: int, port: int, request: dict[str, Any], log: int) -> NoReturn:
    """What a fork does: one process of a run, to its end."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 99
    try:
        if request["processes"] > 1:
            size = str(request["processes"])
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        os.environ |= request["environment"]
        note_examples(request["examples"], rank)
        if rank == request["failure"][0]:
            arrange_failure(request["failure"][1])
        status = main(request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start(request: dict[str, Any], log: int) -> list[int]:
    """Fork the processes of a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(request["processes"]):
        process = os.fork()
        if process == 0:
            be_process(rank, port, request, log)
        processes.append(process)
    return processes


def serve(log: int) -> None:
    """Answer requests until there are none."""
    statuses: dict[int, int | None] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request == "poll":
            for process in [each for each, status in statuses.items() if status is None]:
                ended, status = os.waitpid(process, os.WNOHANG)
                statuses[process] = os.waitstatus_to_exitcode(status) if ended else None
            answer: list[Any] = list(statuses.values())
        else:
            statuses = dict.fromkeys(start(request, log))
            answer = list(statuses)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    score_translations(["a"], ["a"])  # loads the metrics
    run.write_run_report = lambda folder: folder  # type: ignore[attr-defined]  # takes longer than these runs
    serve(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND))
