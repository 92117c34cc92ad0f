"""Set up Accelerate, report errors of several processes, and end all processes of a run together.

A failing process prints its error and exits without a shutdown handshake. The others then fail in their next collective
call (over gloo at once, over NCCL when the launcher ends them); they wait before reporting, so that the launcher shows
the original error.
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
from .sharding import force_distributed_type
from .zero import ZeroAccelerator

# The others wait this long for the main process while it trains tokenizers, saves or publishes. A lost connection to
# another machine is noticed only after this time.
LONGEST_WAIT = timedelta(hours=2)
# Within this time after one process has failed, a launcher ends the others.
LAUNCHER_SECONDS = 10.0
# The same where the first process of the machine reports the same error.
SAME_ERROR_SECONDS = 2.0
# Within this time, the other machines see a file that one has written: network file systems cache that a file is
# missing, NFS up to a minute.
SHARED_DISK_SECONDS = 60.0

Result = TypeVar("Result")


class LaunchError(ValueError):
    """The processes cannot train together."""


def build_accelerator(mixed_precision: str, use_cpu: bool) -> Accelerator:
    """Return an accelerator with the device, precision and sharding (sharding.py, zero.py) of the run. The launch must
    have no problems (launch.py)."""
    options = {
        # Without it, Accelerate would not connect several processes on CPUs, and each would train alone.
        "cpu": use_cpu or not torch.accelerator.is_available(),
        "kwargs_handlers": [
            # The only buffers are position tables: constant, and larger in a process that has seen longer text.
            DistributedDataParallelKwargs(broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=LONGEST_WAIT),
        ],
    }
    if uses_deepspeed():
        return ZeroAccelerator(mixed_precision, **options)
    accelerator = Accelerator(mixed_precision=mixed_precision, **options)
    if uses_fsdp():
        _set_up_fsdp(accelerator)
    return accelerator


def _set_up_fsdp(accelerator: Accelerator) -> None:
    if accelerator.distributed_type == DistributedType.MULTI_CPU:
        force_distributed_type(accelerator, DistributedType.FSDP)
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    accelerator.state.fsdp_plugin.auto_wrap_policy = None  # sharding.py does it


def is_one_of_several() -> bool:
    """Return whether this process is one of several of a run."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def print_once(text: str) -> None:
    """Print a message that all processes have, in the first process only."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)


def print_error(text: str) -> None:
    """Print why this process ends. If all processes of a machine have the same error, a launcher shows it once."""
    if is_one_of_several():
        _note_for_launcher(text, time.time())
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(SAME_ERROR_SECONDS)
    print(text, file=sys.stderr, flush=True)


def print_unexpected_error(error: Exception) -> None:
    """Print why this process, one of several, ends after an error that is not one of ours."""
    if not _is_loss_of_another(error):
        print_error("".join(traceback.format_exception(error)).rstrip())
        return
    text = (
        f"process {os.environ.get('RANK')} ends because another process of the run has ended; see the error of that "
        f"process. --resume continues from the latest checkpoint ({str(error).partition('. ')[0]})"
    )
    if _has_launcher():
        _note_for_launcher(text, time.time() + LAUNCHER_SECONDS)
        time.sleep(LAUNCHER_SECONDS)  # it ends this process meanwhile, and reports the other
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


def end_process(status: int) -> int:
    """End this process if it is one of several; return the exit status otherwise.

    An ordinary exit closes connections by a handshake, which may wait forever for a process that has failed.
    """
    if is_one_of_several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def final_barrier() -> None:
    """Wait until all processes have finished; the main process exits last, since others may still need it."""
    state = PartialState()
    if state.num_processes == 1:
        return
    word = torch.zeros(1, device=state.device)
    if state.is_main_process:
        for rank in range(1, state.num_processes):
            torch.distributed.recv(word, src=rank)
    else:
        torch.distributed.send(word, dst=0)


def on_main_process(accelerator: Accelerator | PartialState, call: Callable[[], Result]) -> Result:
    """Call `call` on the main process and return its result on all, without a shared disk. A `CheckpointError` or
    `ValueError` of the call is raised on all."""
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
    """Check that all processes have the same data, without which they would wait for each other forever, and the same
    initial model.

    Raises:
        LaunchError: in all processes, naming the splits that differ.
    """
    all_digests: list[dict[str, str]] = gather_object([digests])
    differing = [name for name in digests if any(each[name] != digests[name] for each in all_digests)]
    if differing:
        raise LaunchError(f"the processes have different data or models: {', '.join(differing)}")


def check_same_disk(accelerator: Accelerator, file: Path) -> None:
    """Check that all processes see the files of the main process, where they read checkpoints and the best model.

    Raises:
        CheckpointError: in all processes, if some do not see `file`, which has been written.
    """
    deadline = time.monotonic() + SHARED_DISK_SECONDS
    while not file.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    missing = [rank for rank, seen in enumerate(gather_object([file.is_file()])) if not seen]
    if missing:
        raise CheckpointError(
            f"output_dir: processes {', '.join(map(str, missing))} do not see {file}, which process 0 has written; "
            "choose a folder on a disk that all machines share"
        )
