"""From the settings to everything a run reads: cleaned text, tokenizers, token ids, evaluation sets."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from .arguments import SPLITS, DataArguments, Settings, TokenizerArguments
from .arrow_tables import read_hub
from .batching import EncodedPairs, encode_pairs
from .cleaning import CleaningReport, Limits, ParallelText, clean
from .embedded_task import load_split
from .evaluation import EvaluationSet
from .overlap import note_repeats
from .rows import ColumnNames, Row
from .sources import read_files, read_pairs
from .tokenizer import Tokenizers, train_tokenizers

EMBEDDED_SEED = 0  # not the run's: runs with different seeds stay comparable
NO_LIMITS = Limits(max_characters=sys.maxsize, max_length_ratio=math.inf)


class DataError(ValueError):
    """The data cannot be used as the settings ask."""


@dataclass(frozen=True)
class Data:
    """Everything a run reads.

    Attributes:
        tokenizers: of source and target.
        text: the training pairs.
        pairs: the training pairs as token ids.
        held_out: the validation set and, if there is one, the test set, by name.
    """

    tokenizers: Tokenizers
    text: ParallelText
    pairs: EncodedPairs
    held_out: dict[str, EvaluationSet]


def load_data(settings: Settings, accelerator: Accelerator) -> Data:
    """Read and clean all splits, train the tokenizers on the training text, encode, and report what was left out.

    Raises:
        DataError: a split cannot be read or has no usable pairs, or the vocabulary cannot be made.
    """
    try:
        texts = {split: read_split(settings.data, split) for split in SPLITS if has_split(settings.data, split)}
        note_repeats(texts)
        train_text, train_report = texts["train"]
        tokenizers = _train_tokenizers(settings.tokenizer, accelerator, train_text)
        pairs = encode_pairs(train_text, tokenizers, settings.data.max_length, train_report)
        held_out = {name: _evaluation_set(name, *texts[name], tokenizers) for name in texts if name != "train"}
    except ValueError as error:
        raise DataError(str(error)) from error
    for name, (_, report) in texts.items():
        accelerator.print(f"{name}: {report}")
    return Data(tokenizers, train_text, pairs, held_out)


def has_split(data: DataArguments, split: str) -> bool:
    """Whether the settings name this split; only the test may be missing."""
    if data.dataset == "embedded":
        return True
    return bool(data.files_of(split)) if data.dataset == "files" else getattr(data, f"{split}_split") is not None


def read_split(data: DataArguments, split: str) -> tuple[ParallelText, CleaningReport]:
    """The usable pairs of a split and the account of the others.

    Limits on length hold for training only: a score counts on the whole of an evaluation set.

    Raises:
        ValueError: the source cannot be read, or has bad rows that the settings refuse, or has no usable ones.
    """
    limits = Limits(data.max_characters, data.max_length_ratio) if split == "train" else NO_LIMITS
    try:
        return clean(_rows(data, split), limits, data.on_bad_rows)
    except ValueError as error:
        raise ValueError(f"{split} data: {error}") from error


def _rows(data: DataArguments, split: str) -> Iterator[Row]:
    if data.dataset == "embedded":
        size: int = getattr(data, f"{split}_size")
        return read_pairs(load_split(split, size, EMBEDDED_SEED), f"embedded {split} data")
    if data.dataset == "files":
        return read_files(data.files_of(split), data.columns)
    columns = data.columns or ColumnNames(data.source_language, data.target_language)
    return read_hub(data.dataset, columns, getattr(data, f"{split}_split"), data.dataset_config)


def _train_tokenizers(sizes: TokenizerArguments, accelerator: Accelerator, text: ParallelText) -> Tokenizers:
    """Trained by the main process; the others get its tokenizers, without need of a common disk."""
    made: list[Tokenizers | None] = [None]
    if accelerator.is_main_process:
        made = [train_tokenizers(text.sources, text.targets, sizes.vocab_size, sizes.target_vocab_size)]
    broadcast_object_list(made)
    tokenizers = made[0]
    assert tokenizers is not None, "the main process has made them"
    return tokenizers


def _evaluation_set(name: str, text: ParallelText, report: CleaningReport, tokenizers: Tokenizers) -> EvaluationSet:
    no_limit = sys.maxsize  # as for characters
    return EvaluationSet(name, text, encode_pairs(text, tokenizers, no_limit, report))
