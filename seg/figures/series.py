"""Curves of scores over the share of labels that was learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from seg.config.synthetic import Synthetic
from seg.figures.dots import Dot
from seg.figures.style import INK, LINES, canvas, write_title


@dataclass(frozen=True)
class BudgetPoint:
    """Scores with one share of the labels.

    Attributes:
        fraction: The share, 0 to 1.
        scores: By name, fractions; NaN where undefined.
    """

    fraction: float
    scores: Mapping[str, Dot]


def budgets_figure(
    curves: Mapping[str, Sequence[BudgetPoint]], scores: Sequence[str], *, title: str, synthetic: Synthetic
) -> Figure:
    """A panel per score: a line per configuration over the share of labels, logarithmic, with its intervals as a band.

    Args:
        curves: Points by configuration, the smallest share first.
        scores: Names of the scores, one or two.
        title, synthetic: Of the figure.
    """
    figure = canvas(620 * len(scores), 620 + 26 * len(curves))
    foot = (70 + 26 * len(curves)) / (620 + 26 * len(curves))
    shares = sorted({point.fraction for points in curves.values() for point in points})
    for number, score in enumerate(scores):
        width = 1 / len(scores)
        axes = figure.add_axes((number * width + 0.13 * width, foot + 0.1, 0.82 * width, 0.8 - foot))
        for (name, points), color in zip(curves.items(), cycle(LINES), strict=False):
            across = [100 * point.fraction for point in points]
            dots = [point.scores.get(score, Dot(float("nan"))) for point in points]
            axes.plot(across, [100 * dot.value for dot in dots], "o-", color=color, label=name, markersize=4.5)
            axes.fill_between(
                across, [100 * dot.low for dot in dots], [100 * dot.high for dot in dots], color=color, alpha=0.15, lw=0
            )
            for x, dot in zip(across, dots, strict=True):
                axes.plot([x, x], [100 * dot.low, 100 * dot.high], color=color, linewidth=1)
        axes.set_xscale("log")
        axes.set_xticks([100 * share for share in shares])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} %"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("Labels of the train split", fontsize=9, color=INK)
        axes.set_ylabel(f"{score} %", fontsize=9, color=INK)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=8)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    handles, names = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, names, loc="lower left", fontsize=8, frameon=False, bbox_to_anchor=(0.02, 0.0))
    for text in legend.get_texts():
        text.set_parse_math(False)
    write_title(figure, title, synthetic)
    return figure
