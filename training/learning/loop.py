"""The training loop.

    for each step:  micro-batches --count target tokens over all processes--> forward, backward --> norm --> Adam

The loss of a step is the mean over all its target tokens, in whatever micro-batches and processes they are. Two things
would spoil that and are undone or avoided here: DistributedDataParallel averages gradients over processes, so the loss
is multiplied by their number; `Accelerator.backward` divides by the accumulation steps it was told of, so it is told
of none, and `no_sync` accumulates instead (accumulation.py, which also mends a shortage of memory).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from ...modeling.loss import IGNORED
from ..data.batching import MicroBatch, TokenBudgetBatchSampler
from ..data.streaming import StreamedBatches
from ..monitoring.run_log import Fill, RunLog, Skipped, StepReport
from ..system.sharding import whole
from ..system.signals import Stopped
from .accumulation import Accumulation
from .r_drop import twice
from .skipped_steps import Skips


@dataclass
class Limits:
    """When training ends and when it pauses for an evaluation or a checkpoint; None: never for that reason."""

    max_steps: int | None = None
    num_epochs: int | None = None
    max_minutes: float | None = None
    eval_steps: int | None = None
    save_steps: int | None = None
    save_minutes: float | None = None


@dataclass
class Position:
    """How far a run is.

    Attributes:
        epoch: the one under way, from 0.
        steps: done in this epoch.
        evaluated_at: optimiser steps that were done at the last evaluation; -1 before the first.
    """

    epoch: int = 0
    steps: int = 0
    evaluated_at: int = -1


class Agreement(NamedTuple):
    """What all processes know alike before a step: its target tokens and its positions in all of them, and whether any
    of them is out of time, wants a checkpoint or was asked to stop."""

    target_tokens: int
    fill: Fill
    late: bool
    save: bool
    stop: bool


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
        r_drop: weight of the consistency of two passes (r_drop.py); 0 for one pass.
        name_example: how error messages call an example of the training data.
        step: optimiser steps done, skipped ones included.
        skips: the steps that were skipped.
        accumulation: how the gradient of a step comes about.
    """

    accelerator: Accelerator
    model: Any
    optimizer: Any
    schedule: LRScheduler
    label_smoothing: float = 0.0
    max_grad_norm: float = 0.0
    r_drop: float = 0.0
    name_example: Callable[[Any], str] = str
    step: int = 0
    skips: Skips = field(default_factory=Skips)
    accumulation: Accumulation = field(init=False)

    def __post_init__(self) -> None:
        self.accumulation = Accumulation(self.accelerator, self.model, self._backward, self.name_example)

    def update(self, micro_batches: list[MicroBatch], target_tokens: int) -> StepReport:
        """One optimiser step, or none where the loss or the gradient is not finite in any process.

        Args:
            micro_batches: of this process.
            target_tokens: real target tokens of the step in all micro-batches of all processes.

        Raises:
            MemoryShortageError: memory does not suffice for the smallest micro-batches.
        """
        cuts = self.accumulation.parts
        parts, losses = self.accumulation.add_gradients(micro_batches, target_tokens)
        loss = self.accelerator.reduce(torch.stack(losses).sum(), reduction="sum")
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.max_grad_norm or math.inf)
        loss_value, norm_value = torch.stack([loss, whole(norm)]).tolist()  # the one synchronisation of a step
        report = StepReport(loss_value, norm_value, target_tokens)
        if self.accumulation.parts > cuts:
            report.parts = self.accumulation.parts
        if self._is_finite(report):
            self.optimizer.step()
            if math.isfinite(report.gradient_norm):
                self.skips.in_a_row = 0
        else:
            report.skipped = self._skip(report, parts, losses)
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        return report

    def _backward(self, batch: MicroBatch, target_tokens: int) -> torch.Tensor:
        inputs = {key: value.to(self.accelerator.device) for key, value in batch.inputs.items()}
        options = {"label_smoothing": self.label_smoothing}
        if self.r_drop:
            inputs, options["r_drop"] = twice(inputs), self.r_drop
        loss = self.model(**inputs, num_items_in_batch=target_tokens, **options).loss
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach().float()

    def _is_finite(self, report: StepReport) -> bool:
        if math.isfinite(report.gradient_norm):
            return math.isfinite(report.loss)
        # With fp16, gradients overflow now and then: the loss scaler skips that step and lowers the scale. Where it has
        # come below 1, it is not the scale that makes them overflow.
        scaler = self.accelerator.scaler
        return math.isfinite(report.loss) and scaler is not None and scaler.get_scale() >= 1

    def _skip(self, report: StepReport, parts: list[MicroBatch], losses: list[torch.Tensor]) -> Skipped:
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.update()  # it waits for one after gradients were looked at
        harmful = [
            part.examples
            for part, loss in zip(parts, losses, strict=True)
            if not math.isfinite(loss.item()) or math.isfinite(report.loss)
        ]
        examples = sorted(itertools.chain(*gather_object(harmful)))
        shares = (each.to_local() if isinstance(each, DTensor) else each for each in self.model.parameters())
        finite_weights = all(gather_object([all(bool(share.isfinite().all()) for share in shares)]))
        self.skips.in_a_row += 1
        self.skips.total += 1
        counts = self.skips.in_a_row, self.skips.total
        return Skipped(
            report.loss, report.gradient_norm, [self.name_example(each) for each in examples], *counts, finite_weights
        )


def grouped(batches: Iterable[MicroBatch], size: int) -> Iterator[list[MicroBatch]]:
    """Lists of `size` batches; the last may be shorter."""
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, size)):
        yield group


