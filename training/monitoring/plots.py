"""Plot curves over the steps of a run: each panel as SVG, and all of them in one PNG."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

Values = npt.NDArray[np.float64]

MOST_POINTS = 500
NICE = (1, 2, 2.5, 5, 10)  # distances of ticks, times a power of ten
FEW_POINTS = 30  # up to this number, points have markers: a single one would be invisible
# The colour-blind safe palette of Okabe and Ito.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}
PANEL_INCHES = (5.2, 3.2)
MARGINS = {"left": 0.15, "right": 0.97, "bottom": 0.15, "top": 0.9}
DOTS_PER_INCH = 110


@dataclass(frozen=True)
class Curve:
    """Values over steps; values that are not finite leave a gap."""

    name: str
    steps: Values
    values: Values


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: of the plot.
        unit: of the values.
        curves: those without any value are left out.
        logarithmic: whether the scale is logarithmic, for positive values.
        from_zero: whether the scale starts at zero.
    """

    title: str
    unit: str
    curves: Sequence[Curve]
    logarithmic: bool = False
    from_zero: bool = False


def svg(panel: Panel) -> str:
    """Return a plot as an SVG document, identical for identical values."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": panel.title}):
        figure = Figure(figsize=PANEL_INCHES)
        _draw(figure.subplots(gridspec_kw=MARGINS), panel)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def png(panels: Sequence[Panel]) -> bytes:
    """Return all plots, two in a row, as a PNG file."""
    rows = -(-len(panels) // 2)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2 * PANEL_INCHES[0], rows * PANEL_INCHES[1]))
        grid = figure.subplots(rows, 2, squeeze=False)
        figure.subplots_adjust(left=0.08, right=0.98, bottom=0.06, top=0.96, wspace=0.22, hspace=0.38)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw(axes, panel)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontweight="bold")
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel(panel.unit)
    axes.grid(alpha=0.3)
    drawn = [curve for curve in (_usable(each, panel.logarithmic) for each in panel.curves) if len(curve.steps)]
    for color, curve in zip(itertools.cycle(COLORS), drawn, strict=False):
        _draw_curve(axes, curve, color)
    if not drawn:
        axes.text(0.5, 0.5, "nothing was recorded", transform=axes.transAxes, ha="center", color="#666666")
        axes.set(xticks=[], yticks=[])
        return
    if len(panel.curves) > 1:
        axes.legend(frameon=False)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=NICE, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if panel.logarithmic:
        _scale_logarithmically(axes, np.concatenate([curve.values for curve in drawn]))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=NICE))
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,g}")


def _usable(curve: Curve, logarithmic: bool) -> Curve:
    """Return the curve with gaps for values that cannot be drawn; without points if no value can be drawn."""
    drawable = np.isfinite(curve.values) & ((curve.values > 0) | (not logarithmic))
    if not drawable.any():
        return Curve(curve.name, np.empty(0), np.empty(0))
    return Curve(curve.name, curve.steps, np.where(drawable, curve.values, np.nan))


def _draw_curve(axes: Axes, curve: Curve, color: str) -> None:
    steps, values = curve.steps, curve.values
    if len(steps) > MOST_POINTS:
        steps, values, lowest, highest = _thin(steps, values)
        axes.fill_between(steps, lowest, highest, color=color, alpha=0.25, linewidth=0)
    marker: Any = "o" if len(steps) <= FEW_POINTS else None
    axes.plot(steps, values, color=color, marker=marker, markersize=3.5, linewidth=1.4, label=curve.name)


def _thin(steps: Values, values: Values) -> tuple[Values, Values, Values, Values]:
    """Return mean steps, and mean, lowest and highest values, of `MOST_POINTS` sections of a long curve; gaps stay."""
    rows = []
    sections = (np.array_split(each, MOST_POINTS) for each in (steps, values))
    for some_steps, some_values in zip(*sections, strict=True):
        finite = some_values[np.isfinite(some_values)] if np.isfinite(some_values).any() else np.array([np.nan])
        rows.append((some_steps.mean(), finite.mean(), finite.min(), finite.max()))
    mean_steps, means, lowest, highest = np.array(rows).T
    return mean_steps, means, lowest, highest


def _scale_logarithmically(axes: Axes, values: Values) -> None:
    axes.set_yscale("log")
    decades = float(np.log10(np.nanmax(values) / np.nanmin(values)))
    few = LogLocator(subs=(1, 2, 5) if decades < 3 else (1,))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=NICE) if decades < 1 else few)
    axes.yaxis.set_minor_locator(NullLocator())
