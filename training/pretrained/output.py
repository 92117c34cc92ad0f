"""Open the output of a translation command, plain or compressed, and format translations as text, TSV or JSONL."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..data.readers.compressed import compress
from ..system.files import file_problem
from .partial_output import PartialOutput
from .translation import Hypothesis
from .translator import TranslationError

FORMATS = ("text", "tsv", "jsonl")


Write = Callable[[Sequence[str], str], object]  # takes the next sources, and their translations as text


class Output(NamedTuple):
    """An open output.

    Attributes:
        write: writes the translations of the next sources.
        lines: number of sources whose translations an interrupted run has written.
        skip: skips these sources.
    """

    write: Write
    lines: int = 0
    skip: Callable[[Iterator[str]], object] = lambda sources: None


@contextlib.contextmanager
def open_output(path: Path | None, options: Mapping[str, Any], resume: bool = False) -> Iterator[Output]:
    """Yield an output, UTF-8: a file that is replaced when the context ends without an error; None: standard output.

    The suffixes `.gz`, `.bz2`, `.xz` and `.zst` compress it, each text by itself. After an error, a partial file keeps
    what was written.

    Args:
        path: the file.
        options: all that the output depends on, beside its source.
        resume: whether to continue what an interrupted run has kept.

    Raises:
        TranslationError: on entry if the file cannot be written or continued; on exit if the disk is full.
    """
    if path is None:
        stream = _standard_output()

        def write_now(sources: Sequence[str], text: str) -> None:
            stream.write(text)
            stream.flush()

        yield Output(write_now)
        return
    problem = file_problem(path)
    if problem is not None:
        raise TranslationError(problem)
    try:
        suffix = path.suffix.lower()
        empty = compress(b"", suffix)
        if path.exists() and not path.is_file():  # a device or a pipe
            with path.open("wb") as device:
                yield Output(lambda sources, text: device.write(compress(text.encode(), suffix)))
            return
        with PartialOutput(path, options, resume) as file:

            def write(sources: Sequence[str], text: str) -> None:
                file.write(sources, compress(text.encode(), suffix))

            yield Output(write, file.lines, file.skip)
            if file.size == 0:
                file.write([], empty)
    except OSError as error:
        reason = error.strerror or error
        raise TranslationError(f"{path} cannot be written: {reason}; it is unchanged") from error


def _standard_output() -> TextIO:
    if sys.stdout is None:
        raise TranslationError("standard output is closed; name a file with --output")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    return sys.stdout


def header(output_format: str, scores: bool) -> str:
    """Return what precedes the translations: the names of the columns of TSV."""
    return _tsv_row("line", "rank", *(["score"] if scores else []), "translation") if output_format == "tsv" else ""


def format_translations(output_format: str, number: int, source: str, hypotheses: Sequence[Hypothesis]) -> str:
    """Return the lines of output for one source.

    Args:
        output_format: "text", the best translation; "tsv", a row per translation; "jsonl", an object per source.
        number: of the source's line, from 1.
        hypotheses: of the source, best first.
    """
    if output_format == "text":
        return hypotheses[0].text + "\n"
    if output_format == "jsonl":
        translations = [_as_record(each) for each in hypotheses]
        return json.dumps({"line": number, "source": source, "translations": translations}, ensure_ascii=False) + "\n"
    rows = [
        _tsv_row(number, rank, *([] if each.score is None else [f"{each.score:.4f}"]), each.text)
        for rank, each in enumerate(hypotheses, 1)
    ]
    return "".join(rows)


def _as_record(hypothesis: Hypothesis) -> dict[str, Any]:
    record = {"text": hypothesis.text, "score": hypothesis.score}
    return {name: value for name, value in record.items() if value is not None}


def _tsv_row(*cells: object) -> str:
    return "\t".join(str(cell).replace("\t", " ") for cell in cells) + "\n"
