"""Write what the page shows of a translation as HTML, from the templates in `views.html.j2`.

Everything is escaped, because tokens are whatever somebody has typed.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from PIL import Image

from ...modeling.positional_encoding import sinusoidal_encoding
from ..explanation.labels import visible
from ..pretrained.inspection import AttentionMap, Inspection

TEMPLATES = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    (Path(__file__).parent / "views.html.j2").read_text(encoding="utf-8")
)
LOWEST, HIGHEST = (33, 102, 172), (178, 24, 43)  # colours of -1 and 1; 0 is white


def heat_map(attention: AttentionMap, title: str) -> str:
    """Return a table with a row for each token that attends and a column for each that is attended to.

    Its darkest cell has the highest weight of the table.
    """
    highest = float(attention.weights.max())
    shares = (attention.weights / highest).tolist()
    rows = zip(map(visible, attention.queries), attention.weights.tolist(), shares, strict=True)
    cells = [(query, list(zip(weights, row, strict=True))) for query, weights, row in rows]
    return _render("heat_map", title=title, keys=list(map(visible, attention.keys)), rows=cells, highest=highest)


def token_tables(inspection: Inspection) -> str:
    """Return the segmentation of source and translation, and for each target token its probability and others."""
    rows = [
        (visible(token), probability, [(visible(each.token), each.probability) for each in others])
        for token, probability, others in zip(
            inspection.target, inspection.probabilities, inspection.runners_up, strict=True
        )
    ]
    return _render("token_tables", source=list(map(visible, inspection.source)), rows=rows)


def position_table(tokens: Sequence[str], d_model: int, layout: str) -> str:
    """Return the positional encoding of each token as a stripe of colours, one for each feature."""
    encoding = sinusoidal_encoding(torch.arange(len(tokens)), d_model, layout)  # [S, D]
    rows = [(visible(token), _stripe(row)) for token, row in zip(tokens, encoding, strict=True)]
    return _render("position_table", rows=rows, d_model=d_model, layout=layout)


def _stripe(values: torch.Tensor) -> str:
    """Return values `[D]` from -1 to 1 as the address of a picture of D x 1 pixels."""
    end = torch.where(values[:, None] < 0, torch.tensor(LOWEST), torch.tensor(HIGHEST))  # [D, 3]
    colors = 255 + (end - 255) * values.abs()[:, None]
    file = io.BytesIO()
    Image.fromarray(colors.round().to(torch.uint8)[None].numpy()).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def message(text: str, is_problem: bool = False) -> str:
    """Return a line about what has happened."""
    return _render("message", text=text, is_problem=is_problem)


def progress(done: int, total: int) -> str:
    """Return a progress bar of lines."""
    return _render("progress", done=done, total=total)


def _render(macro: str, **values: Any) -> str:
    return str(getattr(TEMPLATES.module, macro)(**values))
