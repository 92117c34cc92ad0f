"""Adam and the learning-rate schedule of section 5.3, and schedules that end at zero for runs of known length."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

ENDING_AT_ZERO = ("linear", "cosine")  # they need to know the last step


def inverse_square_root(step: int, warmup_steps: int) -> float:
    """The learning rate of a step as a share of its peak: min(t / w, sqrt(w / t)) for step t = 1, 2, ... and warm-up w.

    This is equation (3) of section 5.3, d_model^-0.5 * min(t^-0.5, t * w^-1.5), divided by its largest value
    (d_model * w)^-0.5, which it takes at t = w: the peak becomes a setting of its own, as in fairseq.
    """
    return min(step / warmup_steps, (warmup_steps / step) ** 0.5)


def linear(step: int, warmup_steps: int, planned_steps: int) -> float:
    """The share of the peak at step t = 1, 2, ... of n: t / w up to the end of warm-up w, then straight down to zero,
    which step n + 1 would have. Short runs end better on it than on the inverse square root, which stays high."""
    return min(step / warmup_steps, _share_left(step, warmup_steps, planned_steps))


def cosine(step: int, warmup_steps: int, planned_steps: int) -> float:
    """As `linear`, but along half a cosine, (1 + cos(pi x)) / 2 for a share x of the way from w to n + 1 (Loshchilov
    and Hutter, 2017, equation 5, without restarts)."""
    if step < warmup_steps:
        return step / warmup_steps
    return (1 - math.cos(math.pi * _share_left(step, warmup_steps, planned_steps))) / 2


def _share_left(step: int, warmup_steps: int, planned_steps: int) -> float:
    return max(0, planned_steps + 1 - step) / max(1, planned_steps + 1 - warmup_steps)


def noam(step: int, warmup_steps: int, d_model: int) -> float:
    """Equation (3) of section 5.3 with its own scale, d_model^-0.5 * min(t^-0.5, t * w^-1.5): what is set as learning
    rate is a factor to it, 1 in the paper."""
    return float((d_model * warmup_steps) ** -0.5 * inverse_square_root(step, warmup_steps))


def build_optimizer(model: nn.Module, learning_rate: float) -> Adam:
    """Adam with beta_1 = 0.9, beta_2 = 0.98 and epsilon = 1e-9 (section 5.3).

    Fused, it updates all parameters in one kernel; on a CPU that is several times faster than one call per parameter.
    """
    on_fast_device = all(each.device.type in ("cpu", "cuda") for each in model.parameters())
    return Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), eps=1e-9, fused=on_fast_device)


def build_schedule(
    optimizer: torch.optim.Optimizer,
    warmup_steps: int,
    kind: str = "inverse_sqrt",
    planned_steps: int | None = None,
    d_model: int | None = None,
) -> LambdaLR:
    """A schedule to be advanced after each step; the first step, t = 1, already has a learning rate above zero.

    Args:
        optimizer: its learning rate is the peak of the schedule; the factor of equation (3) for "noam".
        warmup_steps: steps of linear warm-up.
        kind: the shape after it: "inverse_sqrt", "linear", "cosine" or "noam".
        planned_steps: steps of the whole run, for those that end at zero.
        d_model: width of the model, for "noam".

    Raises:
        ValueError: the kind is unknown, or needs one of these that is not given.
    """

    def share(step: int) -> float:
        if kind == "inverse_sqrt":
            return inverse_square_root(step, warmup_steps)
        if kind == "noam" and d_model is not None:
            return noam(step, warmup_steps, d_model)
        if kind in ENDING_AT_ZERO and planned_steps is not None:
            return (linear if kind == "linear" else cosine)(step, warmup_steps, planned_steps)
        raise ValueError(f"there is no schedule {kind!r} for planned_steps {planned_steps} and d_model {d_model}")

    return LambdaLR(optimizer, lambda finished: share(finished + 1))
