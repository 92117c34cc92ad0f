"""Translate with an export for CTranslate2, by its own search.

It is the search of `modeling/search.py` except for its end. CTranslate2 ends when a sentence has as many hypotheses for
each beam as its patience (Kasai et al., 2022, "Beam Decoding with Controlled Patience"). A patience of 1 is
`early_stopping=True`; without that, the model searches until no better hypothesis is expected, which a patience of 2
nearly always finds too.

Letters of the shape comments: B sentences, R returned hypotheses, S source length, T target length.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ....modeling.search import SearchOptions
from ...data.tokenizer import Tokenizers
from ..translator import TranslationError
from .ctranslate2_writer import vocabularies
from .exported_model import ExportedModel

PATIENCE = 2


def device_of_ctranslate2(device: str | None) -> str:
    """Return a device of CTranslate2, "cpu", "cuda" or "cuda:1"; for None a GPU if it finds one, else the CPU."""
    import ctranslate2

    return device or ("cuda" if ctranslate2.get_cuda_device_count() else "cpu")


class CTranslate2Model(ExportedModel):
    """An export for CTranslate2.

    Args:
        folder: of the export. tokenizers: of the export.
        device: see `device_of_ctranslate2`.
        threads: of the CPU; 0 for as many as CTranslate2 takes.
    """

    def __init__(self, folder: Path, tokenizers: Tokenizers, device: str | None, threads: int = 0) -> None:
        super().__init__(folder)
        import ctranslate2

        self.source_tokens, self.target_tokens = vocabularies(tokenizers, self.config)
        self.target_ids = {token: index for index, token in enumerate(self.target_tokens)}
        device = device_of_ctranslate2(device)
        kind, _, index = device.partition(":")
        place: dict[str, Any] = {"device_index": int(index)} if index.isdecimal() else {}
        try:
            self.translator = ctranslate2.Translator(str(folder), kind, intra_threads=threads, **place)
        except (RuntimeError, ValueError) as error:
            raise TranslationError(f"CTranslate2 cannot load {folder} on {device}: {error}") from error

    def search(
        self, source: torch.Tensor, mask: torch.Tensor, prompt: torch.Tensor, options: SearchOptions
    ) -> dict[str, Any]:
        """See `ExportedModel.search`. A call of CTranslate2 has one limit of the length; so there is one for each."""
        longest = int(mask.ne(0).sum(dim=1).max())
        if longest > self.config.max_position_embeddings:
            raise TranslationError(
                f"a sentence has {longest:,} tokens, but an export for CTranslate2 translates at most "
                f"{self.config.max_position_embeddings:,} (`max_position_embeddings`); split it, or use the model"
            )
        hypotheses: list[list[list[str]]] = [[]] * len(source)
        scores: list[list[float]] = [[]] * len(source)
        for limit in options.limits.unique().tolist():
            rows = (options.limits == limit).nonzero().flatten().tolist()
            texts = [[self.source_tokens[each] for each in source[row][mask[row].ne(0)].tolist()] for row in rows]
            for row, found in zip(rows, self._translate(texts, prompt.shape[1], limit, options), strict=True):
                hypotheses[row], scores[row] = found.hypotheses, found.scores
        start = prompt[0].tolist()
        ids = [torch.tensor(start + [self.target_ids[token] for token in each]) for each in chain(*hypotheses)]
        sequences = pad_sequence(ids, batch_first=True, padding_value=options.pad)  # [B * R, T]
        flat = list(chain(*scores))
        return {"sequences": sequences, "sequences_scores": torch.tensor(flat)} if flat else {"sequences": sequences}

    def _translate(self, texts: list[list[str]], prompt_length: int, limit: int, options: SearchOptions) -> Any:
        try:
            return self.translator.translate_batch(
                texts,
                beam_size=options.beams,
                num_hypotheses=options.returned,
                patience=1 if options.early_stopping is True else PATIENCE,
                length_penalty=options.length_penalty,
                max_input_length=0,  # no limit
                max_decoding_length=limit - prompt_length,
                min_decoding_length=max(0, options.min_length - prompt_length),
                end_token=[self.target_tokens[each] for each in options.ends.tolist()],
                return_end_token=True,
                return_scores=options.keeps_scores,
            )
        except (RuntimeError, ValueError) as error:
            raise TranslationError(f"CTranslate2: {error}") from error
