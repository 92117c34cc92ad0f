"""Read and write compressed files (`.gz`, `.bz2`, `.xz`, `.zst`); damage in any of their streams is an error."""

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO

DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".bz2": bz2.BZ2Decompressor,
    ".xz": partial(lzma.LZMADecompressor, lzma.FORMAT_XZ),
}
COMPRESSIONS = (".gz", *DECOMPRESSORS, ".zst")
CHUNK = 1 << 16


@contextlib.contextmanager
def decompressed(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    """Open the content of a file by its suffix; a file with another suffix is not decompressed.

    Raises:
        OSError: while reading, if the compressed data are damaged or truncated.
    """
    damage: tuple[type[Exception], ...] = (EOFError, lzma.LZMAError, zlib.error)
    stream: Any = file
    if suffix == ".gz":
        stream = io.BufferedReader(gzip.GzipFile(fileobj=file), CHUNK)
    elif suffix in DECOMPRESSORS:
        stream = io.BufferedReader(_Streams(file, DECOMPRESSORS[suffix]), CHUNK)
    elif suffix == ".zst":
        arrow = _import_arrow()
        stream, damage = io.BufferedReader(arrow.CompressedInputStream(file, "zstd"), CHUNK), (arrow.ArrowException,)
    try:
        yield stream
    except damage as error:
        raise OSError(str(error)) from error


def compress(content: bytes, suffix: str) -> bytes:
    """Compress as a suffix says, into a stream that may follow another; with any other suffix, return the content.

    Raises:
        OSError: the library for this suffix is missing.
    """
    if suffix == ".zst":
        return bytes(_import_arrow().compress(content, codec="zstd", asbytes=True))
    compressors: dict[str, Callable[[bytes], bytes]] = {
        ".gz": partial(gzip.compress, mtime=0),  # equal text, equal file
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    return compressors[suffix](content) if suffix in compressors else content


def _import_arrow() -> Any:
    """Return pyarrow, which reads Zstandard; Python itself does from 3.14 on."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise OSError("Zstandard needs pyarrow: pip install 'sineformer[train]'") from error
    return pyarrow


class _Streams(io.RawIOBase):
    """Concatenated content of the compressed streams of a .bz2 or .xz file.

    `BZ2File` and `LZMAFile` stop silently at bytes after a stream that are no stream, such as a damaged stream.
    """

    def __init__(self, file: BinaryIO, new_decompressor: Callable[[], Any]) -> None:
        self._file, self._new_decompressor = file, new_decompressor
        self._begin(b"")

    def _begin(self, pending: bytes) -> None:
        self._decompressor = self._new_decompressor()
        self._pending = pending
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            if self._decompressor.eof:
                self._begin(self._decompressor.unused_data)
            if not self._pending and self._decompressor.needs_input:
                self._pending = self._file.read(CHUNK)
                if not self._pending and self._begun:
                    raise EOFError("Truncated compressed stream")
                if not self._pending:
                    return 0
            if not self._begun:
                self._pending = self._pending.lstrip(b"\0")  # padding between streams of .xz
                self._begun = bool(self._pending)
            data = self._decompressor.decompress(self._pending, len(buffer))
            self._pending = b""
        buffer[: len(data)] = data
        return len(data)
