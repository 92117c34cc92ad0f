"""How several processes of one run end: together, whatever happens to one of them.

A process that fails says why and leaves without looking back. Its connections close with it, so the others fail in
what they share with it next: over gloo at once, over NCCL when the launcher ends them. They are not at fault and keep
back, so that the error of the first is what the launcher shows last.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
    InitProcessGroupKwargs,
    broadcast_object_list,
    gather_object,
)

from .files import CheckpointError
from .launch import uses_deepspeed, uses_fsdp
from .sharding import insist_on
from .zero import ZeroAccelerator

# The others wait as long for the main process while it trains tokenizers, saves or publishes. A machine that is cut off
# without a word is noticed only after it.
LONGEST_WAIT = timedelta(hours=2)
# In which a launcher ends what is left of a run after one process has failed.
LAUNCHER_SECONDS = 10.0
# In which it does so where the first process of the machine has the same error to tell.
SAME_ERROR_SECONDS = 2.0
# In which the others see a file that one machine has written: network file systems remember for a while what they have
# looked for in vain, NFS up to a minute.
SHARED_DISK_SECONDS = 60.0

Result = TypeVar("Result")


class LaunchError(ValueError):
    """The processes cannot train together."""


def build_accelerator(mixed_precision: str, use_cpu: bool) -> Accelerator:
    """Return where and in which precision the run computes, and what of it is sharded (sharding.py, zero.py), for a
    launch without problems (launch.py)."""
    options = {
        # Accelerate joins several processes on CPUs to one run only if told so; otherwise each would train alone.
        "cpu": use_cpu or not torch.accelerator.is_available(),
        "kwargs_handlers": [
            # The only buffers are tables of positions: constant, and larger in a process that has seen longer text.
            DistributedDataParallelKwargs(broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=LONGEST_WAIT),
        ],
    }
    if uses_deepspeed():
        return ZeroAccelerator(mixed_precision, **options)
    accelerator = Accelerator(mixed_precision=mixed_precision, **options)
    if uses_fsdp():
        _expect_shares(accelerator)
    return accelerator


def _expect_shares(accelerator: Accelerator) -> None:
    if accelerator.distributed_type == DistributedType.MULTI_CPU:
        insist_on(accelerator, DistributedType.FSDP)
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    accelerator.state.fsdp_plugin.auto_wrap_policy = None  # sharding.py does it


def is_one_of_several() -> bool:
    """Whether this process was started as one of several of a run."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def say_once(text: str) -> None:
    """Tell what every process of the run knows."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)


def say_error(text: str) -> None:
    """Tell why this process ends. One error that all processes of a machine meet is told once if a launcher watches."""
    if is_one_of_several():
        _note_for_launcher(text, time.time())
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(SAME_ERROR_SECONDS)
    print(text, file=sys.stderr, flush=True)


def say_unexpected_error(error: Exception) -> None:
    """Tell why this process, one of several, ends, by an error that has no message of its own."""
    if not _is_loss_of_another(error):
        say_error("".join(traceback.format_exception(error)).rstrip())
        return
    text = (
        f"process {os.environ.get('RANK')} ends because another process of the run has ended, whose own error tells "
        f"why; --resume goes on from the latest checkpoint ({str(error).partition('. ')[0]})"
    )
    if _has_launcher():
        _note_for_launcher(text, time.time() + LAUNCHER_SECONDS)
        time.sleep(LAUNCHER_SECONDS)  # it ends this process now, and reports the other
    print(text, file=sys.stderr, flush=True)


def _is_loss_of_another(error: Exception) -> bool:
    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)


def _has_launcher() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _note_for_launcher(text: str, seconds: float) -> None:
    """Write the error and its time where `torchrun` and `accelerate launch` look for them (torch.distributed.elastic,
    "Error Propagation"): they report the first error of all processes as the cause."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file is not None:
        report = {"message": text, "extraInfo": {"py_callstack": text, "timestamp": str(int(seconds))}}
        with open(file, "w", encoding="utf-8") as stream:
            json.dump({"message": report}, stream)


def leave(status: int) -> int:
    """End this process if it is one of several; returns the exit status otherwise.

    An ordinary exit takes connections down in good order and may wait, for ever, for a process that has failed.
    """
    if is_one_of_several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def part() -> None:
    """Let all processes of a run that has come to its end leave together, the main one last: none that still waits for
    something of it finds it gone."""
    state = PartialState()
    if state.num_processes == 1:
        return
    word = torch.zeros(1, device=state.device)
    if state.is_main_process:
        for rank in range(1, state.num_processes):
            torch.distributed.recv(word, src=rank)
    else:
        torch.distributed.send(word, dst=0)


def on_main_process(accelerator: Accelerator, call: Callable[[], Result]) -> Result:
    """Return on all processes what `call` returns on the main one, without need of a common disk. An error of that call
    that says what is wrong, a `CheckpointError` or `ValueError`, is raised on all."""
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = call()
        except (CheckpointError, ValueError) as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: Result = outcome[0]
    return result


def check_same_data(accelerator: Accelerator, digests: dict[str, str]) -> None:
    """Make sure that all processes have the same data, or they would wait for each other's batches for ever, and begin
    from the same model.

    Raises:
        LaunchError: in all of them, naming what differs.
    """
    all_digests: list[dict[str, str]] = gather_object([digests])
    differing = [name for name in digests if any(each[name] != digests[name] for each in all_digests)]
    if differing:
        raise LaunchError(f"the processes do not have the same data or model; what differs: {', '.join(differing)}")


def check_same_disk(accelerator: Accelerator, file: Path) -> None:
    """Make sure that all processes see what the main one writes: they read checkpoints and the best model there.

    Raises:
        CheckpointError: in all of them, if `file`, which is written, is not there for some.
    """
    deadline = time.monotonic() + SHARED_DISK_SECONDS
    while not file.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    missing = [rank for rank, seen in enumerate(gather_object([file.is_file()])) if not seen]
    if missing:
        raise CheckpointError(
            f"output_dir: processes {', '.join(map(str, missing))} do not see {file}, which process 0 has written; "
            "give a folder on a disk that all machines share"
        )
