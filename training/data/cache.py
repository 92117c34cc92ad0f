"""Training pairs in files: tokenised once, found again by the hash of their content, and mapped into memory.

    CACHE_DIR/tokenizers-HASH/  as a model folder has them
    CACHE_DIR/pairs-HASH/       the arrays of `EncodedPairs`, one file each; lines.int64, where each pair came from;
                                those of `PairHashes`; corpus.json, the account of the cleaning

HASH stands for everything that the content depends on: the bytes of the data files, the settings that choose and clean
pairs, the vocabulary. Something else changed means another folder; what is no longer needed can be deleted at any time.

A folder appears whole or not at all and has checksums, so what a crash, a full disk or another hand left is made again.
Processes that need the same folder at the same time wait for the one that makes it.

The system holds in memory what is being read of mapped files, and drops it when memory is wanted elsewhere.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from ..system.files import damage_of, is_of_the_system, write_folder, write_manifest
from .cleaning import CleaningReport, FoundRows
from .corpus import Corpus, TextSource
from .encoding import EncodedPairs, encode_usable
from .overlap import PairHashes, note_repeats
from .parallel_text import ParallelText
from .tokenizer import Tokenizers, load_tokenizers, save_tokenizers

RECORD = "corpus.json"
ARRAYS: dict[str, Any] = {
    **{"source_ids": np.int32, "source_offsets": np.int64, "target_ids": np.int32, "target_offsets": np.int64},
    **{"lines": np.int64, "source_hashes": np.uint64, "pair_hashes": np.uint64},
}


def cached_tokenizers(cache: Path, key: str, train: Callable[[], Tokenizers]) -> Tokenizers:
    """The tokenizers that `train` gives, trained if they are not there.

    Raises:
        ValueError: `train` cannot make them, or the cache cannot be written.
    """
    folder = cache / f"tokenizers-{key}"
    _make_sure_of(folder, lambda aside: save_tokenizers(train(), aside))
    return load_tokenizers(folder)


def cached_corpus(cache: Path, key: str, text: TextSource, tokenizers: Tokenizers, max_length: int) -> Corpus:
    """The pairs of a text without those longer than `max_length` tokens on a side, tokenised if they are not there.

    Raises:
        ValueError: the text cannot be read, has bad rows that are refused or no usable pair, or the cache cannot be
            written.
    """
    folder = cache / f"pairs-{key}"
    _make_sure_of(folder, lambda aside: _write_corpus(aside, text, tokenizers, max_length))
    return _open_corpus(folder)


def _make_sure_of(folder: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make a folder unless it is there and whole."""
    if damage_of(folder) is None:
        return

    def write_all(aside: Path) -> None:
        write(aside)
        write_manifest(aside)

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            damage = damage_of(folder)
            if damage is None:  # made by another process meanwhile
                return
            if folder.exists():
                print(f"warning: {folder}: {damage}; making it again", file=sys.stderr)
            write_folder(folder, write_all)
    except Exception as error:
        if not is_of_the_system(error):
            raise
        raise ValueError(
            f"cannot write the cache {folder}: {error}; make room, or choose another cache_dir (null for none)"
        ) from error


class _CorpusFiles:
    """Appends encoded pairs to the files of a corpus."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.files: dict[str, IO[bytes]] = {
            name: stack.enter_context(_file(folder, name).open("wb")) for name in ARRAYS
        }
        self.source_size, self.target_size, self.pairs = 0, 0, 0
        self.starts: list[tuple[str, int]] = []  # each data file, and its first pair
        for name in ("source_offsets", "target_offsets"):
            self._append(name, np.zeros(1))

    def _append(self, name: str, values: npt.NDArray[Any]) -> None:
        self.files[name].write(values.astype(ARRAYS[name]).tobytes())

    def append(self, text: ParallelText, pairs: EncodedPairs) -> None:
        """Add pairs that were encoded from a text."""
        self._append("source_ids", pairs.source_ids)
        self._append("target_ids", pairs.target_ids)
        self._append("source_offsets", pairs.source_offsets[1:] + self.source_size)
        self._append("target_offsets", pairs.target_offsets[1:] + self.target_size)
        self._append("lines", np.array([text.lines[row] for row in pairs.rows]))
        hashes = PairHashes.of((text.sources[row], text.targets[row]) for row in pairs.rows)
        self._append("source_hashes", hashes.sources)
        self._append("pair_hashes", hashes.pairs)
        for number, row in enumerate(pairs.rows, self.pairs):
            name = Path(text.files[row]).name  # the folder may be another one when the cache is found again
            if not self.starts or self.starts[-1][0] != name:
                self.starts.append((name, number))
        self.source_size += len(pairs.source_ids)
        self.target_size += len(pairs.target_ids)
        self.pairs += len(pairs)


def _file(folder: Path, array: str) -> Path:
    return folder / f"{array}.{np.dtype(ARRAYS[array])}"


def _write_corpus(folder: Path, text: TextSource, tokenizers: Tokenizers, max_length: int) -> None:
    report, digest = text.report(), hashlib.sha256()
    with ExitStack() as stack:
        files = _CorpusFiles(folder, stack)
        for part in text.parts(report):
            part.update(digest)
            files.append(part, encode_usable(part, tokenizers, max_length, report))
    report.kept = files.pairs
    report.settle()
    arrays = _open_arrays(folder)
    hashes = PairHashes(arrays["source_hashes"], arrays["pair_hashes"])
    note_repeats(report, hashes, _place(files.starts, arrays["lines"]))
    record = {"report": dataclasses.asdict(report), "digest": digest.hexdigest(), "files": files.starts}
    (folder / RECORD).write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")


def _open_arrays(folder: Path) -> dict[str, npt.NDArray[Any]]:
    return {name: np.memmap(_file(folder, name), dtype, "r") for name, dtype in ARRAYS.items()}


def _place(starts: Sequence[tuple[str, int]], lines: npt.NDArray[np.int64]) -> Callable[[int], str]:
    names, firsts = zip(*starts, strict=True)
    return lambda pair: f"{names[bisect.bisect(firsts, pair) - 1]}:{lines[pair]}"


def _open_corpus(folder: Path) -> Corpus:
    arrays = _open_arrays(folder)
    lines, hashes = arrays.pop("lines"), PairHashes(arrays.pop("source_hashes"), arrays.pop("pair_hashes"))
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    pairs = EncodedPairs(**arrays, rows=range(len(lines)))
    return Corpus(pairs, _report(record["report"]), record["digest"], hashes, _place(record["files"], lines))


def _report(record: Mapping[str, Any]) -> CleaningReport:
    """The account that `dataclasses.asdict` took apart."""
    tables = {
        name: {reason: FoundRows(**found) for reason, found in value.items()}
        for name, value in record.items()
        if isinstance(value, dict)
    }
    return CleaningReport(**{**record, **tables})
