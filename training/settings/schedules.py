"""Define learning-rate schedules: their equations, and the table of the values of `lr_scheduler_type`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


def inverse_square_root(step: int, warmup_steps: int) -> float:
    """Return the learning rate of step t = 1, 2, ... as a fraction of its peak: min(t / w, sqrt(w / t)) for warm-up w.

    This is equation (3) of section 5.3, d_model^-0.5 * min(t^-0.5, t * w^-1.5), divided by its largest value
    (d_model * w)^-0.5, at t = w: the peak is a separate setting, as in fairseq.
    """
    return min(step / warmup_steps, (warmup_steps / step) ** 0.5)


def linear(step: int, warmup_steps: int, planned_steps: int) -> float:
    """Return the fraction of the peak at step t = 1, 2, ... of n: t / w up to the end of warm-up w, then linearly down
    to zero, reached at step n + 1. Better for short runs than the inverse square root, which stays high."""
    return min(step / warmup_steps, _fraction_left(step, warmup_steps, planned_steps))


def cosine(step: int, warmup_steps: int, planned_steps: int) -> float:
    """Return the fraction of the peak as `linear`, but along half a cosine, (1 + cos(pi x)) / 2 for a fraction x of the
    steps from w to n + 1 (Loshchilov and Hutter, 2017, equation 5, without restarts)."""
    if step < warmup_steps:
        return step / warmup_steps
    return (1 - math.cos(math.pi * _fraction_left(step, warmup_steps, planned_steps))) / 2


def _fraction_left(step: int, warmup_steps: int, planned_steps: int) -> float:
    return max(0, planned_steps + 1 - step) / max(1, planned_steps + 1 - warmup_steps)


def noam(step: int, warmup_steps: int, d_model: int) -> float:
    """Return equation (3) of section 5.3 unscaled, d_model^-0.5 * min(t^-0.5, t * w^-1.5); `learning_rate` multiplies
    it, 1 in the paper."""
    return float((d_model * warmup_steps) ** -0.5 * inverse_square_root(step, warmup_steps))


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        equation: factor of `learning_rate`, a function of `step`, `warmup_steps` and the arguments in `needs`.
        text: description in `--help`.
        needs: further arguments of `equation`: `planned_steps`, the length of the run, or `d_model`, the width of the
            model.
    """

    equation: Callable[..., float]
    text: str
    needs: tuple[str, ...] = ()

    @property
    def needs_length(self) -> bool:
        """Return whether every learning rate depends on the length of the run."""
        return "planned_steps" in self.needs


SCHEDULES = {
    "inverse_sqrt": Schedule(inverse_square_root, "as in section 5.3"),
    "linear": Schedule(linear, "linearly down to zero at the last step", needs=("planned_steps",)),
    "cosine": Schedule(cosine, "along half a cosine, down to zero at the last step", needs=("planned_steps",)),
    "noam": Schedule(noam, "equation (3) itself, scaled by d_model and warmup_steps", needs=("d_model",)),
}
