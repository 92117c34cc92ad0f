"""Build Adam and the learning-rate schedule of section 5.3, or another one of `settings/schedules.py`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR

from ..settings.schedules import SCHEDULES


def build_optimizer(
    model: nn.Module, learning_rate: float, betas: tuple[float, float] = (0.9, 0.98), weight_decay: float = 0.0
) -> Adam:
    """Return Adam with epsilon = 1e-9 and, by default, beta_1 = 0.9 and beta_2 = 0.98 (section 5.3).

    With weight decay it is AdamW (Loshchilov and Hutter, 2019): each step also subtracts learning rate * `weight_decay`
    of every weight. Fused, it updates all parameters in one kernel; on a CPU that is several times faster than one call
    per parameter.
    """
    on_fast_device = all(each.device.type in ("cpu", "cuda") for each in model.parameters())
    options: dict[str, Any] = {"lr": learning_rate, "betas": betas, "eps": 1e-9, "fused": on_fast_device}
    if weight_decay:
        return AdamW(model.parameters(), weight_decay=weight_decay, **options)
    return Adam(model.parameters(), **options)


def build_schedule(
    optimizer: torch.optim.Optimizer,
    warmup_steps: int,
    kind: str = "inverse_sqrt",
    planned_steps: int | None = None,
    d_model: int | None = None,
) -> LambdaLR:
    """Return a schedule to advance after each step; the first step, t = 1, has a learning rate above zero.

    Args:
        optimizer: its learning rate is the peak of the schedule; the factor of equation (3) for "noam".
        warmup_steps: steps of linear warm-up.
        kind: the shape after it, a key of `SCHEDULES`.
        planned_steps: steps of the complete run, for schedules that need its length.
        d_model: width of the model, for schedules that need it.

    Raises:
        ValueError: the kind is unknown, or needs one of these that is not given.
    """
    given = {"planned_steps": planned_steps, "d_model": d_model}
    schedule = SCHEDULES.get(kind)
    needed = {} if schedule is None else {name: given[name] for name in schedule.needs}
    if schedule is None or None in needed.values():
        raise ValueError(f"there is no schedule {kind!r} for planned_steps {planned_steps} and d_model {d_model}")
    equation = schedule.equation
    return LambdaLR(optimizer, lambda finished: equation(finished + 1, warmup_steps, **needed))
