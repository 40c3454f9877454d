"""Charts of scores with intervals, one row per class or per country, for an HTML page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from seg.figures.style import INK
from seg.figures.svg import BLUE, GRID, MUTED, ORANGE, SURFACE, WIDTH, chart
from seg.reben.classes import hexadecimal

_LEFT, _RIGHT = 0.42, 0.97  # of the width: rows are named to the left
_HEAD, _FOOT = 22, 36  # points above and below the rows
_WIDE, _TITLE, _TITLE_LETTERS = 560, 32, 84
_STEP, _STEP_NOTED = 22, 27  # points from row to row; the same for one score and for two, so that charts line up
_SWATCH = 9.2  # points
_MARKS = (("o", BLUE, 5.8), ("D", ORANGE, 4.4))  # shape, colour and size of the dots of the first and second score
_CAPS = 10  # points: longer than the dots are high, so that an interval as narrow as a dot is still seen
_APART = 0.25  # of a row: how far two scores stand above and below its middle, so that no interval covers another


@dataclass(frozen=True)
class Dot:
    """A score with its interval, fractions; NaN where undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class DotRow:
    """A row of a chart.

    Attributes:
        name: Stands to the left.
        dots: One for each score of the chart.
        note: Stands below the name, in smaller letters; such as the support.
        color: Red, green, blue (0-255) of a swatch before the name.
    """

    name: str
    dots: tuple[Dot, ...]
    note: str = ""
    color: tuple[int, int, int] | None = None


def dot_chart(rows: Sequence[DotRow], scores: Sequence[str], across: str) -> Figure:
    """Scores as dots on bars with caps, which are their intervals; from 0 to 100 %. Of two scores, one is above.

    Args:
        rows: From the top down.
        scores: Names of the dots of every row, one or two.
        across: What the axis shows.
    """
    return _chart(rows, scores, across, WIDTH, _HEAD)


def dot_picture(rows: Sequence[DotRow], scores: Sequence[str], across: str, title: str) -> Figure:
    """A `dot_chart` that stands alone: wider, on white, and with a title of up to two lines."""
    figure = _chart(rows, scores, across, _WIDE, _HEAD + _TITLE)
    figure.set_facecolor("white")
    figure.text(0.02, 0.985, fill(title, _TITLE_LETTERS), fontsize=10, color=INK, va="top", fontweight="bold")
    return figure


def _chart(rows: Sequence[DotRow], scores: Sequence[str], across: str, width: float, head: float) -> Figure:
    """A chart with room for its head above the rows, points."""
    step = _STEP_NOTED if any(row.note for row in rows) else _STEP
    height = head + step * len(rows) + _FOOT
    figure = chart(width, height)
    axes = figure.add_axes((_LEFT, _FOOT / height, _RIGHT - _LEFT, step * len(rows) / height))
    axes.set(xlim=(0, 100), ylim=(len(rows) - 0.5, -0.5), yticks=[], xticks=(0, 25, 50, 75, 100))
    axes.set_facecolor("none")
    axes.set_xlabel(across, fontsize=9.5, color=INK)
    axes.tick_params(labelsize=9, color=MUTED, labelcolor=INK, length=3, width=0.7)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.hlines(range(len(rows)), 0, 100, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=MUTED, linewidth=0.7)
    for position, row in enumerate(rows):
        _name(axes, position, row, step)
    for number in range(min(len(scores), len(_MARKS))):
        _draw(axes, rows, number, 0.0 if len(scores) == 1 else (-_APART, _APART)[number])
    if len(scores) > 1:
        _key(figure, scores, 1 - (head - 13) / height)
    return figure


def _name(axes: Axes, position: int, row: DotRow, step: float) -> None:
    """Name and note of a row of so many points, left of the axes; x is a share of their width, y a row."""
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "parse_math": False, "ha": "right"}
    undefined = all(math.isnan(dot.value) for dot in row.dots)
    right = -0.05 if row.color is None else -0.11
    shift = -0.19 if row.note else 0.0
    color = MUTED if undefined else INK
    axes.text(right, position + shift, row.name, fontsize=9.5, color=color, va="center_baseline", **place)
    if row.note:
        axes.text(right, position + 0.24, row.note, fontsize=8, color=MUTED, va="center_baseline", **place)
    if undefined:
        axes.text(1.5, position, "– undefined", fontsize=8.5, color=MUTED, va="center_baseline")
    if row.color is not None:
        face = hexadecimal(row.color)
        size = _SWATCH / step
        place = {"transform": axes.get_yaxis_transform(), "facecolor": face}
        swatch = Rectangle((-0.075, position - size / 2), 0.046, size, **place)
        swatch.set(edgecolor=MUTED, linewidth=0.6, clip_on=False)
        axes.add_patch(swatch)


def _draw(axes: Axes, rows: Sequence[DotRow], number: int, side: float) -> None:
    """The dots of a score on their intervals, so far below the middle of their rows."""
    marker, color, size = _MARKS[number]
    defined = [(y + side, dot) for y, row in enumerate(rows) if not math.isnan((dot := row.dots[number]).value)]
    style: dict[str, Any] = {"color": color, "clip_on": False}
    bounded = [(y, dot) for y, dot in defined if not math.isnan(dot.low) and not math.isnan(dot.high)]
    if bounded:
        ends = np.array([[[100 * dot.low, y], [100 * dot.high, y]] for y, dot in bounded])
        # One line for all of them, broken by what is undefined: a line for each takes most of the time of a page.
        x, y = np.pad(ends, ((0, 0), (0, 1), (0, 0)), constant_values=math.nan).reshape(-1, 2).T
        axes.plot(x, y, linewidth=1.6, solid_capstyle="butt", label="interval", **style)
        axes.plot(*ends.reshape(-1, 2).T, "|", markersize=_CAPS, markeredgewidth=1.3, **style)
    # The rim keeps the dot apart from its bar.
    rim: dict[str, Any] = {"markeredgecolor": SURFACE, "markeredgewidth": 0.8}
    axes.plot([100 * dot.value for _, dot in defined], [y for y, _ in defined], marker, markersize=size, **rim, **style)


def _key(figure: Figure, scores: Sequence[str], y: float) -> None:
    height = 72 * figure.get_figheight()
    for number, (name, (marker, color, size)) in enumerate(zip(scores, _MARKS, strict=False)):
        x = _LEFT + 0.02 + 0.22 * number
        axes = figure.add_axes((x - 0.015, y - 5 / height, 0.03, 10 / height), xlim=(-1, 1), ylim=(-1, 1))
        axes.set_axis_off()
        axes.plot([0], [0], marker, color=color, markersize=size)
        figure.text(x + 0.025, y, name, fontsize=9.5, color=INK, va="center_baseline", parse_math=False)
