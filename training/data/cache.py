"""Cache tokenised training pairs in memory-mapped files, named by the hash of their content.

    CACHE_DIR/tokenizers-HASH/  the tokenizer files of a model folder
    CACHE_DIR/pairs-HASH/       the arrays of `EncodedPairs` and `PairHashes`, one file each; lines.int64, the line of
                                each pair; corpus.json, the report of the cleaning

HASH depends on the bytes of the data files, the settings that select and clean pairs, and the vocabulary. If one of
them changes, another folder is used; folders can be deleted at any time.

A folder is written atomically and has checksums: an incomplete or damaged one is written again. Processes that need the
same folder at the same time wait for the one that writes it.

The operating system keeps the parts of the mapped files that are read in memory, and evicts them when memory is short.
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

from ..system.files import damage_of, is_system_error, write_folder, write_manifest
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
    """Return cached tokenizers; call `train` and cache its result if there are none.

    Raises:
        ValueError: `train` fails, or the cache cannot be written.
    """
    folder = cache / f"tokenizers-{key}"
    _ensure(folder, lambda aside: save_tokenizers(train(), aside))
    return load_tokenizers(folder)


def cached_corpus(cache: Path, key: str, text: TextSource, tokenizers: Tokenizers, max_length: int) -> Corpus:
    """Return the cached pairs of a text; tokenise and cache those up to `max_length` tokens a side if there are none.

    Raises:
        ValueError: the text cannot be read, has bad rows that are refused or no usable pair, or the cache cannot be
            written.
    """
    folder = cache / f"pairs-{key}"
    _ensure(folder, lambda aside: _write_corpus(aside, text, tokenizers, max_length))
    return _open_corpus(folder)


def _ensure(folder: Path, write: Callable[[Path], None]) -> None:
    """Call `write` to make a folder unless it exists and is complete."""
    if damage_of(folder) is None:
        return

    def write_all(aside: Path) -> None:
        write(aside)
        write_manifest(aside)

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            damage = damage_of(folder)
            if damage is None:  # written by another process meanwhile
                return
            if folder.exists():
                print(f"warning: {folder}: {damage}; writing it again", file=sys.stderr)
            write_folder(folder, write_all)
    except Exception as error:
        if not is_system_error(error):
            raise
        raise ValueError(
            f"cannot write the cache {folder}: {error}; free disk space, or choose another cache_dir (null for none)"
        ) from error


class _CorpusFiles:
    """Writer that appends encoded pairs to the files of a corpus."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.files: dict[str, IO[bytes]] = {
            name: stack.enter_context(_file(folder, name).open("wb")) for name in ARRAYS
        }
        self.source_size, self.target_size, self.pairs = 0, 0, 0
        self.starts: list[tuple[str, int]] = []  # each data file and the index of its first pair
        for name in ("source_offsets", "target_offsets"):
            self._append(name, np.zeros(1))

    def _append(self, name: str, values: npt.NDArray[Any]) -> None:
        self.files[name].write(values.astype(ARRAYS[name]).tobytes())

    def append(self, text: ParallelText, pairs: EncodedPairs) -> None:
        """Append pairs that were encoded from a text."""
        self._append("source_ids", pairs.source_ids)
        self._append("target_ids", pairs.target_ids)
        self._append("source_offsets", pairs.source_offsets[1:] + self.source_size)
        self._append("target_offsets", pairs.target_offsets[1:] + self.target_size)
        self._append("lines", np.array([text.lines[row] for row in pairs.rows]))
        hashes = PairHashes.of((text.sources[row], text.targets[row]) for row in pairs.rows)
        self._append("source_hashes", hashes.sources)
        self._append("pair_hashes", hashes.pairs)
        for number, row in enumerate(pairs.rows, self.pairs):
            name = Path(text.files[row]).name  # without its folder, which may differ in a later run
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
        for chunk in text.chunks(report):
            chunk.update(digest)
            files.append(chunk, encode_usable(chunk, tokenizers, max_length, report))
    report.kept = files.pairs
    report.check()
    arrays = _open_arrays(folder)
    hashes = PairHashes(arrays["source_hashes"], arrays["pair_hashes"])
    note_repeats(report, hashes, _location(files.starts, arrays["lines"]))
    record = {"report": dataclasses.asdict(report), "digest": digest.hexdigest(), "files": files.starts}
    (folder / RECORD).write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")


def _open_arrays(folder: Path) -> dict[str, npt.NDArray[Any]]:
    return {name: np.memmap(_file(folder, name), dtype, "r") for name, dtype in ARRAYS.items()}


def _location(starts: Sequence[tuple[str, int]], lines: npt.NDArray[np.int64]) -> Callable[[int], str]:
    names, firsts = zip(*starts, strict=True)
    return lambda pair: f"{names[bisect.bisect(firsts, pair) - 1]}:{lines[pair]}"


def _open_corpus(folder: Path) -> Corpus:
    arrays = _open_arrays(folder)
    lines, hashes = arrays.pop("lines"), PairHashes(arrays.pop("source_hashes"), arrays.pop("pair_hashes"))
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    pairs = EncodedPairs(**arrays, rows=range(len(lines)))
    return Corpus(pairs, _report(record["report"]), record["digest"], hashes, _location(record["files"], lines))


def _report(record: Mapping[str, Any]) -> CleaningReport:
    """Return the report that was written with `dataclasses.asdict`."""
    tables = {
        name: {reason: FoundRows(**found) for reason, found in value.items()}
        for name, value in record.items()
        if isinstance(value, dict)
    }
    return CleaningReport(**{**record, **tables})
