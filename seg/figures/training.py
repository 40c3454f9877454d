"""Figures of a training run."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seg.errors import RunError
from seg.figures.style import INK, LINES, canvas, write_title

_SCORE_NAMES = {
    "miou": "mIoU",
    "mf1": "mF1",
    "oa": "OA",
    "ap_macro": "AP macro",
    "ap_micro": "AP micro",
    "f1_macro": "F1 macro",
    "f1_micro": "F1 micro",
}
_SCORE_COLUMN = re.compile(rf"(?:val_)?({'|'.join(_SCORE_NAMES)})")


def training_figure(rows: Sequence[Mapping[str, Any]], *, title: str, synthetic: bool) -> Figure:
    """Losses and validation scores by epoch.

    Args:
        rows: One mapping per epoch, as in ``log.csv``: ``epoch``, columns whose name holds ``loss``, and columns named
            by a validation score (``miou`` or ``val_miou``). Numbers or their text; empty where undefined.
        title: Title of the figure.
        synthetic: Whether the data are synthetic; the title then says so.

    Raises:
        RunError: If there is no row.
    """
    if not rows:
        raise RunError("the training log has no epoch yet; train for one epoch to draw it")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    epochs = [_number(row.get("epoch", i)) for i, row in enumerate(rows)]
    losses = {key: key.replace("_", " ") for key in columns if "loss" in key}
    scores = {key: _SCORE_NAMES[match[1]] for key in columns if (match := _SCORE_COLUMN.fullmatch(key))}
    figure = canvas(1560, 600)
    left, right = figure.add_axes((0.045, 0.12, 0.33, 0.71)), figure.add_axes((0.42, 0.12, 0.34, 0.71))
    _style(left, "Loss")
    _style(right, "Validation scores")
    for color, (key, label) in zip(cycle(LINES), losses.items(), strict=False):
        _curve(left, epochs, [_number(row.get(key)) for row in rows], label, color)
    for color, (key, label) in zip(cycle(LINES), scores.items(), strict=False):
        values = [_number(row.get(key)) for row in rows]
        _curve(right, epochs, values, _mark_best(right, epochs, values, label, color), color)
    if losses:
        left.legend(loc="upper right", frameon=False, fontsize=8, labelcolor=INK)
    if scores:
        right.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=8, labelcolor=INK)
    write_title(figure, title, synthetic)
    return figure


def _curve(axes: Axes, epochs: list[float], values: list[float], label: str, color: str) -> None:
    axes.plot(epochs, values, color=color, linewidth=1.6, label=label, marker="." if len(epochs) == 1 else None)


def _mark_best(axes: Axes, epochs: list[float], values: list[float], label: str, color: str) -> str:
    """Mark the highest value by a dot; returns the label with that value."""
    defined = [(value, epoch) for value, epoch in zip(values, epochs, strict=True) if math.isfinite(value)]
    if not defined:
        return label
    value, epoch = max(defined, key=lambda pair: pair[0])
    axes.plot([epoch], [value], "o", markersize=5, color=color)
    return f"{label}, best {value:.3f} (epoch {epoch:g})"


def _style(axes: Axes, name: str) -> None:
    axes.set_title(name, fontsize=9, color=INK, loc="left")
    axes.set_xlabel("Epoch", fontsize=8, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=8, color="#999999", labelcolor=INK, length=3)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def _number(value: Any) -> float:
    return math.nan if value in (None, "") else float(value)
