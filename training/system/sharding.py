"""Shard a model over the processes (FSDP2), and gather full weights for evaluation and checkpoints.

The model is sharded here, by layers, and not by Accelerate, whose groups would separate modules with tied weights: a
tied weight then belongs to two groups, which PyTorch refuses from 2.13 on and gives a wrong gradient before.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def force_distributed_type(accelerator: Accelerator, kind: DistributedType) -> None:
    """Have Accelerate distribute the model on CPUs too, where it would silently ignore the request."""
    # Each of the two states is set again from the other whenever it is read.
    PartialState().distributed_type = accelerator.state.distributed_type = kind


def shard(model: Any, accelerator: Accelerator) -> None:
    """Shard every weight over the processes, with the options of Accelerate; every process calls it."""
    plugin = accelerator.state.fsdp_plugin
    options = {
        "mesh": init_device_mesh(accelerator.device.type, (accelerator.num_processes,)),
        "reshard_after_forward": plugin.reshard_after_forward,
        "offload_policy": plugin.cpu_offload,
        "mp_policy": plugin.mixed_precision_policy or MixedPrecisionPolicy(),
    }
    for module in list(model.modules()):
        if type(module).__name__ in model._no_split_modules:
            fully_shard(module, **options)
    fully_shard(model, **options)


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return the unsharded tensor; every process calls it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_of(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return this process's shard of an unsharded tensor, equal in all processes, placed as the tensor `like`."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


class FullModel:
    """An unsharded copy of the model; the model itself if nothing is sharded.

    Processes translate different sentences, in different numbers of steps: with sharded weights they would wait for
    each other forever.

    Args:
        model: the one that is trained; sharded here if the launch asks for FSDP.
        accelerator: of the run.
    """

    def __init__(self, model: Any, accelerator: Accelerator) -> None:
        self.model = self.twin = model
        if accelerator.is_fsdp2:
            self.twin = copy.deepcopy(model)
            shard(model, accelerator)

    @torch.no_grad()
    def gather(self) -> Any:
        """Return the unsharded model with the current weights; every process calls it."""
        if self.twin is not self.model:
            for mine, theirs in zip(self.twin.parameters(), self.model.parameters(), strict=True):
                mine.copy_(full_tensor(theirs))
        return self.twin

    @torch.no_grad()
    def set_weights(self, load: Callable[[Any], None]) -> None:
        """Set the weights by calling `load` on the unsharded model, equally in all processes."""
        load(self.twin)
        if self.twin is not self.model:
            for mine, theirs in zip(self.twin.parameters(), self.model.parameters(), strict=True):
                theirs.copy_(shard_of(mine, theirs))
