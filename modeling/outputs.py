"""The output of a training step, whose logits are computed only if somebody looks at them.

The loss of a training step does without the logits `[B, T, V]`, which would take more memory than all the rest. In the
output they are in their place all the same: as an attribute, by name and by number.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import Seq2SeqLMOutput


class PostponedLogits:
    """Compute the logits of a `TranslationOutput` at the first look; later ones find them in the instance itself."""

    def __get__(self, output: Any, owner: type | None = None) -> torch.Tensor | None:
        return None if output is None else output.compute_logits()


class TranslationOutput(Seq2SeqLMOutput):
    """`Seq2SeqLMOutput` with a loss and with logits that wait for the first look at them."""

    logits: Any = PostponedLogits()

    def postpone_logits(self, hidden: torch.Tensor, head: nn.Module) -> None:
        """Let `head(hidden)` be the logits once they are asked for; `hidden` is `[B, T, D]`."""
        # Past the attributes of ModelOutput, which become fields. Without a value of its own, the class is asked.
        self.__dict__["_postponed"] = (hidden, head)
        del self.__dict__["logits"]

    def compute_logits(self) -> torch.Tensor:
        """Compute the logits `[B, T, V]`, keep them, and put them behind the loss."""
        hidden, head = self.__dict__.pop("_postponed")
        self.logits = head(hidden)
        for name in [name for name in self if name not in ("loss", "logits")]:
            self.move_to_end(name)
        return self.logits

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the field `key`, or `default` if it is not there."""
        return self.logits if key == "logits" else super().get(key, default)

    def __getitem__(self, key: Any) -> Any:
        if key == 0:
            return self.loss  # not by way of `to_tuple`
        if key != "loss":
            self._look()
        return super().__getitem__(key)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return all fields that have a value, in their order."""
        self._look()
        return super().to_tuple()

    def __reduce__(self) -> Any:
        self._look()
        return super().__reduce__()

    def _look(self) -> None:
        if "_postponed" in self.__dict__:
            self.compute_logits()