class Trainer:
    """Takes steps over the data, from a position until a limit is reached.

    Args:
        learner: what learns.
        sampler: deals out the batches of this process; every process gets as many.
        loader: makes these batches. It must draw from no generator that the model's dropout draws from: a run that goes
            on in the middle of an epoch opens it once more than one that was never stopped. None for a stream, which
            makes its batches itself.
        limits: when to stop, to evaluate and to save.
        log: where steps are reported, and how long the run has taken.
        stop_asked: whether a signal asked this process to stop.
    """

    def __init__(
        self,
        learner: Learner,
        sampler: TokenBudgetBatchSampler | StreamedBatches,
        loader: DataLoader[Any] | None,
        limits: Limits,
        log: RunLog,
        stop_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.learner, self.sampler, self.loader, self.limits, self.log = learner, sampler, loader, limits, log
        self.stop_asked = stop_asked
        self.accumulation_steps = sampler.group // sampler.world_size
        self.position = Position()
        self.time_is_up = False

    def run(self, evaluate: Callable[[int], bool], save: Callable[[], None] = lambda: None) -> None:
        """Train to the end.

        Args:
            evaluate: called with the number of steps done whenever an evaluation is due, and at the end unless it just
                was; training stops when it returns False.
            save: called whenever a checkpoint is due, and at the end, with `position` where a run that starts from
                the checkpoint goes on.

        Raises:
            Stopped: a signal came in any process; everything done is saved.
            NonFiniteError: too many steps in a row had to be skipped.
        """
        self.save = save
        self._note_saving()
        for step in self._steps():
            if self._evaluation_is_due():
                self._stop_if(self._agree([]).stop)
                self.position.evaluated_at = step
                if not evaluate(step):
                    break
            if self.limits.save_steps is not None and step % self.limits.save_steps == 0:
                self._save()
        self._save()
        self._stop_if(self._agree([]).stop)

    def _steps(self) -> Iterator[int]:
        """Take steps; yields the number done before the first, after each, and when time is up."""
        self._open_epoch()
        # A run that was stopped before an evaluation goes on with it.
        yield self.learner.step
        while not self._at_the_end():
            if self.sampler.is_over(self.position.steps):
                self.position.epoch, self.position.steps = self.position.epoch + 1, 0
                self._open_epoch()
            yield from self._rest_of_epoch()

    def _open_epoch(self) -> None:
        self.sampler.set_epoch(self.position.epoch, self.position.steps * self.accumulation_steps)

    def _micro_batches(self) -> Iterator[MicroBatch]:
        if isinstance(self.sampler, StreamedBatches):
            return iter(self.sampler)
        return itertools.starmap(MicroBatch, zip(self.sampler, self.loader or (), strict=True))

    def _rest_of_epoch(self) -> Iterator[int]:
        started = time.monotonic()
        for group in grouped(self._micro_batches(), self.accumulation_steps):
            agreed = self._agree(group)
            self._stop_if(agreed.stop)
            if agreed.save:
                self._save()
            if agreed.late:
                self.time_is_up = True
                yield self.learner.step
                return
            if isinstance(self.sampler, StreamedBatches) and not agreed.target_tokens:
                self.sampler.end_epoch(self.position.steps)
                yield self.learner.step
                return
            learning_rate = float(self.learner.schedule.get_last_lr()[0])
            report = self.learner.update(group, agreed.target_tokens)
            self.position.steps += 1
            passed = self.position.epoch + self.sampler.share_of_epoch(self.position.steps)
            seconds = time.monotonic() - started
            self.log.step(self.learner.step, passed, report, agreed.fill, learning_rate, seconds)
            if report.skipped is not None:
                self.learner.skips.check(self.learner.step, report.skipped, self.log.path)
            yield self.learner.step
            if self._at_the_end():
                return
            started = time.monotonic()

    def _at_the_end(self) -> bool:
        epochs = self.position.epoch + int(self.sampler.is_over(self.position.steps))
        enough_steps = self.limits.max_steps is not None and self.learner.step >= self.limits.max_steps
        enough_epochs = self.limits.num_epochs is not None and epochs >= self.limits.num_epochs
        return self.time_is_up or enough_steps or enough_epochs

    def _evaluation_is_due(self) -> bool:
        step = self.learner.step
        if step == self.position.evaluated_at:
            return False
        if self.limits.eval_steps is None:
            due = self.sampler.is_over(self.position.steps)
        else:
            due = step > 0 and step % self.limits.eval_steps == 0
        return due or self._at_the_end()

    def _save(self) -> None:
        if self.learner.step > self.saved_step:
            self.save()
            self._note_saving()

    def _note_saving(self) -> None:
        self.saved_step, self.saved_at = self.learner.step, time.monotonic()

    def _stop_if(self, asked: bool) -> None:
        if asked:
            self._save()
            raise Stopped(f"stopped after step {self.learner.step} by a signal; go on with --resume")

    def _agree(self, group: list[MicroBatch]) -> Agreement:
        limits, now = self.limits, time.monotonic()
        late = limits.max_minutes is not None and self.log.seconds() >= 60 * limits.max_minutes
        save = limits.save_minutes is not None and now - self.saved_at >= 60 * limits.save_minutes
        tokens = sum(int((batch.inputs["labels"] != IGNORED).sum()) for batch in group)
        filled = tokens + sum(int(batch.inputs["attention_mask"].sum()) for batch in group)
        positions = sum(batch.inputs["input_ids"].numel() + batch.inputs["labels"].numel() for batch in group)
        mine = [tokens, filled, positions, late, save, self.stop_asked()]
        device = self.learner.accelerator.device
        all_of_us = self.learner.accelerator.reduce(torch.tensor(mine, device=device), reduction="sum").tolist()
        target_tokens, all_filled, all_positions, *flags = all_of_us
        return Agreement(target_tokens, Fill(all_filled, all_positions), *map(bool, flags))
