"""Record what a model computes for one sentence: every module's input and output, hypotheses, and a loss.

Letters of the shape comments: S source length, T target length, D d_model, H heads, K = D/H, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...modeling.invisible_text import is_invisible
from ..data.tokenizer import Tokenizers
from ..pretrained.inspection import Inspection, InspectionError, inspect_ids
from ..pretrained.translation import Hypothesis, Search, search_lines

SMOOTHING = 0.1  # of section 5.4


@dataclass(frozen=True)
class Record:
    """Hold the tensors that modules got and returned in a forward pass of one sentence, without the batch dimension.

    Attributes:
        inputs: positional arguments of each module, by its name in the model; None for what is no tensor.
        outputs: the output of each module, or the first of several.
    """

    inputs: dict[str, list[torch.Tensor | None]]
    outputs: dict[str, torch.Tensor]


@contextmanager
def recording(model: Any) -> Iterator[Record]:
    """Record the modules of a model during this context; a later pass replaces the record of an earlier one."""
    record = Record({}, {})

    def remember(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            record.inputs[name] = [each[0] if isinstance(each, torch.Tensor) else None for each in inputs]
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, torch.Tensor):
                record.outputs[name] = first[0]

        return hook

    handles = [module.register_forward_hook(remember(name)) for name, module in model.named_modules() if name]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Trace:
    """Hold everything that the walk-through shows of one sentence.

    Attributes:
        text: the source. source_ids: its ids, S. target_ids: those of its best translation, T.
        hypotheses: of beam search, best first.
        inspection: attention and probabilities of the best one.
        record: the modules in the same forward pass.
        reference: tokens of the reference, and the loss of each, in nats.
        smoothed_loss: mean loss of the reference with label smoothing of `SMOOTHING`.
    """

    model: Any
    text: str
    source_ids: list[int]
    target_ids: list[int]
    hypotheses: list[Hypothesis]
    inspection: Inspection
    record: Record
    reference: list[tuple[str, float]]
    smoothed_loss: float

    def output(self, name: str) -> torch.Tensor:
        """Return the output of a module of the model, by its name."""
        return self.record.outputs[name]

    def heads(self, name: str, projection: str) -> torch.Tensor:
        """Return queries, keys or values of an attention module, split into heads: `[H, length, K]`."""
        attention = self.model.get_submodule(name)
        projected = self.output(f"{name}.{projection}")  # [length, D]
        return projected.view(len(projected), -1, attention.head_dim).transpose(0, 1)

    def joined_heads(self, name: str) -> torch.Tensor:
        """Return what an attention module gives to its output projection, the outputs of all heads: `[length, D]`."""
        (joined,) = self.record.inputs[f"{name}.out_proj"]
        assert joined is not None
        return joined

    def visible(self, layer: str) -> npt.NDArray[np.bool_] | None:
        """Return what self-attention of a layer may see, `[length, length]`; None if everything."""
        mask = self.record.inputs[layer][1]  # [1, length, length]
        if mask is None:
            return None
        allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min
        return allowed[0].cpu().numpy()


@torch.inference_mode()
def trace(model: Any, tokenizers: Tokenizers, text: str, reference: str | None = None) -> Trace:
    """Translate a sentence and record every step; the attention of the model becomes "eager", as by `inspect`.

    Args:
        reference: a translation to compute the loss of; None for the model's own.

    Raises:
        InspectionError: the sentence has no visible characters.
    """
    if is_invisible(text):
        raise InspectionError("the source has no visible characters; give a sentence")
    beams = model.generation_config.num_beams or 1
    hypotheses = search_lines(model, tokenizers, [text], Search(beams, beams, scores=True))[0]
    source_ids: list[int] = tokenizers.source(text, verbose=False)["input_ids"]
    target_ids = list(hypotheses[0].ids)
    labels = target_ids
    if reference is not None:
        labels = tokenizers.target(text_target=reference, verbose=False)["input_ids"]
    compared = inspect_ids(model, tokenizers, source_ids, labels)
    losses = [-math.log(probability) for probability in compared.probabilities]
    ids = {"input_ids": torch.tensor([source_ids]), "labels": torch.tensor([labels])}
    smoothed = model(**{name: each.to(model.device) for name, each in ids.items()}, label_smoothing=SMOOTHING).loss
    with recording(model) as record:
        inspection = inspect_ids(model, tokenizers, source_ids, target_ids)
    return Trace(
        model=model,
        text=text,
        source_ids=source_ids,
        target_ids=target_ids,
        hypotheses=hypotheses,
        inspection=inspection,
        record=record,
        reference=list(zip(compared.target, losses, strict=True)),
        smoothed_loss=float(smoothed),
    )
