"""Write a long output window by window, so that an interrupted run keeps what it has written, and resume it.

    out.txt.partial         the windows so far; renamed to out.txt at the end
    out.txt.partial.json    how many lines these are, the size of the file, the digest of their sources, and the options

After a crash the file may be longer than the second one says: the rest is an incomplete window, which is cut off.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ..system.files import real_path, replace_file, write_file
from .translator import TranslationError

PARTIAL = ".partial"


class PartialOutput:
    """The partial file of an output; as a context, it becomes the output at the end, and is kept after an error.

    Args:
        file: the output.
        options: all that the output depends on, beside its source.
        resume: whether to continue a partial file, if there is one.

    Attributes:
        lines: number of sources whose translations are written.

    Raises:
        TranslationError: the partial file is in use; or it holds lines, but `resume` is not given or the options
            differ.
        OSError: it cannot be written.
    """

    def __init__(self, file: Path, options: Mapping[str, Any], resume: bool) -> None:
        self.file, self.options = file, dict(options)
        self.path = real_path(file).with_name(real_path(file).name + PARTIAL)
        self.record = self.path.with_name(self.path.name + ".json")
        self.lines, self.size, self.digest = 0, 0, hashlib.sha256()
        self.expected: str | None = None
        self.stream: BinaryIO = self.path.open("ab")  # does not truncate what another process writes
        try:
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._continue(resume)
            self.stream.truncate(self.size)
        except BlockingIOError as error:
            self.stream.close()
            raise TranslationError(f"{self.path} is being written by another process; name another output") from error
        except BaseException:
            self.stream.close()
            raise

    def _continue(self, resume: bool) -> None:
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            lines, size, digest, options = (record[name] for name in ("lines", "size", "sources", "options"))
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError) as error:
            raise TranslationError(f"{self.record} is damaged; remove it to start again") from error
        if lines == 0 or self.path.stat().st_size < size:
            return  # nothing to keep; or the run had ended, or the file was removed
        if not resume:
            raise TranslationError(
                f"{self.path} has the first {lines:,} lines of an interrupted run; continue with --resume, or remove "
                "it to start again"
            )
        other = [name for name in self.options if self.options[name] != options.get(name)]
        if other:
            raise TranslationError(
                f"{self.path} was written with another {', '.join(other)}; use the same, or remove it to start again"
            )
        self.lines, self.size, self.expected = lines, size, digest

    def skip(self, sources: Iterator[str]) -> None:
        """Skip the sources that are translated already.

        Raises:
            TranslationError: they differ from those of the interrupted run.
        """
        for _ in range(self.lines):
            self._add(next(sources, ""))
        if self.expected not in (None, self.digest.hexdigest()):
            raise TranslationError(
                f"{self.path}: the first {self.lines:,} lines of the input differ from those of the interrupted run; "
                "give the same input, or remove this file to start again"
            )

    def write(self, sources: Sequence[str], content: bytes) -> None:
        """Write the translations of the next sources; they are kept from now on."""
        self.stream.write(content)
        self.stream.flush()
        os.fsync(self.stream.fileno())
        for source in sources:
            self._add(source)
        self.lines, self.size = self.lines + len(sources), self.size + len(content)
        record = {"lines": self.lines, "size": self.size, "sources": self.digest.hexdigest(), "options": self.options}
        write_file(self.record, json.dumps(record, indent=2) + "\n")

    def _add(self, source: str) -> None:
        self.digest.update(source.encode() + b"\n")

    def __enter__(self) -> PartialOutput:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                replace_file(self.path, real_path(self.file))
                self.record.unlink(missing_ok=True)
            elif self.lines == 0:
                self.path.unlink(missing_ok=True)
                self.record.unlink(missing_ok=True)
            else:
                print(f"{self.path} keeps {self.lines:,} lines; continue with --resume", file=sys.stderr)
        finally:
            self.stream.close()
