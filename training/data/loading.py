"""Load the data of a run: read and clean its splits, load or train its tokenizers, encode its pairs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..settings.arguments import Settings, keys_with
from ..settings.data_arguments import SPLITS, DataArguments, TokenizerArguments
from ..settings.facts import Fact
from ..system.files import checksum
from ..system.processes import on_main_process
from .bpe import train_vocabulary, train_vocabulary_on
from .cache import cached_corpus, cached_tokenizers
from .cleaning import CleaningReport, Limits, clean, read_sample, up_to_usable
from .corpus import Corpus, EvaluationSet, TextSource, key_of
from .embedded_task import load_split
from .encoding import encode_pairs
from .holdout import held_out_rows
from .overlap import PairHashes, note_overlap, note_repeats
from .parallel_text import ParallelText
from .readers.arrow_tables import hub_table, read_hub, rows_of_stream
from .readers.rows import ColumnNames, Row
from .readers.sources import read_files, read_pairs
from .streaming import TextStream, distribute
from .tokenizer import Tokenizers

EMBEDDED_SEED = 0  # not the seed of the run, so that runs with different seeds are comparable
FIRST_PAIRS = 10_000  # of a stream, read before training unless `tokenizer_sample` asks for another number
NO_LIMITS = Limits(max_characters=sys.maxsize, max_length_ratio=math.inf)


class DataError(ValueError):
    """The data cannot be used with these settings."""


@dataclass(frozen=True)
class Data:
    """Data of a run.

    Attributes:
        tokenizers: of source and target.
        train: the training pairs.
        held_out: the validation set and, if there is one, the test set, by name.
    """

    tokenizers: Tokenizers
    train: Corpus | TextStream
    held_out: dict[str, EvaluationSet]


def load_data(settings: Settings, accelerator: Accelerator, tokenizers: Tokenizers | None = None) -> Data:
    """Read and clean all splits, train the tokenizers on the training text unless they are given, encode, and print the
    reports.

    Raises:
        DataError: a split cannot be read or has no usable pairs, or the vocabulary cannot be made.
    """
    try:
        held_out_names = [split for split in SPLITS if split != "train" and has_split(settings.data, split)]
        texts = {split: read_split(settings.data, split) for split in held_out_names}
        tokenizers, train = _load_train(settings, accelerator, tokenizers)
        held_out = {name: _evaluation_set(name, *texts[name], tokenizers) for name in texts}
    except ValueError as error:
        raise DataError(str(error)) from error
    if isinstance(train, Corpus):
        note_overlap(texts, train.hashes)
        accelerator.print(f"train: {train.report}", file=sys.stderr)
        if settings.data.both_directions:
            train = _in_both_directions(train)
            accelerator.print(f"  in both directions: {2 * train.size:,} training pairs", file=sys.stderr)
    else:
        note = "train: a stream; repeated pairs and pairs of other splits are not counted"
        accelerator.print(note, file=sys.stderr)
    for name, (_, report) in texts.items():
        accelerator.print(f"{name}: {report}", file=sys.stderr)
    return Data(tokenizers, train, held_out)


def _load_train(
    settings: Settings, accelerator: Accelerator, tokenizers: Tokenizers | None
) -> tuple[Tokenizers, Corpus | TextStream]:
    with _naming("train"):
        if settings.data.streaming:
            return _train_as_stream(settings, accelerator, tokenizers)
        if settings.data.cache_dir is not None:
            return _train_from_cache(settings, accelerator, tokenizers)
        return _train_in_memory(settings, accelerator, tokenizers)


@contextlib.contextmanager
def _naming(split: str) -> Iterator[None]:
    """Put the name of a split before its error messages."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{split} data: {error}") from error


def _train_in_memory(
    settings: Settings, accelerator: Accelerator, tokenizers: Tokenizers | None
) -> tuple[Tokenizers, Corpus]:
    text, report = _read(settings.data, "train")
    if tokenizers is None:
        languages = _tagged_languages(settings.data)
        tokenizers = on_main_process(accelerator, lambda: train_vocabulary(settings.tokenizer, text.pairs, languages))
    pairs = encode_pairs(text, tokenizers, settings.data.max_length, report)
    hashes = PairHashes.of((text.sources[row], text.targets[row]) for row in pairs.rows)
    corpus = Corpus(pairs, report, text.digest(), hashes, lambda pair: text.location(int(pairs.rows[pair])))
    note_repeats(report, hashes, corpus.location)
    return tokenizers, corpus


