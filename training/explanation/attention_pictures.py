"""Draw attention weights as heat maps: an alignment, all heads of a layer, or what one word attends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..pretrained.inspection import AttentionMap, Inspection, InspectionError
from .labels import visible
from .picture_files import picture_style

CELL = 0.3  # inches
LETTER = 0.085  # inches of a letter of the longest label
TITLE = 0.5  # inches
COLUMNS = 2  # of heads
COLORS = "Blues"
NAMES = {"encoder": "Self-attention of the encoder", "decoder": "Self-attention of the decoder"}
NAMES |= {"cross": "Cross-attention"}
KINDS = tuple(NAMES)


@dataclass(frozen=True)
class Choice:
    """Say what to draw of a translation.

    Attributes:
        heads: one of `KINDS`, whose heads are drawn one by one; None for the alignment, the mean of cross-attention.
        layer: from 1; None for all in the alignment, for the last of `heads`.
        word: with `heads`, the only word whose attention is drawn, as a row for each head.
        tokens: whether rows and columns are tokens; words otherwise.
    """

    heads: str | None = None
    layer: int | None = None
    word: str | None = None
    tokens: bool = False


def draw_attention(inspection: Inspection, choice: Choice) -> Figure:
    """Return the chosen picture.

    Raises:
        InspectionError: there is no such layer or word.
    """
    kind = choice.heads or "cross"
    weights: torch.Tensor = getattr(inspection, f"{kind}_weights")  # [L, H, queries, keys]
    layers, heads = weights.shape[:2]
    layer = choice.layer or (layers if choice.heads else None)
    if layer is not None and not 1 <= layer <= layers:
        raise InspectionError(f"there is no layer {layer}; the model has {layers}, from 1 to {layers}")

    def select(head: int | None) -> AttentionMap:
        found: AttentionMap = getattr(inspection, f"{kind}_attention")(None if layer is None else layer - 1, head)
        return found if choice.tokens else found.by_words()

    where = f"layer {layer} of {layers}"
    if choice.heads is None:
        return attention_figure("Alignment" if layer is None else f"Alignment, {where}", select(None))
    maps, title = [select(head) for head in range(heads)], f"{NAMES[kind]}, {where}"
    if choice.word is not None:
        return attention_figure(f"{title}: {choice.word}", viewpoints(maps, choice.word))
    return heads_figure(title, maps)


def attention_figure(title: str, attention: AttentionMap) -> Figure:
    """Return one heat map: a row for each token that attends, a column for each that is attended to."""
    return heads_figure(title, [attention])


def heads_figure(title: str, maps: Sequence[AttentionMap]) -> Figure:
    """Return a heat map of each head, of the same tokens and on one scale of colours."""
    rows, columns = -(-len(maps) // COLUMNS), min(len(maps), COLUMNS)
    width = CELL * len(maps[0].keys) + LETTER * max(map(len, maps[0].queries)) + 0.3
    height = CELL * len(maps[0].queries) + LETTER * max(map(len, maps[0].keys)) + TITLE
    with picture_style():
        figure = Figure(figsize=(columns * width + 0.9, rows * height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        highest = max(float(each.weights.max()) for each in maps)
        for number, (axes, attention) in enumerate(zip(grid.flat, maps, strict=False), 1):
            image = _draw(axes, attention, highest)
            axes.set_title(f"head {number}" if len(maps) > 1 else "", loc="left")
        for axes in grid.flat[len(maps) :]:
            axes.set_axis_off()
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        figure.colorbar(image, ax=grid, label="attention weight", shrink=0.8, aspect=30)
    return figure


def _draw(axes: Axes, attention: AttentionMap, highest: float) -> Any:
    """Draw a heat map whose darkest colour is the weight `highest`."""
    image = axes.imshow(attention.weights.numpy(), cmap=COLORS, vmin=0, vmax=highest, aspect="equal")
    axes.set_xticks(range(len(attention.keys)), [_label(each) for each in attention.keys], rotation=90)
    axes.set_yticks(range(len(attention.queries)), [_label(each) for each in attention.queries])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # Lines between the cells.
    axes.set_xticks([index - 0.5 for index in range(1, len(attention.keys))], minor=True)
    axes.set_yticks([index - 0.5 for index in range(1, len(attention.queries))], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    return image


def _label(token: str) -> str:
    """Return a token as the label of a row or column, which is no formula even with dollars."""
    return visible(token).replace("$", r"\$")


def viewpoints(heads: Sequence[AttentionMap], word: str) -> AttentionMap:
    """Return what each head attends to from one word: a row for each head.

    Raises:
        InspectionError: no query is this word.
    """
    words = heads[0].queries
    if word not in words:
        raise InspectionError(f"{word!r} is none of the words that attend: {', '.join(words)}")
    weights = torch.stack([each.weights[words.index(word)] for each in heads])  # [H, keys]
    return AttentionMap([f"head {number}" for number in range(1, len(heads) + 1)], heads[0].keys, weights)
