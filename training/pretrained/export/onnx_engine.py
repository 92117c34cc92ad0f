"""Translate with an export for ONNX Runtime, by the search of `modeling/search.py`, on the CPU.

Letters of the shape comments: B sentences, N beams, S source length, T target length so far, D d_model, H heads,
K = D / H width of a head, V target vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ....modeling.search import BeamSearch, GreedySearch, SearchOptions
from ..translator import TranslationError
from .exported_model import ExportedModel
from .onnx_writer import DECODER, DECODER_WITH_PAST, ENCODER


class OnnxModel(ExportedModel):
    """An export for ONNX Runtime.

    Args:
        folder: of the export.
        device: "cpu" or None.
        threads: of the CPU; 0 for as many as ONNX Runtime takes.
    """

    def __init__(self, folder: Path, device: str | None, threads: int = 0) -> None:
        super().__init__(folder)
        if device not in (None, "cpu"):
            raise TranslationError(f"{folder} is an export for ONNX, which runs on the CPU; leave out --device")
        self.encoder, self.first, self.later = (
            Graph(folder / name, threads) for name in (ENCODER, DECODER, DECODER_WITH_PAST)
        )

    def search(
        self, source: torch.Tensor, mask: torch.Tensor, prompt: torch.Tensor, options: SearchOptions
    ) -> dict[str, Any]:
        """See `ExportedModel.search`."""
        states = self.encoder({"input_ids": source, "attention_mask": mask})["states"]  # [B, S, D]
        decoder: Any = OnnxDecoder(self.first, self.later, states, mask, options.beams)
        kind = GreedySearch if options.beams == 1 else BeamSearch
        found = kind(decoder, torch.nn.Identity(), prompt, options).run()
        scores = {"sequences_scores": found.sequences_scores, "scores": tuple(found.scores)}
        return {"sequences": found.sequences} | (scores if options.keeps_scores else {})


class OnnxDecoder:
    """Decode position by position, with N beams for each sentence, as `IncrementalDecoder` does."""

    def __init__(self, first: Graph, later: Graph, states: torch.Tensor, mask: torch.Tensor, beams: int) -> None:
        self.first, self.later, self.beams = first, later, beams
        self.states = states.repeat_interleave(beams, dim=0)  # [B * N, S, D]
        self.mask = mask.repeat_interleave(beams, dim=0)  # [B * N, S]
        self.cache: dict[str, torch.Tensor] = {}  # keys and values, [B * N, H, T or S, K]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Decode the next position: map `tokens` `[B, N]` to logits `[B, N, V]`."""
        inputs = {"input_ids": tokens.reshape(-1, 1), "attention_mask": self.mask}
        cache = {f"past_{name}" if name.startswith("self") else name: each for name, each in self.cache.items()}
        found = self.later(inputs | cache) if cache else self.first(inputs | {"states": self.states})
        logits = found.pop("logits")  # [B * N, 1, V]
        self.cache |= found
        return logits.view(*tokens.shape, -1)

    def follow(self, parents: torch.Tensor) -> None:
        """Let each beam continue the hypothesis of the beam that `parents` `[B, N]` names."""
        rows = parents + self.beams * torch.arange(len(parents)).unsqueeze(1)  # [B, N]
        own = {name: each for name, each in self.cache.items() if name.startswith("self")}  # the source is the same
        self.cache |= {name: each.index_select(0, rows.flatten()) for name, each in own.items()}

    def keep(self, sentences: torch.Tensor) -> None:
        """Continue with the sentences of these numbers `[B']` alone."""
        rows = (sentences.unsqueeze(1) * self.beams + torch.arange(self.beams)).flatten()  # [B' * N]
        self.mask = self.mask[rows]
        self.cache = {name: each.index_select(0, rows) for name, each in self.cache.items()}


class Graph:
    """A graph in ONNX Runtime, as a function of named tensors."""

    def __init__(self, file: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library has a dozen kinds of its own, with no common base but this
            raise TranslationError(f"{file} cannot be loaded: {error}; export the model again") from error
        self.inputs = {each.name for each in self.session.get_inputs()}
        self.outputs = [each.name for each in self.session.get_outputs()]

    def __call__(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        arrays = {name: each.numpy() for name, each in inputs.items() if name in self.inputs}
        return dict(zip(self.outputs, map(torch.from_numpy, self.session.run(None, arrays)), strict=True))
