"""Becomes `tests/parallel_translation.py`: the class for tests that call a model with `input_ids` alone.

They are made for models that continue a prompt. A translation model needs the beginning of the target too, and gets the
source for it. A file of its own, since the processes of these tests import the class by name.
"""

from typing import Any

import torch

from .subjects import subject


class TranslationModelWithoutTargets(subject().translation_class):  # type: ignore[misc]
    """The model for translation, which takes its source as the target where it is given none."""

    def forward(self, input_ids: torch.Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        if not args and not {"decoder_input_ids", "labels", "encoder_outputs"} & kwargs.keys():
            kwargs["decoder_input_ids"] = input_ids
        return super().forward(input_ids, *args, **kwargs)
