"""Translate with an export: the part of `generate` that needs no torch model.

Letters of the shape comments: B sentences, R returned hypotheses, S source length, T target length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from ....configuration.configuration_sineformer import SineformerConfig
from ....modeling.generation_request import Request
from ....modeling.search import SearchOptions
from ....modeling.transition_scores import transition_scores
from ..translator import TranslationError
from .formats import MODEL_CONFIG


class ExportedModel(ABC):
    """An export with the method `generate` of the model it was made from, for what its search knows.

    Args:
        folder: of the export.
    """

    device = torch.device("cpu")  # of token ids

    def __init__(self, folder: Path) -> None:
        try:
            self.config = SineformerConfig.from_json_file(folder / MODEL_CONFIG)
            self.generation_config = GenerationConfig.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise TranslationError(f"{folder} cannot be loaded: {error}; export the model again") from error

    def generate(self, **keywords: Any) -> Any:
        """Return token ids `[B * R, T]` or, with `return_dict_in_generate`, a dictionary with their scores too.

        Args:
            keywords: of `generate` of the model: the source, options of the search and of the output.

        Raises:
            TranslationError: the search of this format cannot do it.
        """
        request = Request(keywords, None, self.generation_config, self.config)
        source = request.source(self.device)
        limits = None if source is None or request.max_length() is not None else request.limits()
        options = None if source is None else request.search_options(source, limits)
        if source is None or options is None:
            names = ", ".join(request.other_names()) or "the options of the search"
            raise TranslationError(
                f"generation_config.json: an export cannot translate with {names}; remove or correct"
            )
        mask = keywords.get("attention_mask")
        mask = torch.ones_like(source) if mask is None else mask  # [B, S]
        found = self.search(source, mask, request.prompt(len(source), source.device), options)
        return found if options.records else found["sequences"]

    @abstractmethod
    def search(
        self, source: torch.Tensor, mask: torch.Tensor, prompt: torch.Tensor, options: SearchOptions
    ) -> dict[str, Any]:
        """Return `sequences` `[B * R, T]` and, as far as the options ask for it, `sequences_scores` `[B * R]`, or
        `scores` of each step, of which greedy search leaves the sum to be computed.

        Args:
            source: token ids `[B, S]`; mask: 1 for real tokens, `[B, S]`.
            prompt: what each translation begins with, `[B, T]`.
        """

    compute_transition_scores = staticmethod(transition_scores)
