"""What splits let through from train to test, as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seg.figures.style import INK, LINES, canvas, write_title
from seg.figures.svg import GRID, MUTED
from seg.metrics.leakage import LEAST_PAIRS, Correlogram, Leakage

_WIDTH, _HEIGHT = 1500, 720  # pixels
_FARTHEST = 25.0  # km


def leakage_figure(found: Sequence[Leakage], alike: Correlogram, synthetic: bool) -> Figure:
    """Left, how far the nearest training patch is from the test patches; right, how alike labels are at a distance.

    Args:
        found: The splits, at most as many as there are colours.
        alike: Of all their patches.
        synthetic: Stamped if so.
    """
    figure = canvas(_WIDTH, _HEIGHT)
    write_title(figure, "What a split lets through from train to test", synthetic)
    left = figure.add_axes((0.06, 0.22, 0.42, 0.68))
    for color, one in zip(LINES, found, strict=False):
        distance = np.sort(one.nearness.anywhere_N) / 1000
        share = 100 * np.arange(1, len(distance) + 1) / len(distance)
        # From edge to edge of the axes, whatever the nearest and the farthest patch.
        x, y = [0, *distance, max(_FARTHEST, distance[-1])], [0, *share, 100]
        left.step(x, y, where="post", color=color, linewidth=1.8, label=one.name)
    _style(left, "Distance to the nearest training patch, km", "Test patches, %")
    left.set(xlim=(0, _FARTHEST), ylim=(0, 102))
    left.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    right = figure.add_axes((0.56, 0.22, 0.42, 0.68))
    # A handful of pairs tells nothing, and draws lines from one end of the axes to the other.
    told = alike.pairs_L >= LEAST_PAIRS
    distance_L = alike.distance_L[told] / 1000
    right.plot(distance_L, alike.moran_LK[told], color=MUTED, linewidth=0.6, alpha=0.6)
    right.plot(
        distance_L, alike.mean_moran[told], color=INK, linewidth=2, label="mean over the classes; thin: each class"
    )
    _style(right, "Distance between patches, km", "Moran's I of the labels")
    right.set_xlim(0, max(distance_L, default=1))
    right.axhline(0, color=MUTED, linewidth=0.8)
    right.legend(fontsize=8, frameon=False, loc="upper right")
    return figure


def _style(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, color=MUTED, labelcolor=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
