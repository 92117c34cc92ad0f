"""Take training steps: forward, backward, norm of the gradient, Adam, schedule.

The loss of a step is the mean over all its target tokens in all micro-batches and processes. Two library defaults would
change that: DistributedDataParallel averages gradients over processes, so the loss
is multiplied by their number; `Accelerator.backward` divides by its number of accumulation steps, so it is made with
one, and `no_sync` accumulates instead (accumulation.py, which also handles a shortage of memory).

A step whose loss or gradient is infinite or not a number is skipped: it counts like any other, its batches are used,
and the schedule advances. The weights and the moments of Adam do not change.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LRScheduler

from ...modeling.modeling_sineformer import SineformerForConditionalGeneration
from ..data.batches import Batches
from ..data.batching import MicroBatch
from ..data.loading import Data
from ..monitoring.run_log import Skipped, StepReport
from ..settings.arguments import OptimisationArguments, Settings
from ..settings.recipe import RecipeError
from ..settings.schedules import SCHEDULES
from ..system.processes import print_once
from ..system.sharding import FullModel, full_tensor
from .accumulation import Accumulation
from .averaging import Averages
from .freezing import parameter_summary
from .optimizer import build_optimizer, build_schedule
from .two_passes import TwoPasses


class NonFiniteError(RuntimeError):
    """The loss or the gradient of too many steps, or a weight, is infinite or not a number."""


@dataclass
class Skips:
    """The count of skipped steps.

    Attributes:
        limit: of skipped steps in a row; one more ends the run.
        in_a_row: since the last step taken.
        total: of the run.
    """

    limit: int = OptimisationArguments.max_skipped_steps
    in_a_row: int = 0
    total: int = 0

    def check(self, step: int, skipped: Skipped, record: Path) -> None:
        """End the run if it cannot recover.

        Args:
            step: the number of the skipped step.
            skipped: its loss, gradient and examples.
            record: the file that lists every skipped step.

        Raises:
            NonFiniteError: more than `limit` steps in a row were skipped, or the weights themselves are not finite.
        """
        if not skipped.finite_weights:
            state = "The weights are not finite: the step before was too large"
        elif self.in_a_row > self.limit:
            state = (
                f"The last {self.in_a_row} steps were all skipped (max_skipped_steps: {self.limit}); the weights are "
                "those before them"
            )
        else:
            return
        raise NonFiniteError(
            f"step {step}: {skipped}. {state}. The lines of kind 'skipped' in {record} name their examples. "
            "A lower learning_rate, more warmup_steps, max_grad_norm: 1 or mixed_precision: no may help."
        )


@dataclass
class Learner:
    """The prepared model with its optimiser and schedule; takes optimiser steps.

    Attributes:
        accelerator: made without gradient accumulation of its own.
        model: as `accelerator.prepare` returned it.
        optimizer: as `accelerator.prepare` returned it.
        schedule: advanced once per step, for any number of processes.
        label_smoothing: of the training loss.
        max_grad_norm: largest norm of the gradient; 0 for no limit.
        two_passes: the consistency of two passes over a batch.
        name_example: returns the name of a training example in error messages.
        step: optimiser steps done, skipped ones included.
        skips: the steps that were skipped.
        accumulation: accumulates the gradient of a step over micro-batches that fit into memory.
    """

    accelerator: Accelerator
    model: Any
    optimizer: Any
    schedule: LRScheduler
    label_smoothing: float = 0.0
    max_grad_norm: float = 0.0
    two_passes: TwoPasses = field(default_factory=TwoPasses)
    name_example: Callable[[Any], str] = str
    step: int = 0
    skips: Skips = field(default_factory=Skips)
    accumulation: Accumulation = field(init=False)

    def __post_init__(self) -> None:
        self.accumulation = Accumulation(self.accelerator, self.model, self.name_example)

    def add_gradient(self, batch: MicroBatch, target_tokens: int) -> torch.Tensor:
        """Add the gradient of one micro-batch; return its share of the loss of a step with `target_tokens`."""
        inputs = {key: value.to(self.accelerator.device) for key, value in batch.inputs.items()}
        inputs = self.two_passes.apply(inputs)
        loss = self.model(**inputs, num_items_in_batch=target_tokens, label_smoothing=self.label_smoothing).loss
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach().float()

    def update(self, micro_batches: list[MicroBatch], target_tokens: int) -> StepReport:
        """Take one optimiser step, or none where the loss or the gradient is not finite in any process.

        Args:
            micro_batches: of this process.
            target_tokens: real target tokens of the step in all micro-batches of all processes.

        Raises:
            MemoryShortageError: the smallest micro-batches do not fit into memory.
        """
        splits_before = self.accumulation.splits
        splits, losses = self.accumulation.add_gradients(self.add_gradient, micro_batches, target_tokens)
        loss = self.accelerator.reduce(torch.stack(losses).sum(), reduction="sum")
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.max_grad_norm or math.inf)
        loss_value, norm_value = torch.stack([loss, full_tensor(norm)]).tolist()  # the only synchronisation of a step
        report = StepReport(loss_value, norm_value, target_tokens)
        if self.accumulation.splits > splits_before:
            report.parts = self.accumulation.splits
        if self._is_finite(report):
            self.optimizer.step()
            if math.isfinite(report.gradient_norm):
                self.skips.in_a_row = 0
        else:
            report.skipped = self._skip(report, splits, losses)
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        return report

    def _is_finite(self, report: StepReport) -> bool:
        if math.isfinite(report.gradient_norm):
            return math.isfinite(report.loss)
        # With fp16, gradients overflow sometimes: the loss scaler skips that step and lowers the scale. Below a scale
        # of 1, the scale is not the cause.
        scaler = self.accelerator.scaler
        return math.isfinite(report.loss) and scaler is not None and scaler.get_scale() >= 1

    def _skip(self, report: StepReport, splits: list[MicroBatch], losses: list[torch.Tensor]) -> Skipped:
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.update()  # required after it has unscaled gradients
        harmful = [
            split.examples
            for split, loss in zip(splits, losses, strict=True)
            if not math.isfinite(loss.item()) or math.isfinite(report.loss)
        ]
        examples = sorted(itertools.chain(*gather_object(harmful)))
        shards = (each.to_local() if isinstance(each, DTensor) else each for each in self.model.parameters())
        finite_weights = all(gather_object([all(bool(shard.isfinite().all()) for shard in shards)]))
        self.skips.in_a_row += 1
        self.skips.total += 1
        counts = self.skips.in_a_row, self.skips.total
        return Skipped(
            report.loss, report.gradient_norm, [self.name_example(each) for each in examples], *counts, finite_weights
        )


class PreparedLearner(NamedTuple):
    """The learner of a run, its unsharded model and the averages of its weights.

    Attributes:
        learner: takes steps.
        full_model: the model with unsharded weights.
        averages: of the weights.
        size: number of all and of trained parameters, in words.
    """

    learner: Learner
    full_model: FullModel
    averages: Averages
    size: str


def check_warmup(settings: Settings, batches: Batches) -> None:
    """Check that the warm-up ends within the run, as soon as the number of steps per epoch is known. Warn if it does
    not: the learning rate then never reaches its peak.

    Raises:
        RecipeError: in all processes, if the schedule falls to zero at the last step, which it could not.
    """
    how = settings.optimisation
    problem = how.warmup_problem(how.planned_steps(batches.steps_per_epoch))
    if problem is None:
        return
    if SCHEDULES[how.lr_scheduler_type].needs_length:
        raise RecipeError([problem])
    print_once(f"warning: {problem}")


def prepare_learner(
    settings: Settings,
    accelerator: Accelerator,
    model: SineformerForConditionalGeneration,
    batches: Batches,
    data: Data,
) -> PreparedLearner:
    """Distribute a model, equal in every process, and make its optimiser, schedule and averages."""
    how, size = settings.optimisation, parameter_summary(model)
    model.to(accelerator.device)
    full_model = FullModel(model, accelerator)
    optimizer = build_optimizer(model, how.learning_rate, (how.adam_beta1, how.adam_beta2), how.weight_decay)
    planned_steps = how.planned_steps(batches.steps_per_epoch)
    warmup = how.planned_warmup(planned_steps)
    schedule = build_schedule(optimizer, warmup, how.lr_scheduler_type, planned_steps, model.config.d_model)
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    prepared.train()
    averages = Averages(model, how.ema_decay, how.average_checkpoints)
    averages.follow(optimizer)
    # So far all processes had the same seed, for the same model. Dropout must differ between processes.
    set_seed(settings.run.seed, device_specific=True)
    learner = Learner(
        accelerator,
        prepared,
        prepared_optimizer,
        schedule,
        how.label_smoothing,
        how.max_grad_norm,
        TwoPasses(how.r_drop, how.simcut, how.simcut_p),
        name_example=data.train.location,
        skips=Skips(how.max_skipped_steps),
    )
    return PreparedLearner(learner, full_model, averages, size)
