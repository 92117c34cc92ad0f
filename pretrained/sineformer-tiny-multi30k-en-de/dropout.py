"""Apply dropout (Srivastava et al., 2014; Vaswani et al., 2017, section 5.4), on a CPU faster than PyTorch does."""

import torch
from torch import nn

DRAWS = 2**16  # values that a random number of 16 bits can have
SMALLEST = -(2**15)  # the least of them, as a signed integer


def dropout(states: torch.Tensor, probability: float, training: bool) -> torch.Tensor:
    """Return `states` as they are or, while `training`, each with `probability` set to zero and otherwise divided by
    1 - `probability`, as `torch.nn.functional.dropout` does.

    On a CPU that draws one random number of its generator for each value, which takes a seventh of a training step.
    Here each draw of 64 bits decides for four values. `probability` is rounded to a multiple of 2^-16 for that.
    """
    dropped = round(probability * DRAWS)
    if not training or probability == 0 or dropped == DRAWS or not _can_draw(states):
        return nn.functional.dropout(states, probability, training)
    draws = states.new_empty(-(-states.numel() // 4), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
    kept = draws.view(torch.int16)[: states.numel()].view(states.shape) >= SMALLEST + dropped
    return states * kept.to(states.dtype).mul_(DRAWS / (DRAWS - dropped))


def _can_draw(states: torch.Tensor) -> bool:
    """Return whether `states` are an ordinary tensor of a CPU; the compiler makes its own random numbers."""
    return type(states) is torch.Tensor and states.device.type == "cpu" and not torch.compiler.is_compiling()
