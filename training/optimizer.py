"""Adam and the learning-rate schedule of section 5.3, and a schedule that ends at zero for runs of known length."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR


def inverse_square_root(step: int, warmup_steps: int) -> float:
    """The learning rate of a step as a share of its peak: min(t / w, sqrt(w / t)) for step t = 1, 2, ... and warm-up w.

    This is equation (3) of section 5.3, d_model^-0.5 * min(t^-0.5, t * w^-1.5), divided by its largest value
    (d_model * w)^-0.5, which it takes at t = w: the peak becomes a setting of its own, as in fairseq.
    """
    return min(step / warmup_steps, (warmup_steps / step) ** 0.5)


def linear(step: int, warmup_steps: int, planned_steps: int) -> float:
    """The share of the peak at step t = 1, 2, ... of n: t / w up to the end of warm-up w, then straight down to zero,
    which step n + 1 would have. Short runs end better on it than on the inverse square root, which stays high."""
    return min(step / warmup_steps, max(0, planned_steps + 1 - step) / max(1, planned_steps + 1 - warmup_steps))


def build_optimizer(model: nn.Module, learning_rate: float) -> Adam:
    """Adam with beta_1 = 0.9, beta_2 = 0.98 and epsilon = 1e-9 (section 5.3).

    Fused, it updates all parameters in one kernel; on a CPU that is several times faster than one call per parameter.
    """
    on_fast_device = all(each.device.type in ("cpu", "cuda") for each in model.parameters())
    return Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), eps=1e-9, fused=on_fast_device)


def build_schedule(optimizer: torch.optim.Optimizer, warmup_steps: int, planned_steps: int | None = None) -> LambdaLR:
    """The schedule of section 5.3 or, given the number of steps, the linear one; the first step, t = 1, already has a
    learning rate above zero."""
    if planned_steps is None:
        return LambdaLR(optimizer, lambda finished: inverse_square_root(finished + 1, warmup_steps))
    return LambdaLR(optimizer, lambda finished: linear(finished + 1, warmup_steps, planned_steps))