def _train_from_cache(
    settings: Settings, accelerator: Accelerator, tokenizers: Tokenizers | None
) -> tuple[Tokenizers, Corpus]:
    data, cache = settings.data, Path(str(settings.data.cache_dir))
    text = TextSource(lambda: _rows(data, "train"), _train_limits(data), lambda: _new_report(data))
    content = {"data": _content(data), "settings": _what_shapes_text(data)}
    if tokenizers is None:
        key = key_of(**content, vocabulary=_what_shapes_text(settings.tokenizer))
        train = functools.partial(train_vocabulary, settings.tokenizer, text.pairs, _tagged_languages(data))
        tokenizers = on_main_process(accelerator, lambda: cached_tokenizers(cache, key, train))
    key = key_of(**content, vocabulary=tokenizers.digest())
    corpus = cached_corpus(cache, key, text, tokenizers, data.max_length)
    # The cache may be of a run with a higher limit, which does not change the pairs.
    corpus.report.max_unusable_share = data.max_unusable_share
    corpus.report.check_share()
    return tokenizers, corpus


def _in_both_directions(corpus: Corpus) -> Corpus:
    """Return a corpus of which `BothDirections` makes two examples of each pair, for their locations."""
    location = corpus.location
    return dataclasses.replace(corpus, location=lambda example: location(example // 2))


def _train_as_stream(
    settings: Settings, accelerator: Accelerator, tokenizers: Tokenizers | None
) -> tuple[Tokenizers, TextStream]:
    data, sizes = settings.data, settings.tokenizer
    stream = TextStream(
        functools.partial(_open_shards, data),
        _train_limits(data),
        data.max_length,
        data.shuffle_buffer,
        data.stream_workers,
        key_of(data=_identity(data), settings=_what_shapes_text(data)),
        data.max_unusable_share,
    )

    def make() -> Tokenizers:
        count = (sizes.tokenizer_sample if tokenizers is None else None) or FIRST_PAIRS
        sample = read_sample(_open_shards(data, [0], 1)[0], stream.limits, _new_report(data), count)
        return tokenizers or train_vocabulary_on(sizes, lambda: iter(sample), _tagged_languages(data))

    made = on_main_process(accelerator, make)
    return tokenizers or made, stream


def _open_shards(data: DataArguments, shards: list[int], count: int) -> list[Iterator[Row]]:
    """Return the rows of these shards of the training data, of `count` in all."""
    if data.dataset in ("embedded", "files"):
        return distribute(_rows(data, "train"), shards, count)
    table = hub_table(str(data.dataset), data.train_split, data.dataset_config, streaming=True)
    columns, location = _columns(data), f"{data.dataset} ({data.train_split})"
    # Every process reads all files and skips the rows of others. Only so can it count the first pairs.
    if table.num_shards % count or data.max_train_samples is not None:
        return distribute(_first_rows(data, rows_of_stream(table, columns, location)), shards, count)
    from datasets.distributed import split_dataset_by_node

    return [
        rows_of_stream(split_dataset_by_node(table, shard, count), columns, f"{location}, shard {shard + 1} of {count}")
        for shard in shards
    ]


def has_split(data: DataArguments, split: str) -> bool:
    """Return whether the settings name this split; only the test split is optional."""
    if data.dataset == "embedded":
        return True
    if data.holds_out and split == "validation":
        return True
    return bool(data.files_of(split)) if data.dataset == "files" else getattr(data, f"{split}_split") is not None


def read_split(data: DataArguments, split: str) -> tuple[ParallelText, CleaningReport]:
    """Return the usable pairs of a split and its report.

    Length limits apply only to training, because scores are computed on complete evaluation sets.

    Raises:
        ValueError: the split cannot be read, or as `CleaningReport.check`.
    """
    with _naming(split):
        return _read(data, split)


def _read(data: DataArguments, split: str) -> tuple[ParallelText, CleaningReport]:
    limits = _train_limits(data) if split == "train" else NO_LIMITS
    return clean(_rows(data, split), limits, data.on_bad_rows, data.max_unusable_share)


def _train_limits(data: DataArguments) -> Limits:
    return Limits(data.max_characters, data.max_length_ratio)


def _new_report(data: DataArguments) -> CleaningReport:
    return CleaningReport(data.on_bad_rows, data.max_unusable_share)


def _first_rows(data: DataArguments, rows: Iterator[Row]) -> Iterator[Row]:
    """Return the rows of the training data up to the last pair that `max_train_samples` allows."""
    return rows if data.max_train_samples is None else up_to_usable(rows, _train_limits(data), data.max_train_samples)


def _rows(data: DataArguments, split: str) -> Iterator[Row]:
    rows = _all_rows(data, split)
    return _first_rows(data, rows) if split == "train" else rows


def _all_rows(data: DataArguments, split: str) -> Iterator[Row]:
    if data.dataset == "embedded":
        size = int(getattr(data, f"{split}_size"))
        return read_pairs(load_split(split, size, EMBEDDED_SEED), f"embedded {split} data")
    if data.dataset == "files":
        if data.holds_out and split != "test":
            return _rows_with_holdout(data, split == "validation")
        return read_files(data.files_of(split), columns_of(data), languages_of(data))
    return read_hub(str(data.dataset), _columns(data), getattr(data, f"{split}_split"), data.dataset_config)


def _rows_with_holdout(data: DataArguments, held_out: bool) -> Iterator[Row]:
    """Return the rows of the training files that are held out, or the others."""

    files, names = tuple(data.files_of("train")), (columns_of(data), languages_of(data))
    stats = tuple((status.st_mtime_ns, status.st_size) for status in (file.stat() for file in files))
    chosen = _held_out(files, stats, names, _train_limits(data), data.validation_size or 0)
    return (row for number, row in enumerate(read_files(list(files), *names)) if (number in chosen) == held_out)


@functools.lru_cache(maxsize=1)
def _held_out(
    files: tuple[Path, ...],
    stats: tuple[tuple[int, int], ...],
    names: tuple[ColumnNames | None, ColumnNames | None],
    limits: Limits,
    size: float,
) -> frozenset[int]:
    """Return `held_out_rows` of files, computed once: loading passes over the training data several times. `stats` tell
    the versions of the files apart."""
    return held_out_rows(read_files(list(files), *names), limits, size)


def columns_of(data: DataArguments) -> ColumnNames | None:
    """Return the columns that the settings name, or None."""
    if data.source_column is None or data.target_column is None:
        return None
    return ColumnNames(data.source_column, data.target_column)


def languages_of(data: DataArguments) -> ColumnNames | None:
    """Return the two languages, after which columns may be named; None if they are unknown."""
    if data.source_language is None or data.target_language is None:
        return None
    return ColumnNames(data.source_language, data.target_language)


def _tagged_languages(data: DataArguments) -> Sequence[str]:
    """Return the languages that have tags in a new vocabulary, that of the recipe's target last."""
    languages = languages_of(data)
    return languages if data.both_directions and languages is not None else ()


def _columns(data: DataArguments) -> ColumnNames:
    columns = columns_of(data) or languages_of(data)
    if columns is None:
        raise ValueError("a dataset has named columns; set source_column and target_column, or the languages")
    return columns


def _identity(data: DataArguments) -> Any:
    """Return an identity as `_content`, without reading the data: it misses changes that keep names and sizes."""
    if data.dataset == "files":
        return [(file.name, file.stat().st_size) for file in data.files_of("train")]
    return _content(data) if data.dataset == "embedded" else data.dataset


def _content(data: DataArguments) -> Any:
    """Return an identity of the training data that depends only on their content."""
    if data.dataset == "embedded":
        return hashlib.sha256(repr(load_split("train", data.train_size, EMBEDDED_SEED)).encode()).hexdigest()
    if data.dataset == "files":
        return [("".join(file.suffixes), checksum(file)) for file in data.files_of("train")]
    return hub_table(str(data.dataset), data.train_split, data.dataset_config)._fingerprint


def _what_shapes_text(concern: DataArguments | TokenizerArguments) -> dict[str, Any]:
    """Return the settings that the training pairs, or the vocabulary, depend on."""
    leaves = keys_with(Fact.LEAVES_TEXT)
    return {key: value for key, value in dataclasses.asdict(concern).items() if key not in leaves}


def data_digests(data: Data) -> dict[str, str]:
    """Return the SHA-256 of every split after cleaning, and of the vocabulary."""
    held_out = {name: held_out.text.digest() for name, held_out in data.held_out.items()}
    return {"train": data.train.digest, **held_out, "vocabulary": data.tokenizers.digest()}


def _evaluation_set(name: str, text: ParallelText, report: CleaningReport, tokenizers: Tokenizers) -> EvaluationSet:
    no_limit = sys.maxsize  # as for characters
    return EvaluationSet(name, text, encode_pairs(text, tokenizers, no_limit, report))
