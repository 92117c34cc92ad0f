"""Average weights: over the last evaluated models (Vaswani et al., 2017, section 6.1), and over all steps with
exponentially decaying weight (EMA; Polyak and Juditsky, 1992, in the form of `tf.train.ExponentialMovingAverage`).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

AVERAGES_FILE = "averages.safetensors"
Weights = dict[str, torch.Tensor]


class Averages:
    """Averages of the weights of a model, in fp32.

    Args:
        model: to average; frozen weights are left out.
        ema_decay: d of `update`; 0 for no EMA.
        last: number of evaluated models that `mean` averages; 1 for none.
    """

    def __init__(self, model: nn.Module, ema_decay: float = 0.0, last: int = 1) -> None:
        self.weights: Weights = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.decay = ema_decay
        self.updates = 0
        self.shadow = self._copy() if ema_decay else {}
        self.evaluated: deque[Weights] = deque(maxlen=last if last > 1 else 0)

    def _copy(self, device: str | None = None) -> Weights:
        return {name: each.detach().to(device, torch.float32, copy=True) for name, each in self.weights.items()}

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Update after every step that an optimiser takes, not after skipped ones."""

        def after_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
            # With the loss scaler of fp16, a fused optimiser skips the step itself if this is set.
            overflow = getattr(optimizer, "found_inf", None)
            if overflow is None or not overflow.item():
                self.update()

        if self.decay:
            optimizer.register_step_post_hook(after_step)

    @torch.no_grad()
    def update(self) -> None:
        """Set shadow to d_t * shadow + (1 - d_t) * weights, d_t = min(d, (1 + t) / (10 + t)) after t updates, so
        that early weights are soon forgotten."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, shadow in self.shadow.items():
            shadow.lerp_(self.weights[name].detach().to(shadow.dtype), 1 - decay)
        self.updates += 1

    @contextlib.contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Give the model the weights of the EMA, if there is one, in this context, and record them for `mean`."""
        with self._in_place(self.shadow):
            yield
            if self.evaluated.maxlen:
                self.evaluated.append(self._copy("cpu"))

    @contextlib.contextmanager
    def mean(self) -> Iterator[bool]:
        """Give the model the mean weights of the last evaluated models in this context; yield False if there are fewer
        than two."""
        models = list(self.evaluated)
        several = len(models) > 1
        names = self.weights if several else ()
        with self._in_place({name: torch.stack([each[name] for each in models]).mean(0) for name in names}):
            yield several

    @contextlib.contextmanager
    def _in_place(self, others: Weights) -> Iterator[None]:
        """Give the model other weights in this context; its own are restored afterwards, bit for bit."""
        own = {name: self.weights[name].detach().clone() for name in others}
        self._set(others)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: Weights) -> None:
        for name, value in values.items():
            self.weights[name].copy_(value)

    def save(self, folder: Path) -> None:
        """Write the averages, if there are any, for a run that resumes."""
        tensors = {f"ema.{name}": value.cpu() for name, value in self.shadow.items()}
        for number, weights in enumerate(self.evaluated):
            tensors |= {f"{number}.{name}": value for name, value in weights.items()}
        if tensors:
            save_file(tensors | {"updates": torch.tensor(self.updates)}, folder / AVERAGES_FILE)

    def restore(self, folder: Path) -> None:
        """Load the averages that `save` wrote."""
        path = folder / AVERAGES_FILE
        tensors = load_file(path) if path.is_file() else {}
        parts: dict[str, Weights] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value.clone()  # the file may be removed
        for name, value in parts.pop("ema", {}).items():
            self.shadow[name].copy_(value)
        self.updates = int(parts.pop("updates")[""]) if "updates" in parts else 0
        self.evaluated.extend(parts[number] for number in sorted(parts, key=int))
