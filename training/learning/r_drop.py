"""R-Drop (Liang et al., 2021): every batch passes twice, and the two predictions are drawn towards each other.

Dropout makes the passes differ; `modeling/loss.py` has the loss. Both go through the model as one batch of twice the
size, as in the authors' code, so that one of several processes exchanges its gradients once.
"""

from __future__ import annotations

import torch


def twice(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch `[B, ...]` and the same again behind it, `[2 B, ...]`."""
    return {name: torch.cat([value, value]) for name, value in inputs.items()}
