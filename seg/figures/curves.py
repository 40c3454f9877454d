"""Precision-recall curves and reliability diagrams, as charts for an HTML page."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seg.figures.style import INK
from seg.figures.svg import BLUE, GRID, MUTED, ORANGE, chart
from seg.metrics.ratio import Floats

MAX_POINTS = 200
"""Points of a curve that are drawn."""

_COLUMNS = MAX_POINTS // 4


@dataclass(frozen=True, eq=False)
class Curve:
    """A precision-recall curve as it is drawn.

    Attributes:
        recall_P, precision_P: At most `MAX_POINTS` points, 0 to 1, recall ascending.
        stepped: Precision holds from one recall to the next, so that the area below is the average precision; of a
            curve that was thinned, steps would look coarser than they are.
    """

    recall_P: Floats
    precision_P: Floats
    stepped: bool


def drawn_curve(recall_P: Floats, precision_P: Floats) -> Curve:
    """A precision-recall curve, see `seg.metrics.scene.precision_recall`, thinned out where it has many points."""
    return Curve(*thin(recall_P, precision_P), stepped=len(recall_P) <= MAX_POINTS)


def thin(x_P: Floats, y_P: Floats) -> tuple[Floats, Floats]:
    """A curve of at most `MAX_POINTS` points that looks like the whole one.

    Of the points in each of 50 columns of equal width the first, the last, the lowest and the highest stay (M4, Jugel
    et al. 2014), so no peak and no dip is lost.

    Args:
        x_P: 0 to 1, ascending.
        y_P: The values there.
    """
    if len(x_P) <= MAX_POINTS:
        return x_P, y_P
    column_P = np.minimum((x_P * _COLUMNS).astype(np.int64), _COLUMNS - 1)
    first = np.flatnonzero(np.diff(column_P, prepend=-1))
    last = np.append(first[1:], len(x_P)) - 1
    by_value = np.lexsort((y_P, column_P))
    kept = np.unique(np.concatenate([first, last, by_value[first], by_value[last]]))
    return x_P[kept], y_P[kept]


def curve_chart(
    curve: Curve, share: float, points: list[tuple[float, float, bool]], backdrop: Curve | None = None
) -> Figure:
    """A precision-recall curve.

    Args:
        curve: What is shown.
        share: Share of positives, the precision of guessing.
        points: Recall and precision where labels are decided, and whether that is at a fitted threshold.
        backdrop: Another curve to compare with, drawn faintly behind.
    """
    figure = chart(180, 168)
    axes = figure.add_axes((0.2, 0.2, 0.76, 0.76), xlim=(0, 1), ylim=(0, 1.03))
    _style(axes, "Recall", "Precision", (0, 0.5, 1))
    axes.axhline(share, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    if backdrop is not None:
        _draw(axes, backdrop, MUTED, 0.9, 0.55)
    _draw(axes, curve, BLUE, 1.6, 1)
    for recall, precision, fitted in points:
        # A ring for 0.5, filled for a fitted threshold.
        face = ORANGE if fitted else "none"
        axes.plot([recall], [precision], "o", markersize=5, color=ORANGE, markerfacecolor=face, clip_on=False)
    return figure


def reliability_chart(
    count_B: npt.NDArray[np.int64], confidence_B: Floats, accuracy_B: Floats, *, across: str, up: str, what: str
) -> Figure:
    """A reliability diagram: how often what was said with some confidence is right, and how often it was said.

    Args:
        count_B: Cases in each bin of equal width.
        confidence_B: Mean confidence in each, 0 to 1; NaN where empty.
        accuracy_B: Share that is right in each; NaN where empty.
        across, up: What the axes show.
        what: What is counted, such as ``pixels``.
    """
    figure = chart(300, 325)
    axes = figure.add_axes((0.17, 0.32, 0.79, 0.66), xlim=(0, 1), ylim=(0, 1))
    _style(axes, "", up, (0, 0.25, 0.5, 0.75, 1))
    axes.tick_params(axis="x", labelbottom=False)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    seen = ~np.isnan(confidence_B)
    # The gap to the diagonal is what is wrong with the confidence.
    axes.vlines(confidence_B[seen], confidence_B[seen], accuracy_B[seen], color=ORANGE, linewidth=2.4, alpha=0.75)
    axes.plot(confidence_B[seen], accuracy_B[seen], "o-", color=BLUE, linewidth=1.4, markersize=4.5, clip_on=False)

    below = figure.add_axes((0.17, 0.115, 0.79, 0.17), xlim=(0, 1), sharex=axes)
    bins, total = len(count_B), max(1, int(count_B.sum()))
    edges = np.arange(bins) / bins
    shares = 100 * count_B / total
    below.bar(edges, shares, width=0.9 / bins, align="edge", color=BLUE, alpha=0.65, linewidth=0)
    _style(below, across, f"% of\n{what}", (0, 0.25, 0.5, 0.75, 1))
    top = _nice(float(shares.max(initial=0)))
    below.set(ylim=(0, top), yticks=(0, top), yticklabels=("0", f"{top:g}"))
    return figure


def _draw(axes: Axes, curve: Curve, color: str, width: float, alpha: float) -> None:
    # From recall 0 on: the first threshold reaches its recall at once.
    recall_P, precision_P = np.append(0, curve.recall_P), np.append(curve.precision_P[0], curve.precision_P)
    style = "steps-pre" if curve.stepped else "default"
    axes.plot(recall_P, precision_P, color=color, linewidth=width, alpha=alpha, drawstyle=style)


def _nice(value: float) -> float:
    """The smallest of 5, 10, 20, 50 and 100 that is at least the value."""
    return next((limit for limit in (5.0, 10.0, 20.0, 50.0) if value <= limit), 100.0)


def _style(axes: Axes, across: str, up: str, ticks: tuple[float, ...]) -> None:
    axes.set_facecolor("none")
    axes.set_xlabel(across, fontsize=9, color=INK, labelpad=3)
    axes.set_ylabel(up, fontsize=9, color=INK, labelpad=3)
    axes.set(xticks=ticks, yticks=ticks)
    axes.set(xticklabels=[f"{tick:g}" for tick in ticks], yticklabels=[f"{tick:g}" for tick in ticks])
    axes.tick_params(labelsize=8.5, color=MUTED, labelcolor=INK, length=3, width=0.7, pad=3)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=MUTED, linewidth=0.7)
