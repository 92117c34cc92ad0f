"""Open the output of a translation command, plain or compressed, and format translations as text, TSV or JSONL."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from ..data.readers.compressed import compressing
from ..system.files import file_problem, open_atomic
from .translation import Hypothesis
from .translator import TranslationError

FORMATS = ("text", "tsv", "jsonl")


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Yield a UTF-8 stream into a file that is replaced when the context ends without an error; None: standard output.

    The suffixes `.gz`, `.bz2`, `.xz` and `.zst` compress it.

    Raises:
        TranslationError: on entry if the file cannot be written; on exit if the disk is full.
    """
    if path is None:
        if sys.stdout is None:
            raise TranslationError("standard output is closed; name a file with --output")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield sys.stdout
        return
    problem = file_problem(path)
    if problem is not None:
        raise TranslationError(problem)
    try:
        with (
            open_atomic(path, f".{os.getpid()}") as file,
            compressing(file, path.suffix.lower()) as stream,
            io.TextIOWrapper(stream, encoding="utf-8", newline="\n") as text,
        ):
            yield text
    except OSError as error:
        reason = error.strerror or error
        raise TranslationError(f"{path} cannot be written: {reason}; it is unchanged") from error


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
