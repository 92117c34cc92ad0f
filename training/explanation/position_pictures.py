"""Draw the positional encoding of section 3.5: both layouts, single features, and dot products."""

from __future__ import annotations

import itertools

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...modeling.positional_encoding import sinusoidal_encoding
from ..monitoring.plots import COLORS
from .picture_files import picture_style

CURVES = 3  # pairs of features drawn as curves
SHARE_OF_FREQUENCIES = 0.3  # the others hardly move within a sentence
ANCHORS = 3  # positions whose dot products with all others are drawn


def positions_figure(d_model: int, length: int) -> Figure:
    """Return four views of the encoding of `length` positions by `d_model` features: as a heat map in both layouts,
    single features as curves, and the dot product of two positions against their distance."""
    with picture_style():
        figure = Figure(figsize=(10.5, 7), layout="constrained")
        ((interleaved, halves), (curves, products)) = figure.subplots(2, 2)
        for axes, layout, title in (
            (interleaved, "interleaved", "Interleaved: sin, cos, sin, cos, ... (the paper)"),
            (halves, "halves", "Halves: all sines, then all cosines (tensor2tensor)"),
        ):
            encoding = sinusoidal_encoding(torch.arange(length), d_model, layout)  # [length, D]
            image = axes.imshow(encoding.numpy(), cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
            axes.set_title(title, loc="left", fontweight="bold")
            axes.set(xlabel="feature", ylabel="position")
        figure.colorbar(image, ax=halves)
        draw_features(curves, d_model, length)
        draw_products(products, d_model, length)
    return figure


def draw_features(axes: Axes, d_model: int, length: int) -> None:
    """Draw some pairs of features over the positions: sines solid, cosines dashed."""
    positions = torch.arange(length)
    encoding = sinusoidal_encoding(positions, d_model)  # [length, D]
    pairs = d_model // 2
    chosen = sorted({int(each * pairs * SHARE_OF_FREQUENCIES) for each in (step / CURVES for step in range(CURVES))})
    for color, pair in zip(itertools.cycle(COLORS), chosen, strict=False):
        axes.plot(positions, encoding[:, 2 * pair], color=color, label=f"features {2 * pair}, {2 * pair + 1}")
        axes.plot(positions, encoding[:, 2 * pair + 1], color=color, linestyle="--", linewidth=0.9)
    axes.set_title("Single features: sines solid, cosines dashed", loc="left", fontweight="bold")
    axes.set(xlabel="position", ylim=(-1.1, 1.5))
    axes.legend(frameon=False, ncols=2, loc="upper right")


def draw_products(axes: Axes, d_model: int, length: int) -> None:
    """Draw the dot product of some positions with all others: it depends only on their distance."""
    positions = torch.arange(length)
    encoding = sinusoidal_encoding(positions, d_model)  # [length, D]
    anchors = sorted({round(step * (length - 1) / (ANCHORS - 1)) for step in range(ANCHORS)})
    for width, color, anchor in zip((4.0, 2.2, 1.0), COLORS, anchors, strict=False):
        axes.plot(positions - anchor, encoding @ encoding[anchor], color=color, linewidth=width, label=f"p = {anchor}")
    axes.set_title("Dot product of positions p and p + k", loc="left", fontweight="bold")
    axes.set(xlabel="distance k", ylim=(None, d_model / 2 * 1.1))
    axes.legend(frameon=False)
