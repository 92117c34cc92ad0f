"""Measure a model: the loss on the references, and the metrics of `scores.py` on its translations.

Each process measures some of the batches; gathered, they cover the set exactly once, for any number of processes.
Batches are the same for any number of processes, because rounding, and with it a near-tie in beam search, depends on
what else is in a batch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather_object

from ...modeling.loss import IGNORED
from ..data.batching import Seq2SeqCollator, evaluation_batches
from ..data.corpus import EvaluationSet
from ..data.encoding import EncodedPairs
from ..data.tokenizer import Tokenizers
from ..pretrained.translation import source_batches, translate_batch
from ..settings.arguments import Settings
from .languages import WESTERN, bleu_tokenizer, needs_target_language
from .scores import Example, Scores, score_translations

SAMPLES = 5
LOSS_POSITIONS = 2_048  # per batch; the logits of one position take 4 * 37,000 bytes for a large vocabulary


def choose_tokenizer(settings: Settings, references: Sequence[str]) -> str:
    """Return the tokenizer of BLEU for a run. Warn if it does not fit the script of the references, as when a recipe
    leaves out `target_language`."""
    language, wanted = settings.data.target_language, settings.evaluation.bleu_tokenize
    chosen = wanted or bleu_tokenizer(language or "")
    if wanted is None and chosen == WESTERN and needs_target_language(references) and PartialState().is_main_process:
        print(
            f"warning: target_language is {language!r}, but its tokenizer of BLEU, {chosen}, cannot split the script "
            "of the validation data into words; set target_language, or bleu_tokenize",
            file=sys.stderr,
        )
    return chosen


def pick_samples(data: EvaluationSet, translations: Sequence[str]) -> list[Example]:
    """Return `SAMPLES` translations spread evenly over an evaluation set, always of the same sentences."""
    count = len(translations)
    rows = sorted({index * count // SAMPLES for index in range(SAMPLES)})
    return [Example(data.text.sources[row], data.text.targets[row], translations[row]) for row in rows]


@dataclass
class Evaluator:
    """Measure a model on all processes together: every process must call it, and all get the same scores.

    Attributes:
        accelerator: of the run.
        tokenizers: of source and target.
        collator: makes batches of pairs.
        batch_size: sentences per batch of one process; a smaller set occupies one process only.
        bleu_tokenize: sacrebleu's name of the tokenizer of BLEU.
    """

    accelerator: Accelerator
    tokenizers: Tokenizers
    collator: Seq2SeqCollator
    batch_size: int
    bleu_tokenize: str = WESTERN

    def measure(self, model: Any, data: EvaluationSet, num_beams: int) -> tuple[Scores, list[str]]:
        """Return the scores of the model and its translations in the order of the set; the model keeps its mode."""
        was_training = model.training
        model.eval()
        loss = self.mean_loss(model, data.pairs)
        translations = self.translate(model, data.text.sources, num_beams)
        model.train(was_training)
        payload: list[dict[str, Any]] = [{}]
        if self.accelerator.is_main_process:
            payload = [score_translations(translations, data.text.targets, self.bleu_tokenize)]
        broadcast_object_list(payload)
        about = {"loss": loss, "sentences": len(data.text.sources), "num_beams": num_beams}
        return Scores.from_record(about | payload[0]), translations

    @torch.inference_mode()
    def mean_loss(self, model: Any, pairs: EncodedPairs) -> float:
        """Return the mean cross-entropy per target token over all pairs, in nats."""
        positions = max(LOSS_POSITIONS, int(pairs.lengths.max()))
        process = self.accelerator.process_index, self.accelerator.num_processes
        mine: list[tuple[float, int]] = []
        for indices in evaluation_batches(pairs.lengths, positions, *process):
            batch = self.collator([pairs[index] for index in indices])
            tokens = int((batch["labels"] != IGNORED).sum())
            loss = model(**{key: value.to(model.device) for key, value in batch.items()}).loss
            mine.append((float(loss) * tokens, tokens))
        sums: list[tuple[float, int]] = gather_object(mine)
        return math.fsum(total for total, _ in sums) / sum(tokens for _, tokens in sums)  # exact in any order

    def translate(self, model: Any, sources: Sequence[str], num_beams: int) -> list[str]:
        """Return the translations of all sources, in their order."""
        batches = source_batches(self.tokenizers, sources, self.batch_size)
        mine = [
            (line, text)
            for batch in batches[self.accelerator.process_index :: self.accelerator.num_processes]
            for line, text in zip(batch.lines, translate_batch(model, self.tokenizers, batch, num_beams), strict=True)
        ]
        gathered = dict(gather_object(mine))
        return [gathered.get(line, "") for line in range(len(sources))]
