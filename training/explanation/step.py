"""Define a step of the walk-through, and format its numbers within 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .labels import visible

COLUMNS = 80
INDENT = 4
LABEL = 14  # letters of a token in a table
FEATURES = 5  # shown of a vector
ROWS = 12  # shown of a matrix


@dataclass(frozen=True)
class Step:
    """Hold one step.

    Attributes:
        title: what happens.
        section: where the paper has it.
        code: the file and name that compute it here.
        equation: one or several lines.
        text: what to look at.
        numbers: lines of at most 76 letters.
        picture: the name of its picture, one of `pages.PICTURES`; None if it has none.
    """

    title: str
    section: str
    code: str
    equation: str
    text: str
    numbers: Sequence[str] = ()
    picture: str | None = None


def label(token: str) -> str:
    """Return a token in a width of `LABEL`, shortened if it is longer."""
    shown = visible(token)
    return f"{shown if len(shown) <= LABEL else shown[: LABEL - 1] + '~':{LABEL}}"


def shape(letters: str, values: torch.Tensor) -> str:
    """Return a shape in letters and numbers: `[S, D] = [9, 128]`."""
    return f"[{', '.join(letters)}] = {list(values.shape)}"


def vectors(tokens: Sequence[str], values: torch.Tensor) -> list[str]:
    """Return the first features of the vector of each token, `values` `[length, D]`."""
    rows = [label(token) + numbers(row) for token, row in zip(tokens[:ROWS], values, strict=False)]
    return rows + (["..."] if len(tokens) > ROWS else [])


def numbers(vector: torch.Tensor) -> str:
    """Return the first features of a vector."""
    shown = "".join(f"{value:9.3f}" for value in vector[:FEATURES].tolist())
    return shown + ("  ..." if len(vector) > FEATURES else "")


def matrix(rows: Sequence[str], columns: Sequence[str], values: torch.Tensor) -> list[str]:
    """Return weights `[rows, columns]`, as many as fit: zeros as dots, and columns numbered as the rows are named."""
    count = min(len(columns), (COLUMNS - INDENT - LABEL - 4 - 4) // 5)
    more = "  ..." if len(columns) > count else ""
    lines = [" " * (LABEL + 4) + "".join(f"{index:5}" for index in range(1, count + 1)) + more]
    for index, (token, row) in enumerate(zip(rows[:ROWS], values.tolist(), strict=False), 1):
        cells = "".join("    ." if value == 0 else f"{value:5.2f}" for value in row[:count])
        lines.append(f"{index:3} {label(token)}{cells}{more}")
    return lines + (["..."] if len(rows) > ROWS else [])


def legend(columns: Sequence[str]) -> list[str]:
    """Return the names of numbered columns."""
    named = "   ".join(f"{index}\N{NO-BREAK SPACE}{visible(token)}" for index, token in enumerate(columns, 1))
    return textwrap.wrap(f"columns: {named}", COLUMNS - INDENT)
