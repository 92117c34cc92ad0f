"""The gradient of a step, added up over micro-batches that fit into the memory of the device.

When memory runs out, every micro-batch is cut in two, from then on, and the step begins anew. Its loss is divided by
the target tokens of the whole step, so cuts change rounding and dropout, and nothing else.

Several processes need more care, since memory may run out in one of them alone. DistributedDataParallel adds up the
gradients of all processes while each computes its last micro-batch; one that fails there leaves the others waiting for
ever. So where the device can run out of memory, a step with larger batches than any before it goes another way:

    every process computes all its parts --> they tell each other whether all went well --> they add up

Where that is not enough, since memory runs out on a size that had fitted, or the model is distributed in another way
(FSDP, DeepSpeed), the process ends with an error that says so.
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
    """The memory of the device does not suffice, and smaller micro-batches cannot help."""


class Accumulation:
    """Adds up the gradient of a step over its micro-batches.

    Args:
        accelerator: of the run.
        model: as `accelerator.prepare` returned it.
        name_example: how error messages call an example of the training data.

    Attributes:
        parts: that each micro-batch is cut into; twice as many whenever memory runs out.
        careful: whether several processes add up apart where batches are larger than any before.
    """

    def __init__(self, accelerator: Accelerator, model: Any, name_example: Callable[[Any], str]) -> None:
        self.accelerator, self.model, self.name_example = accelerator, model, name_example
        self.parts = 1
        # A CPU that runs out of memory ends the process, whatever we do.
        self.careful = isinstance(model, DistributedDataParallel) and accelerator.device.type != "cpu"
        # Most positions of source and target that fitted; None before the first step, after which Adam has its moments.
        self.fitted: tuple[int, int] | None = None

    def go_on_with(self, parts: int) -> None:
        """Cut as before a stop. Not under FSDP or DeepSpeed, where all processes have to compute as many parts, and
        batches with few examples give fewer."""
        in_shares = self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
        self.parts = 1 if in_shares else parts

    def add_gradients(
        self, add_gradient: AddGradient, micro_batches: list[MicroBatch], target_tokens: int
    ) -> tuple[list[MicroBatch], list[torch.Tensor]]:
        """Add the gradient of a step, the mean over all processes, to that of the parameters.

        Args:
            add_gradient: adds the gradient of one micro-batch, given the target tokens of the step; returns its loss.
            micro_batches: of this process.
            target_tokens: real target tokens of the step in all micro-batches of all processes.

        Returns:
            The parts of the micro-batches that were computed at once, and the loss of each.

        Raises:
            MemoryShortageError: on all processes, if an example alone does not fit; on this process, if the others
                cannot be told to start the step again.
        """
        while True:
            parts = [part for batch in micro_batches for part in batch.split(self.parts)]
            apart, losses, too_large = self._go_apart(parts), [], None
            for index, part in enumerate(parts):
                adds_up = index == len(parts) - 1 and not apart
                try:
                    with contextlib.nullcontext() if adds_up else self.accelerator.no_sync(self.model):
                        losses.append(add_gradient(part, target_tokens))
                except RuntimeError as error:
                    self._check_shortage(error, part, apart)
                    too_large = part
                    break
            if not self._has_failed(too_large, apart):
                break
            self.parts *= 2
        if apart:
            self._add_up()
        self._note_size(parts)
        return parts, losses

    def _go_apart(self, parts: list[MicroBatch]) -> bool:
        if not self.careful:
            return False
        larger = self.fitted is None or any(a > b for a, b in zip(_size(parts), self.fitted, strict=True))
        return bool(self.accelerator.reduce(torch.tensor(int(larger), device=self.accelerator.device), reduction="sum"))

    def _check_shortage(self, error: RuntimeError, part: MicroBatch, apart: bool) -> None:
        """Raise the error unless memory ran out, and smaller parts can help."""
        if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
            raise error
        if not apart and self.accelerator.num_processes > 1:
            raise MemoryShortageError(
                f"process {self.accelerator.process_index} is out of memory on {_describe(part)}, where the other "
                "processes cannot begin the step anew. Go on with --resume, or in another output_dir with lower "
                "max_tokens and more gradient_accumulation_steps"
            ) from error

    def _has_failed(self, too_large: MicroBatch | None, apart: bool) -> bool:
        """Whether memory ran out in any process; the gradients are gone then, and the memory is free."""
        if too_large is not None:
            self.model.zero_grad()
            clear_device_cache(garbage_collection=True)
        mine = None if too_large is None else (too_large.examples, _describe(too_large))
        failures = [each for each in (gather_object([mine]) if apart else [mine]) if each is not None]
        for examples, description in failures:
            if len(examples) == 1:
                raise MemoryShortageError(
                    f"out of memory on one example alone, {self.name_example(examples[0])}: {description}. "
                    "A lower max_length, mixed_precision: bf16 or a smaller model may help."
                )
        if failures:
            self.model.zero_grad()
        return bool(failures)

    def _add_up(self) -> None:
        """As DistributedDataParallel does it."""
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                torch.distributed.all_reduce(parameter.grad.div_(self.accelerator.num_processes))

    def _note_size(self, parts: list[MicroBatch]) -> None:
        sources, targets = (0, 0) if self.fitted is None else map(max, self.fitted, _size(parts))
        self.fitted = sources, targets


def _size(parts: list[MicroBatch]) -> tuple[int, int]:
    """Most positions of source and of target."""
    return max(part.inputs["input_ids"].numel() for part in parts), max(part.inputs["labels"].numel() for part in parts)


def _describe(part: MicroBatch) -> str:
    examples, source = part.inputs["input_ids"].shape
    return f"{examples} x {source} source and {examples} x {part.inputs['labels'].shape[1]} target positions"
