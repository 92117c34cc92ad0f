"""The training loop.

    for each step:  micro-batches --count target tokens over all processes--> forward, backward --> norm --> Adam

The loss of a step is the mean over all its target tokens, in whatever micro-batches and processes they are. Two things
would spoil that and are undone or avoided here: DistributedDataParallel averages gradients over processes, so the loss
is multiplied by their number; `Accelerator.backward` divides by the accumulation steps it was told of, so it is told
of none, and `no_sync` accumulates instead.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from .batching import IGNORED_LABEL, TokenBudgetBatchSampler
from .progress import RunLog, StepReport


class MicroBatch(NamedTuple):
    """What one process computes at once: which examples of the training data these are, and the model's inputs."""

    examples: list[int]
    inputs: dict[str, torch.Tensor]


class NonFiniteError(RuntimeError):
    """The loss or the gradient of a step is infinite or not a number; the weights are those before the step."""


@dataclass
class Limits:
    """When training ends and when it is interrupted for an evaluation; None: never for that reason."""

    max_steps: int | None = None
    num_epochs: int | None = None
    max_minutes: float | None = None
    eval_steps: int | None = None


@dataclass
class Learner:
    """What learns: the prepared model and its update rule.

    Attributes:
        accelerator: made without gradient accumulation of its own.
        model: as `accelerator.prepare` returned it.
        optimizer: as `accelerator.prepare` returned it.
        schedule: advanced once per step, whatever the number of processes.
        label_smoothing: of the training loss.
        max_grad_norm: gradients are scaled down to it; 0 for never.
        name_example: how error messages call an example of the training data.
        step: optimiser steps done.
    """

    accelerator: Accelerator
    model: Any
    optimizer: Any
    schedule: LRScheduler
    label_smoothing: float = 0.0
    max_grad_norm: float = 0.0
    name_example: Callable[[int], str] = str
    step: int = 0

    def update(self, micro_batches: list[MicroBatch], target_tokens: int) -> StepReport:
        """One optimiser step.

        Args:
            micro_batches: of this process.
            target_tokens: real target tokens of the step in all micro-batches of all processes.

        Raises:
            NonFiniteError: on all processes, before the step, if the loss or the gradient is not finite on any.
        """
        losses = []
        for index, batch in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                losses.append(self._backward(batch, target_tokens))
        loss = self.accelerator.reduce(torch.stack(losses).sum(), reduction="sum")
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.max_grad_norm or math.inf)
        loss_value, norm_value = torch.stack([loss, norm]).tolist()  # the one synchronisation of a step
        report = StepReport(loss_value, norm_value, target_tokens)
        self._check_finite(report, micro_batches, losses)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        return report

    def _backward(self, batch: MicroBatch, target_tokens: int) -> torch.Tensor:
        inputs = {key: value.to(self.accelerator.device) for key, value in batch.inputs.items()}
        loss = self.model(**inputs, num_items_in_batch=target_tokens, label_smoothing=self.label_smoothing).loss
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach().float()

    def _check_finite(self, report: StepReport, micro_batches: list[MicroBatch], losses: list[torch.Tensor]) -> None:
        # With fp16, gradients overflow now and then: the loss scaler skips that step and lowers the scale.
        scaled = self.accelerator.scaler is not None
        if math.isfinite(report.loss) and (scaled or math.isfinite(report.gradient_norm)):
            return
        self.optimizer.zero_grad()
        harmful = [
            batch.examples
            for batch, loss in zip(micro_batches, losses, strict=True)
            if not math.isfinite(loss.item()) or math.isfinite(report.loss)
        ]
        examples = sorted(itertools.chain(*gather_object(harmful)))
        shown = ", ".join(map(self.name_example, examples[:10])) + (", ..." if len(examples) > 10 else "")
        raise NonFiniteError(
            f"step {self.step + 1}: the loss is {report.loss}, the norm of the gradient {report.gradient_norm}. "
            f"{len(examples)} examples are in the batches concerned: {shown}. The weights are those before this step. "
            "A lower learning_rate, more warmup_steps, max_grad_norm: 1 or mixed_precision: no may help."
        )


def grouped(batches: Iterable[MicroBatch], size: int) -> Iterator[list[MicroBatch]]:
    """Lists of `size` batches; the last may be shorter."""
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, size)):
        yield group


class Trainer:
    """Takes steps over the data until a limit is reached.

    Args:
        learner: what learns.
        sampler: deals out the batches of this process; every process gets as many.
        loader: makes these batches.
        limits: when to stop and to evaluate.
        log: where steps are reported.
    """

    def __init__(
        self,
        learner: Learner,
        sampler: TokenBudgetBatchSampler,
        loader: DataLoader[Any],
        limits: Limits,
        log: RunLog,
    ) -> None:
        self.learner, self.sampler, self.loader, self.limits, self.log = learner, sampler, loader, limits, log
        self.finished = False
        self.started = time.monotonic()

    def run(self, evaluate: Callable[[int], bool]) -> None:
        """Train to the end.

        Args:
            evaluate: called with the number of steps done whenever an evaluation is due, and at the end unless it just
                was; training stops when it returns False.
        """
        self.started = time.monotonic()
        for step in self._until_evaluations():
            if not evaluate(step):
                return

    def _until_evaluations(self) -> Iterator[int]:
        evaluated_at = -1
        for epoch in itertools.count() if self.limits.num_epochs is None else range(self.limits.num_epochs):
            for step in self._steps_of(epoch):
                if self.limits.eval_steps is not None and step % self.limits.eval_steps == 0:
                    evaluated_at = step
                    yield step
            if self.finished:
                break
            if self.limits.eval_steps is None:
                evaluated_at = self.learner.step
                yield self.learner.step
        if evaluated_at != self.learner.step:
            yield self.learner.step

    def _steps_of(self, epoch: int) -> Iterator[int]:
        """Take the steps of an epoch, or of its part before a limit; yields the number of steps done after each."""
        self.sampler.set_epoch(epoch)
        micro_batches = itertools.starmap(MicroBatch, zip(self.sampler, self.loader, strict=True))
        started = time.monotonic()
        for index, group in enumerate(grouped(micro_batches, self.sampler.group // self.sampler.world_size)):
            target_tokens, self.finished = self._agree(group)
            if self.finished:
                return
            learning_rate = float(self.learner.schedule.get_last_lr()[0])
            report = self.learner.update(group, target_tokens)
            passed = epoch + (index + 1) / self.sampler.steps_per_epoch
            now = time.monotonic()
            self.log.step(self.learner.step, passed, report, learning_rate, now - started)
            self.finished = self.learner.step == self.limits.max_steps
            yield self.learner.step
            if self.finished:
                return
            started = time.monotonic()

    def _agree(self, group: list[MicroBatch]) -> tuple[int, bool]:
        """The target tokens of the step in all processes, and whether time is up for any of them."""
        minutes = (time.monotonic() - self.started) / 60
        time_is_up = self.limits.max_minutes is not None and minutes >= self.limits.max_minutes
        tokens = sum(int((batch.inputs["labels"] != IGNORED_LABEL).sum()) for batch in group)
        totals = torch.tensor([tokens, int(time_is_up)], device=self.learner.accelerator.device)
        all_tokens, late = self.learner.accelerator.reduce(totals, reduction="sum").tolist()
        return all_tokens, late > 0
