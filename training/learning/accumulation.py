"""Accumulate the gradient of a step over micro-batches that fit into the memory of the device.

When memory runs out, every micro-batch is split in two from then on, and the step is retried. The loss is divided by
the target tokens of the complete step, so splitting changes only rounding and dropout.

With several processes, memory may run out in one of them alone. DistributedDataParallel reduces gradients while each
process computes its last micro-batch; a process that fails there leaves the others waiting forever. So where the device
can run out of memory, a step with larger batches than any before is reduced manually:

    compute all splits in every process --> exchange whether all succeeded --> reduce the gradients

Where that is not enough, because memory runs out on a size that had fitted, or the model is distributed in another way
(FSDP, DeepSpeed), the process ends with an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch.nn.parallel import DistributedDataParallel

from ..data.batching import MicroBatch

# Adds the gradient of a micro-batch, given the target tokens of its step; returns the loss.
AddGradient = Callable[[MicroBatch, int], torch.Tensor]


class MemoryShortageError(RuntimeError):
    """The device has too little memory, and smaller micro-batches cannot help."""


class Accumulation:
    """Accumulate the gradient of a step over its micro-batches.

    Args:
        accelerator: of the run.
        model: as `accelerator.prepare` returned it.
        name_example: returns the name of a training example in error messages.

    Attributes:
        splits: into how many each micro-batch is split; doubled whenever memory runs out.
        manual_reduce: whether steps with larger batches than any before are reduced manually.
    """

    def __init__(self, accelerator: Accelerator, model: Any, name_example: Callable[[Any], str]) -> None:
        self.accelerator, self.model, self.name_example = accelerator, model, name_example
        self.splits = 1
        # On a CPU, the system ends a process that runs out of memory.
        self.manual_reduce = isinstance(model, DistributedDataParallel) and accelerator.device.type != "cpu"
        # Largest number of source and target positions that fitted; None before the first step, which allocates the
        # moments of Adam.
        self.fitted: tuple[int, int] | None = None

    def resume(self, splits: int) -> None:
        """Split as before a stop. Not under FSDP or DeepSpeed, where all processes must compute the same number of
        splits, but batches with few examples give fewer."""
        is_sharded = self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
        self.splits = 1 if is_sharded else splits

    def add_gradients(
        self, add_gradient: AddGradient, micro_batches: list[MicroBatch], target_tokens: int
    ) -> tuple[list[MicroBatch], list[torch.Tensor]]:
        """Add the gradient of a step, averaged over all processes, to that of the parameters.

        Args:
            add_gradient: adds the gradient of one micro-batch, given the target tokens of the step; returns its loss.
            micro_batches: of this process.
            target_tokens: real target tokens of the step in all micro-batches of all processes.

        Returns:
            The splits of the micro-batches, and the loss of each.

        Raises:
            MemoryShortageError: on all processes, if a single example does not fit; on this process, if the others
                cannot retry the step.
        """
        while True:
            splits = [split for batch in micro_batches for split in batch.split(self.splits)]
            manual, losses, too_large = self._reduces_manually(splits), [], None
            for index, split in enumerate(splits):
                syncs = index == len(splits) - 1 and not manual
                try:
                    with contextlib.nullcontext() if syncs else self.accelerator.no_sync(self.model):
                        losses.append(add_gradient(split, target_tokens))
                except RuntimeError as error:
                    self._check_shortage(error, split, manual)
                    too_large = split
                    break
            if not self._has_failed(too_large, manual):
                break
            self.splits *= 2
        if manual:
            self._reduce_gradients()
        self._note_size(splits)
        return splits, losses

    def _reduces_manually(self, splits: list[MicroBatch]) -> bool:
        if not self.manual_reduce:
            return False
        larger = self.fitted is None or any(a > b for a, b in zip(_size(splits), self.fitted, strict=True))
        return bool(self.accelerator.reduce(torch.tensor(int(larger), device=self.accelerator.device), reduction="sum"))

    def _check_shortage(self, error: RuntimeError, split: MicroBatch, manual: bool) -> None:
        """Raise the error unless memory ran out and smaller splits can help."""
        if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
            raise error
        if not manual and self.accelerator.num_processes > 1:
            raise MemoryShortageError(
                f"process {self.accelerator.process_index} is out of memory on {_describe(split)}, where the other "
                "processes cannot retry the step. Continue with --resume, or train in another output_dir with lower "
                "max_tokens and more gradient_accumulation_steps"
            ) from error

    def _has_failed(self, too_large: MicroBatch | None, manual: bool) -> bool:
        """Return whether memory ran out in any process; if so, gradients are cleared and memory is free."""
        if too_large is not None:
            self.model.zero_grad()
            clear_device_cache(garbage_collection=True)
        mine = None if too_large is None else (too_large.examples, _describe(too_large))
        failures = [each for each in (gather_object([mine]) if manual else [mine]) if each is not None]
        for examples, description in failures:
            if len(examples) == 1:
                raise MemoryShortageError(
                    f"out of memory on a single example, {self.name_example(examples[0])}: {description}. "
                    "A lower max_length, mixed_precision: bf16 or a smaller model may help."
                )
        if failures:
            self.model.zero_grad()
        return bool(failures)

    def _reduce_gradients(self) -> None:
        """Average the gradients over processes as DistributedDataParallel does."""
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                torch.distributed.all_reduce(parameter.grad.div_(self.accelerator.num_processes))

    def _note_size(self, splits: list[MicroBatch]) -> None:
        sources, targets = (0, 0) if self.fitted is None else map(max, self.fitted, _size(splits))
        self.fitted = sources, targets


def _size(splits: list[MicroBatch]) -> tuple[int, int]:
    """Return the largest number of source and of target positions."""
    return max(split.inputs["input_ids"].numel() for split in splits), max(
        split.inputs["labels"].numel() for split in splits
    )


def _describe(split: MicroBatch) -> str:
    examples, source = split.inputs["input_ids"].shape
    return f"{examples} x {source} source and {examples} x {split.inputs['labels'].shape[1]} target positions"
