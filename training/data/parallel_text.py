"""Store sentence pairs as text with file and line, and compute their checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from .readers.rows import Row


class Digest(Protocol):
    """Type of `hashlib.sha256()`."""

    def update(self, data: bytes, /) -> None: ...


@dataclass
class ParallelText:
    """Sentence pairs in reading order: `targets[i]` translates `sources[i]`, from line `lines[i]` of `files[i]`."""

    sources: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sources)

    def append(self, row: Row) -> None:
        """Add a usable row."""
        self.sources.append(row.source or "")
        self.targets.append(row.target or "")
        self.files.append(row.file)
        self.lines.append(row.line)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield source and target of each pair."""
        return zip(self.sources, self.targets, strict=True)

    def location(self, index: int) -> str:
        """Return file and line of a pair, for messages."""
        return f"{self.files[index]}:{self.lines[index]}"

    def update(self, digest: Digest) -> None:
        """Add the pairs to a digest, which depends on their order but not on how they are split into chunks."""
        for source, target in self.pairs():
            digest.update(f"{len(source)} {len(target)} {source}{target}".encode())

    def digest(self) -> str:
        """Return the SHA-256 of the pairs."""
        digest = hashlib.sha256()
        self.update(digest)
        return digest.hexdigest()
