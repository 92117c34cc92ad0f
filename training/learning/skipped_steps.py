"""Steps whose loss or gradient is infinite or not a number: skipped, counted, and the end of a run if they go on.

A skipped step counts like any other: its batches are used up, and the schedule advances. The weights and the moments
of Adam stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..monitoring.run_log import Skipped
from ..settings.arguments import OptimisationArguments


class NonFiniteError(RuntimeError):
    """The loss or the gradient of too many steps, or a weight, is infinite or not a number."""


@dataclass
class Skips:
    """The count of skipped steps.

    Attributes:
        limit: so many in a row are put up with.
        in_a_row: since the last step taken.
        total: of the run.
    """

    limit: int = OptimisationArguments.max_skipped_steps
    in_a_row: int = 0
    total: int = 0

    def check(self, step: int, skipped: Skipped, record: Path) -> None:
        """End the run if going on is no use.

        Args:
            step: the number of the skipped step.
            skipped: what is known of it.
            record: the file that tells of every skipped step.

        Raises:
            NonFiniteError: more than `limit` steps in a row were skipped, or the weights themselves are not finite.
        """
        if not skipped.finite_weights:
            state = "The weights are not finite: the step before was too large"
        elif self.in_a_row > self.limit:
            state = (
                f"Of the last {self.in_a_row} steps none could be taken (max_skipped_steps: {self.limit}), and the "
                "weights are those before them"
            )
        else:
            return
        raise NonFiniteError(
            f"step {step}: {skipped}. {state}. The lines of kind 'skipped' in {record} name all examples concerned. "
            "A lower learning_rate, more warmup_steps, max_grad_norm: 1 or mixed_precision: no may help."
        )
