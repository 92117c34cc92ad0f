"""Weights, gradients and moments in shares, one for each process (FSDP2), and whole again for what needs them whole.

A run shards itself, by layers, where Accelerate would also split what is used at both ends of the model: a weight tied
between them then belongs to two groups, which PyTorch refuses from 2.13 on and gives a wrong gradient before.
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


def insist_on(accelerator: Accelerator, kind: DistributedType) -> None:
    """Have Accelerate spread the model over processes on CPUs too, where it would pass over the request in silence."""
    # It makes the one state anew from the other whenever anybody asks for it.
    PartialState().distributed_type = accelerator.state.distributed_type = kind


def shard(model: Any, accelerator: Accelerator) -> None:
    """Leave each process its share of every weight, as the settings of Accelerate say; every process calls it."""
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


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor put together from its shares, if it is one in shares; every process calls it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_of(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The share of a whole tensor, the same in all processes, that this process has of a tensor `like` it."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


class WholeModel:
    """A model that computes without the other processes, whether the weights that learn are in shares or not.

    Processes translate different sentences, in different numbers of steps: with weights in shares they would wait for
    each other for ever.

    Args:
        model: the one that learns; spread over the processes here if Accelerate was told so. Otherwise it is its own
            whole, and no memory is spent.
        accelerator: of the run.
    """

    def __init__(self, model: Any, accelerator: Accelerator) -> None:
        self.model = self.twin = model
        if accelerator.is_fsdp2:
            self.twin = copy.deepcopy(model)
            shard(model, accelerator)

    @torch.no_grad()
    def up_to_date(self) -> Any:
        """The whole model with the weights of now; every process calls it."""
        if self.twin is not self.model:
            for mine, theirs in zip(self.twin.parameters(), self.model.parameters(), strict=True):
                mine.copy_(whole(theirs))
        return self.twin

    @torch.no_grad()
    def set_weights(self, load: Callable[[Any], None]) -> None:
        """Have `load` set the weights of the whole model, the same in all processes, and those that learn."""
        load(self.twin)
        if self.twin is not self.model:
            for mine, theirs in zip(self.twin.parameters(), self.model.parameters(), strict=True):
                theirs.copy_(share_of(mine, theirs))
