"""Define the output of a training step, whose logits are computed on first access.

The loss of a training step does not need the complete logits `[B, T, V]`, which take more memory than all the rest. The
output still provides them, by attribute, name and index.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import Seq2SeqLMOutput


class LazyLogits:
    """Compute the logits of a `TranslationOutput` on first access; later accesses find them in the instance."""

    def __get__(self, output: Any, owner: type | None = None) -> torch.Tensor | None:
        return None if output is None else output.compute_logits()


class TranslationOutput(Seq2SeqLMOutput):
    """`Seq2SeqLMOutput` with a loss and with logits that are computed on first access."""

    logits: Any = LazyLogits()

    def set_lazy_logits(self, hidden: torch.Tensor, head: nn.Module) -> None:
        """Compute the logits as `head(hidden)` on first access; `hidden` is `[B, T, D]`."""
        # In `__dict__`, because ModelOutput makes a field of an attribute. Without a value in the instance, access to
        # `logits` reaches the descriptor of the class.
        self.__dict__["_lazy"] = (hidden, head)
        del self.__dict__["logits"]

    def compute_logits(self) -> torch.Tensor:
        """Compute the logits `[B, T, V]` and store them as the field after the loss."""
        hidden, head = self.__dict__.pop("_lazy")
        self.logits = head(hidden)
        for name in [name for name in self if name not in ("loss", "logits")]:
            self.move_to_end(name)
        return self.logits

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the field `key`, or `default` if there is none."""
        return self.logits if key == "logits" else super().get(key, default)

    def __getitem__(self, key: Any) -> Any:
        if key == 0:
            return self.loss  # without `to_tuple`, which would compute the logits
        if key != "loss":
            self._ensure_logits()
        return super().__getitem__(key)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return all fields that have a value, in order."""
        self._ensure_logits()
        return super().to_tuple()

    def __reduce__(self) -> Any:
        self._ensure_logits()
        return super().__reduce__()

    def _ensure_logits(self) -> None:
        if "_lazy" in self.__dict__:
            self.compute_logits()
