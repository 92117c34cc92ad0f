"""Run the training loop: epochs, evaluations, checkpoints, and when to stop. A step is in learner.py."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ...modeling.loss import IGNORED
from ..data.batches import Batches
from ..data.batching import MicroBatch
from ..monitoring.run_log import Fill, RunLog
from ..settings.arguments import Settings
from ..system.signals import Stopped
from .learner import Learner


@dataclass
class Limits:
    """When training ends, and when it evaluates and saves; None: not for that reason."""

    max_steps: int | None = None
    num_epochs: int | None = None
    max_minutes: float | None = None
    eval_steps: int | None = None
    save_steps: int | None = None
    save_minutes: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits in the settings of a run."""
        how, run = settings.optimisation, settings.run
        pauses = settings.evaluation.eval_steps, run.save_steps, run.save_minutes
        return cls(how.max_steps, how.num_epochs, how.max_minutes, *pauses)


@dataclass
class Position:
    """The position of a run in its data.

    Attributes:
        epoch: the current one, from 0.
        steps: done in this epoch.
        evaluated_at: optimiser steps done at the last evaluation; -1 before the first.
    """

    epoch: int = 0
    steps: int = 0
    evaluated_at: int = -1


class Agreement(NamedTuple):
    """Values summed over all processes before a step: target tokens, positions, and whether any process is out of time,
    has a checkpoint due or was asked to stop."""

    target_tokens: int
    fill: Fill
    out_of_time: bool
    save: bool
    stop: bool


def grouped(batches: Iterable[MicroBatch], size: int) -> Iterator[list[MicroBatch]]:
    """Yield lists of `size` batches; the last may be shorter."""
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, size)):
        yield group


class Trainer:
    """Take steps over the data, from a position until a limit is reached.

    Args:
        learner: takes the steps.
        batches: of this process. Reading them must not use the random generators of the model's dropout: a run that
            resumes within an epoch starts reading it once more than an uninterrupted run.
        limits: when to stop, to evaluate and to save.
        log: receives the steps, and knows how long the run has taken.
        stop_asked: whether a signal asked this process to stop.

    Attributes:
        position: in the data; a run that resumes sets it.
        saved_step: optimiser steps done at the latest checkpoint.
        saved_at: when it was written, in monotonic seconds.
    """

    def __init__(
        self,
        learner: Learner,
        batches: Batches,
        limits: Limits,
        log: RunLog,
        stop_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.learner, self.batches, self.limits, self.log = learner, batches, limits, log
        self.stop_asked = stop_asked
        self.position = Position()
        self.time_is_up = False
        self.saved_step, self.saved_at = learner.step, time.monotonic()

    def run(self, evaluate: Callable[[int], bool], save: Callable[[], None] = lambda: None) -> None:
        """Train to the end.

        Args:
            evaluate: called with the number of steps done whenever an evaluation is due, and at the end; training stops
                when it returns False.
            save: called whenever a checkpoint is due, and at the end; `position` is where a run resumes from it.

        Raises:
            Stopped: a signal came in any process; everything done is saved.
            NonFiniteError: too many steps in a row had to be skipped.
        """
        # Set again: a resumed run has changed the step since.
        self.saved_step, self.saved_at = self.learner.step, time.monotonic()
        try:
            for save_is_due in self._pauses():
                step = self.learner.step
                if self._evaluation_is_due():
                    self._stop_if(self._agree([]).stop)
                    self.position.evaluated_at = step
                    if not evaluate(step):
                        break
                if save_is_due or (self.limits.save_steps is not None and step % self.limits.save_steps == 0):
                    self._save_once(save)
            self._save_once(save)
            self._stop_if(self._agree([]).stop)
        except Stopped:
            self._save_once(save)
            raise

    def _pauses(self) -> Iterator[bool]:
        """Take steps. Yield before the first, after each, and wherever else an evaluation or a checkpoint may be due;
        the value is whether a checkpoint is."""
        self._open_epoch()
        yield False  # a run that was stopped before an evaluation resumes with it
        while not self._at_the_end():
            if self.batches.is_over(self.position.steps):
                self.position.epoch, self.position.steps = self.position.epoch + 1, 0
                self._open_epoch()
            started = time.monotonic()
            for group in grouped(self.batches, self.batches.accumulation_steps):
                agreed = self._agree(group)
                self._stop_if(agreed.stop)
                if agreed.save:
                    yield True
                self.time_is_up = agreed.out_of_time
                if agreed.out_of_time or self.batches.ends(self.position.steps, agreed.target_tokens):
                    yield False
                    break
                learning_rate = float(self.learner.schedule.get_last_lr()[0])
                report = self.learner.update(group, agreed.target_tokens)
                self.position.steps += 1
                passed = self.position.epoch + self.batches.share_of_epoch(self.position.steps)
                seconds = time.monotonic() - started
                self.log.step(self.learner.step, passed, report, agreed.fill, learning_rate, seconds)
                if report.skipped is not None:
                    self.learner.skips.check(self.learner.step, report.skipped, self.log.path)
                yield False
                if self._at_the_end():
                    return
                started = time.monotonic()

    def _open_epoch(self) -> None:
        self.batches.set_epoch(self.position.epoch, self.position.steps * self.batches.accumulation_steps)

    def _at_the_end(self) -> bool:
        epochs = self.position.epoch + int(self.batches.is_over(self.position.steps))
        enough_steps = self.limits.max_steps is not None and self.learner.step >= self.limits.max_steps
        enough_epochs = self.limits.num_epochs is not None and epochs >= self.limits.num_epochs
        return self.time_is_up or enough_steps or enough_epochs

    def _evaluation_is_due(self) -> bool:
        step = self.learner.step
        if step == self.position.evaluated_at:
            return False
        if self.limits.eval_steps is None:
            due = self.batches.is_over(self.position.steps)
        else:
            due = step > 0 and step % self.limits.eval_steps == 0
        return due or self._at_the_end()

    def _save_once(self, save: Callable[[], None]) -> None:
        """Save unless this step is saved."""
        if self.learner.step > self.saved_step:
            save()
            self.saved_step, self.saved_at = self.learner.step, time.monotonic()

    def _stop_if(self, asked: bool) -> None:
        if asked and not self.learner.step:
            raise Stopped("stopped before the first step by a signal; nothing was saved")
        if asked:
            raise Stopped(f"stopped after step {self.learner.step} by a signal; continue with --resume")

    def _agree(self, group: list[MicroBatch]) -> Agreement:
        limits, now = self.limits, time.monotonic()
        out_of_time = limits.max_minutes is not None and self.log.seconds() >= 60 * limits.max_minutes
        save = limits.save_minutes is not None and now - self.saved_at >= 60 * limits.save_minutes
        tokens = sum(int((batch.inputs["labels"] != IGNORED).sum()) for batch in group)
        filled = tokens + sum(int(batch.inputs["attention_mask"].sum()) for batch in group)
        positions = sum(batch.inputs["input_ids"].numel() + batch.inputs["labels"].numel() for batch in group)
        mine = [tokens, filled, positions, out_of_time, save, self.stop_asked()]
        device = self.learner.accelerator.device
        sums = self.learner.accelerator.reduce(torch.tensor(mine, device=device), reduction="sum").tolist()
        target_tokens, all_filled, all_positions, *flags = sums
        return Agreement(target_tokens, Fill(all_filled, all_positions), *map(bool, flags))
