"""Pass every batch through the model twice, for R-Drop (Liang et al., 2021) or SimCut (Gao et al., 2022).

The two passes differ by their dropout and, with SimCut, by the tokens that the second one lacks; the loss pulls their
predictions together (`modeling/consistency.py`). Both are one batch, as in the authors' code of R-Drop, so that several
processes reduce their gradients once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class TwoPasses(NamedTuple):
    """Which consistency of two passes is trained; neither by default.

    Attributes:
        r_drop: weight of the divergence in R-Drop, or 0.
        simcut: weight of the divergence in SimCut, or 0.
        simcut_p: probability of zeroing the embedding of a token in the second pass of SimCut.
    """

    r_drop: float = 0.0
    simcut: float = 0.0
    simcut_p: float = 0.0

    def apply(self, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Return the arguments of the model: `inputs` `[B, ...]`, followed by their copy if there are two passes."""
        if not self.r_drop and not self.simcut:
            return inputs
        both: dict[str, Any] = {name: torch.cat([value, value]) for name, value in inputs.items()}
        if self.r_drop:
            return both | {"r_drop": self.r_drop}
        complete, cut = inputs["labels"].new_zeros(2, len(inputs["labels"]), dtype=torch.float32)  # [B] each
        return both | {"simcut": self.simcut, "word_dropout": torch.cat([complete, cut.fill_(self.simcut_p)])}
