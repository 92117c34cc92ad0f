"""Read from the environment how `accelerate launch` started the run, and find unsupported settings.

Reads environment variables only, so that problems are found before Accelerate is set up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

from accelerate.utils import compare_versions, get_int_from_env

OLDEST_DEEPSPEED = "0.19.8"
_FSDP = "ACCELERATE_USE_FSDP"
_DEEPSPEED = "ACCELERATE_USE_DEEPSPEED"
_MEGATRON = "ACCELERATE_USE_MEGATRON_LM"
_DEEPSPEED_FILE = "ACCELERATE_DEEPSPEED_CONFIG_FILE"
_STAGE = "ACCELERATE_DEEPSPEED_ZERO_STAGE"
_OFFLOAD = ("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE")
# Launchers set the number of processes in one of these, which Accelerate reads too.
_PROCESSES = ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "WORLD_SIZE"]


def uses_fsdp() -> bool:
    """Return whether FSDP is to shard weights, gradients and moments over the processes (sharding.py)."""
    return _is_set(_FSDP)


def uses_deepspeed() -> bool:
    """Return whether DeepSpeed is to shard gradients and moments over the processes (zero.py)."""
    return _is_set(_DEEPSPEED)


def launch_problems() -> Iterator[str]:
    """Yield the settings of the launch that are unsupported, whatever the recipe; one line each."""
    if _is_set(_MEGATRON):
        yield "Megatron-LM is not supported; training/accelerate/fsdp2.yaml shards a model over processes"
    if uses_fsdp():
        yield from _fsdp_problems()
    if uses_deepspeed():
        yield from _deepspeed_problems()


def _fsdp_problems() -> Iterator[str]:
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        yield f"fsdp_version is {version}; it must be 2, as in training/accelerate/fsdp2.yaml"
    # A single process is enough if a launcher has started it: Accelerate prepares it as one of several.
    elif get_int_from_env(["LOCAL_RANK"], -1) < 0 and get_int_from_env(_PROCESSES, 1) == 1:
        yield "fsdp_version: 2 shards a model over processes, and there is only one; give --num_processes"


def _deepspeed_problems() -> Iterator[str]:
    if find_spec("deepspeed") is None or compare_versions("deepspeed", "<", OLDEST_DEEPSPEED):
        yield f"DeepSpeed {OLDEST_DEEPSPEED} or later is not installed; pip install 'deepspeed>={OLDEST_DEEPSPEED}'"
    if os.environ.get(_DEEPSPEED_FILE, "none") != "none":
        yield "deepspeed_config_file is not read; remove it, as in training/accelerate/zero2.yaml"
    stage = os.environ.get(_STAGE, "2")
    if stage != "2":
        yield f"zero_stage is {stage}; it must be 2. training/accelerate/fsdp2.yaml shards the weights, too"
    if any(os.environ.get(device, "none") != "none" for device in _OFFLOAD):
        yield "offload_optimizer_device and offload_param_device must be none"
    if get_int_from_env(["WORLD_SIZE"], 1) == 1:
        yield "zero_stage: 2 shards moments over processes, and there is only one; give --num_processes"


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() == "true"
