"""The checksum that tells whether sentence pairs are the same."""

import hashlib

from .cleaning import ParallelText


class TextDigest:
    """The SHA-256 of sentence pairs, in their order, taken in one part after another."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, text: ParallelText) -> None:
        """Take in the pairs that come next."""
        for source, target in zip(text.sources, text.targets, strict=True):
            self._digest.update(f"{len(source)} {len(target)} {source}{target}".encode())

    def hexdigest(self) -> str:
        """The digest so far."""
        return self._digest.hexdigest()


def text_digest(text: ParallelText) -> str:
    """The SHA-256 of sentence pairs, in their order."""
    digest = TextDigest()
    digest.update(text)
    return digest.hexdigest()
