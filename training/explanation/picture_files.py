"""Set the style of the pictures, and save them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from ..monitoring.plots import STYLE
from ..system.files import file_problem, write_file

SUFFIXES = (".png", ".svg")
DOTS_PER_INCH = 110


@contextmanager
def picture_style() -> Iterator[None]:
    """Draw in the style of the curves of a run, with the same SVG for the same picture."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "sineformer"}):
        yield


def picture_problem(path: Path) -> str | None:
    """Return why a picture cannot be written, with the fix; None if it can."""
    if path.suffix.lower() not in SUFFIXES:
        return f"{path} is not the name of a picture; end it in {' or '.join(SUFFIXES)}"
    return file_problem(path)


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the suffix of the path; the same figure gives the same bytes.

    Raises:
        ValueError: the suffix is another one, or the file cannot be written; as `picture_problem` says beforehand.
    """
    problem = picture_problem(path)
    if problem is not None:
        raise ValueError(problem)
    kind = path.suffix.lower().removeprefix(".")
    content = io.BytesIO()
    with picture_style(), warnings.catch_warnings():
        if kind == "svg":  # its text is drawn by the viewer, with the fonts there
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(content, format=kind, dpi=DOTS_PER_INCH, bbox_inches="tight", metadata=metadata)
    write_file(path, content.getvalue())
