"""Define the settings of the data and of their tokenizers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .facts import (
    AT_LEAST_ONE,
    COMMON,
    FRACTION_OR_ONE,
    LEAVES_TEXT,
    MAY_CHANGE,
    MAY_DIFFER,
    NOT_NEGATIVE,
    PAIRS_OR_SHARE,
    PATH,
    PRIVATE,
    setting,
)

SPLITS = ("train", "validation", "test")
EMBEDDED, EMBEDDED_LANGUAGES, EMBEDDED_VALIDATION_SIZE = "embedded", ("en", "de"), 500


@dataclass
class DataArguments:
    """Sources of the sentence pairs, and which pairs are used."""

    dataset: str | None = setting(
        "'embedded' (a task that needs no data), 'files', or the id of a dataset on the Hub; left out: files, if "
        "they are given.",
        None,
        PATH,
        COMMON,
    )
    dataset_config: str | None = setting("Configuration name of the Hub dataset.", None)
    dataset_name: str | None = setting(
        "Name of the data in the model card; default: the value of dataset.", None, MAY_CHANGE, LEAVES_TEXT
    )
    data_dir: str = setting(
        "Folder of the data files, for relative names.", ".", PATH, PRIVATE, MAY_CHANGE, LEAVES_TEXT, COMMON
    )
    train_files: list[str] = setting(
        "Parallel text files, source then target, in one or several pairs; or TSV, CSV, JSONL or Parquet files. Text "
        "that is given twice counts twice.",
        [],
        PATH,
        LEAVES_TEXT,
        COMMON,
    )
    validation_files: list[str] = setting("The same for validation.", [], PATH, LEAVES_TEXT, COMMON)
    test_files: list[str] = setting("The same for the test; optional.", [], PATH, LEAVES_TEXT, COMMON)
    train_split: str = setting("Split of the Hub dataset to train on; slices such as train[:95%%] work.", "train")
    validation_split: str = setting("Split of the Hub dataset for validation.", "validation", LEAVES_TEXT)
    test_split: str | None = setting("Split of the Hub dataset for the test; optional.", None, LEAVES_TEXT)
    source_language: str | None = setting(
        "Code of the source language, such as en; default: that of model_name_or_path or of the embedded task.",
        None,
        MAY_DIFFER,
        COMMON,
    )
    target_language: str | None = setting("The same of the target language.", None, MAY_DIFFER, COMMON)
    both_directions: bool = setting(
        "Use every training pair the other way round too, so that one model translates both directions; sources begin "
        "with a tag of the language to translate into, such as >>de<<. Validation and test keep the direction of "
        "source_language and target_language.",
        False,
    )
    source_column: str | None = setting(
        "Column of the source in tables and datasets; left out: the one that is named as its language.",
        None,
    )
    target_column: str | None = setting("The same for the target.", None)
    train_size: int = setting("Pairs to draw from the embedded task for training.", 40_000, AT_LEAST_ONE)
    validation_size: float | None = setting(
        "Without validation_files: pairs to hold out of train_files, or their share if below 1; none is in both. "
        "Of the embedded task: pairs for validation, 500 if left out.",
        None,
        PAIRS_OR_SHARE,
        MAY_CHANGE,  # the data are compared themselves, and beside validation_files it has no effect
        COMMON,
    )
    test_size: int = setting("Pairs of the embedded task for the test.", 1_000, AT_LEAST_ONE, LEAVES_TEXT)
    max_train_samples: int | None = setting(
        "Train on the first n usable pairs only, without those longer than max_length tokens.",
        None,
        AT_LEAST_ONE,
        COMMON,
    )
    max_characters: int = setting("Longest usable sentence, in characters.", 2_000, AT_LEAST_ONE)
    max_length: int = setting("Longest usable sentence, in tokens, end token included.", 256, AT_LEAST_ONE)
    max_length_ratio: float = setting(
        "Largest usable ratio of the lengths of both sides, in letters: a Chinese character counts as three, one of "
        "kana, Hangul or another wide script as two.",
        5.0,
        AT_LEAST_ONE,
    )
    streaming: bool = setting(
        "Read training data on demand instead of loading all; for data of any size.", False, LEAVES_TEXT
    )
    shuffle_buffer: int = setting(
        "Pairs of a stream held in memory, over all processes.", 100_000, AT_LEAST_ONE, LEAVES_TEXT
    )
    stream_workers: int = setting(
        "Additional processes per training process that read and tokenise the stream.", 0, NOT_NEGATIVE, LEAVES_TEXT
    )
    cache_dir: str | None = setting(
        "Folder for the tokenised training data, which then need not fit into memory; default: kept in memory.",
        None,
        PATH,
        PRIVATE,
        MAY_CHANGE,
        LEAVES_TEXT,
    )
    on_bad_rows: Literal["drop", "refuse"] = setting("Drop unusable rows or refuse the data; both report them.", "drop")
    max_unusable_share: float = setting(
        "Largest fraction of unusable rows in a set; with more, training does not start.",
        0.1,
        FRACTION_OR_ONE,
        LEAVES_TEXT,
    )

    def __post_init__(self) -> None:
        if self.dataset is None and any(self.files_of(split) for split in SPLITS):
            self.dataset = "files"
        if self.dataset == EMBEDDED:
            self.source_language = self.source_language or EMBEDDED_LANGUAGES[0]
            self.target_language = self.target_language or EMBEDDED_LANGUAGES[1]
            self.validation_size = self.validation_size or EMBEDDED_VALIDATION_SIZE

    @property
    def holds_out(self) -> bool:
        """Return whether validation pairs are held out of the training files."""
        return self.dataset == "files" and self.validation_size is not None and not self.validation_files

    def files_of(self, split: str) -> list[Path]:
        """Return the data files of a split, relative to `data_dir`."""
        return [Path(self.data_dir) / name for name in getattr(self, f"{split}_files")]


@dataclass
class TokenizerArguments:
    """The subword vocabulary, trained on the training data, and how training text is segmented."""

    vocab_size: int = setting(
        "Tokens of the joint vocabulary (section 5.1), or of the source if there are two.",
        8_000,
        AT_LEAST_ONE,
        COMMON,
    )
    target_vocab_size: int | None = setting(
        "Tokens of a separate target vocabulary; default: a joint one.", None, AT_LEAST_ONE
    )
    tokenizer_sample: int | None = setting(
        "Pairs that the vocabulary is trained on: a sample, or the first ones of a stream; default: all.",
        None,
        AT_LEAST_ONE,
    )
    bpe_dropout: float = setting(
        "Probability of skipping a merge when training text is segmented, again in every epoch and in memory "
        "(BPE-dropout, Provilkov et al., 2020); 0.1 in the paper.",
        0.0,
        FRACTION_OR_ONE,
        LEAVES_TEXT,
    )
