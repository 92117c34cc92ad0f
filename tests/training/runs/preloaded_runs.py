"""Start runs for tests as forks of a process that has imported everything, seconds faster than new processes.

    python preloaded_runs.py LOG [MODULE ...]

It reads requests, one JSON value a line, and answers each with a line:

    {"arguments": [...], "processes": 2, "examples": FILE}   starts a run; answers the ids of its processes
    {..., "failure": [1, "raises"]}                          the same; process 1 fails in a way of failing_run.py
    {"model": FOLDER, "processes": 2, "found": FILE}         measures a model; process 1 writes its scores to FILE.1
    "poll"                                                   answers their exit statuses, null for those that still run

Processes of a run write into LOG. Each adds a line to FILE for every step: step, rank, examples of its batches.
"""

import importlib
import json
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from failing_run import arrange_failure

from sineformer.training import run
from sineformer.training.data.batching import MicroBatch, Seq2SeqCollator
from sineformer.training.data.cleaning import CleaningReport
from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.encoding import encode_pairs
from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.evaluation import evaluator as evaluation
from sineformer.training.learning.learner import Learner
from sineformer.training.monitoring.run_log import StepReport
from sineformer.training.pretrained.loading import load_model
from sineformer.training.system.processes import final_barrier
from sineformer.training.train import main


def note_examples(file: str, rank: int) -> None:
    """Write the examples of every optimiser step to a file."""
    update = Learner.update

    def noted(self: Learner, micro_batches: list[MicroBatch], target_tokens: int) -> StepReport:
        report = update(self, micro_batches, target_tokens)
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps([self.step, rank, [batch.examples for batch in micro_batches]]) + "\n")
        return report

    Learner.update = noted  # type: ignore[method-assign]


def train(request: dict[str, Any], rank: int) -> int:
    """Run one process of a run."""
    os.environ |= request["environment"]
    note_examples(request["examples"], rank)
    if rank == request["failure"][0]:
        arrange_failure(request["failure"][1])
    return main(request["arguments"])


def measure(request: dict[str, Any], rank: int) -> int:
    """Run one of the processes that measure a model, on sets of several sizes."""
    evaluation.LOSS_POSITIONS = 60  # otherwise each set would be one batch
    model, tokenizers = load_model(Path(request["model"]), torch.float32)
    collator = Seq2SeqCollator(tokenizers.source.pad_token_id)
    evaluator = evaluation.Evaluator(Accelerator(cpu=True), tokenizers, collator, batch_size=4)
    found = []
    for size in (21, 13, 3, 1):
        sources, targets = (list(side) for side in zip(*load_split("test", size, seed=1), strict=True))
        text = ParallelText(sources, targets, ["embedded"] * size, list(range(size)))
        data = evaluation.EvaluationSet("test", text, encode_pairs(text, tokenizers, 100, CleaningReport()))
        for beams in (1, 2):
            scores, translations = evaluator.measure(model, data, beams)
            found.append((scores.as_record(), translations))
    Path(f"{request['found']}.{rank}").write_text(json.dumps(found), encoding="utf-8")
    final_barrier()
    return 0


def be_process(rank: int, port: int, request: dict[str, Any], log: int) -> NoReturn:
    """Run one process to its end, in a fork."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 99
    try:
        if request["processes"] > 1:
            size = str(request["processes"])
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        status = measure(request, rank) if "model" in request else train(request, rank)
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
    """Answer requests until the input ends."""
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
    for module in sys.argv[2:]:
        importlib.import_module(module)
    run.report = lambda accelerator, settings: None  # type: ignore[attr-defined]  # takes longer than these runs
    serve(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND))
