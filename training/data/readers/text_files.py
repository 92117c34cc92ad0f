"""Read text files line by line, plain or compressed; a truncated or changing file is an error.

Files may be compressed (`.gz`, `.bz2`, `.xz`, `.zst`), in one stream or several. They are UTF-8, with or without byte
order marks. Lines end only in "\\n" or "\\r\\n": the other separators of `str.splitlines` occur inside sentences and
would shift one side of parallel files against the other.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .compressed import decompressed
from .rows import LONGEST_LINE, Line, decode, is_unicode

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Enough for the mark before the longest line and the end after it.
LINE_ROOM = LONGEST_LINE + len(BYTE_ORDER_MARK) + len(b"\r\n")


def check_file(path: Path) -> None:
    """Raise a `ValueError` if a path cannot be read as data, as far as this is known without opening it."""
    if not is_unicode(str(path)):
        raise ValueError(f"{str(path)!a}: this name is not UTF-8; rename the file")
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f"{path}: no such file; check the path (relative paths start at the working directory)"
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be accessed ({error}); check the path and its permissions") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: a folder, a pipe or a device; give a regular file, which every process can read")
    if not status.st_size:
        raise ValueError(f"{path}: empty, 0 bytes; check how it was made, or remove it")


def text_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file as text, numbered; errors as in `raw_lines`."""
    for number, raw in enumerate(raw_lines(path), 1):
        yield Line(number, *decode(raw))


def raw_lines(path: Path) -> Iterator[bytes]:
    """Yield lines without line ends and byte order marks, which also occur inside concatenated files.

    A line longer than `LONGEST_LINE` bytes is truncated to a few bytes more.

    Raises:
        ValueError: the file cannot be read, is damaged, is UTF-16, or changed while it was read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with decompressed(file, path.suffix.lower()) as stream:
                yield from split_lines(stream, path)
                now = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error}); check the file and its permissions, or fetch it again"
        ) from error
    if now != size:
        raise ValueError(
            f"{path} changed while it was read, from {size:,} to {now:,} bytes; start again when it is complete"
        )


def split_lines(stream: BinaryIO, name: Path | str) -> Iterator[bytes]:
    """Yield the lines of an open file, as `raw_lines` does; `name` is for messages."""
    raw = stream.readline(LINE_ROOM)
    if raw.startswith(UTF16_MARKS):
        raise ValueError(f"{name} is UTF-16; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
    while raw:
        yield raw.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
        while len(raw) == LINE_ROOM and not raw.endswith(b"\n"):
            raw = stream.readline(LINE_ROOM)  # the rest of a line that is too long
        raw = stream.readline(LINE_ROOM)
