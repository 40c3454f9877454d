"""The map of patches by score, as a chart for an HTML page."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from seg.figures.coastline import draw_land
from seg.figures.style import INK
from seg.figures.svg import MUTED, PLATE, chart
from seg.metrics.ratio import Floats
from seg.reben.bands import PATCH_METRES

_FEWEST_CELLS, _MOST_CELLS = 60, 220
"""Cells along the longer edge of the map: fewer and thus larger ones for few patches, lest these be overlooked."""
_MOST_RIMMED = 400  # cells
_MIN_ASPECT = 0.5
"""Least width of the map as a share of its height, and the other way round."""
_DEGREE_METRES = 111_320.0
_BAR_BINS = 20
_MAP_COLORS = colormaps["viridis"]
_LABEL_INK = "#1c2126"  # the plate below is light on every page
_LABEL_PLACES = ((0, -12), (0, 12), (26, 0), (-26, 0), (0, -22), (0, 22))  # points, the first that is free


def places_chart(
    longitude_N: Floats, latitude_N: Floats, score_N: Floats, names: Mapping[str, tuple[float, float]]
) -> Figure:
    """Mean score of the patches by place, and the histogram of their scores below, which explains the colours.

    Patches that would be smaller than a dot are averaged with their neighbours, so that none hides another.

    Args:
        longitude_N, latitude_N: Centres of the patches, degrees.
        score_N: A score of each, 0 to 1; no NaN among the three.
        names: Longitude and latitude below which names stand, the most important first.
    """
    assert len(score_N), "there is no patch to show"
    if np.ptp(longitude_N % 360) < np.ptp(longitude_N):
        # Both sides of the date line are one region, and not two at the ends of a map of the world.
        longitude_N = longitude_N % 360
        names = {name: (east % 360, north) for name, (east, north) in names.items()}
    aspect = 1 / math.cos(math.radians(float(latitude_N.mean())))
    image, extent = _cells(longitude_N, latitude_N, score_N, aspect)
    width_deg, height_deg = extent[1] - extent[0], (extent[3] - extent[2]) * aspect
    scale = min(420 / width_deg, 410 / height_deg)
    width, height = width_deg * scale, height_deg * scale
    left, below, right, top = 52.0, 112.0, 14.0, 8.0
    total_width, total_height = max(left + width + right, 340.0), below + height + top
    figure = chart(total_width, total_height)
    shift = (total_width - left - width - right) / 2
    axes = figure.add_axes(
        ((left + shift) / total_width, below / total_height, width / total_width, height / total_height)
    )
    axes.set_facecolor(PLATE)
    draw_land(axes, extent, scale)
    axes.imshow(image, extent=extent, origin="upper", interpolation="none", aspect="auto", zorder=2)
    _rim(axes, image, extent)
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.grid(color="white", linewidth=0.8, zorder=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("Longitude, degrees east", fontsize=9.5, color=INK)
    axes.set_ylabel("Latitude, degrees north", fontsize=9.5, color=INK)
    axes.tick_params(labelsize=9, color=MUTED, labelcolor=INK, length=3, width=0.7)
    axes.locator_params(nbins=max(3, int(width // 75)), axis="x")
    axes.locator_params(nbins=max(3, int(height // 60)), axis="y")
    axes.xaxis.set_major_formatter(lambda degrees, _: f"{(degrees + 180) % 360 - 180:g}")
    axes.ticklabel_format(axis="y", useOffset=False)
    for spine in axes.spines.values():
        spine.set(color=MUTED, linewidth=0.7)
    _histogram(figure, score_N, total_width, total_height)
    _write_names(axes, names)
    return figure


def _cells(
    longitude_N: Floats, latitude_N: Floats, score_N: Floats, aspect: float
) -> tuple[npt.NDArray[np.uint8], tuple[float, float, float, float]]:
    """Image of the cells' mean scores, uint8 RGBA, and its west, east, south and north edge in degrees."""
    west, east, south, north = longitude_N.min(), longitude_N.max(), latitude_N.min(), latitude_N.max()
    # Cells as long as they are wide on the ground, and never so small that gaps open between neighbouring patches.
    cells = min(max(12 * math.sqrt(len(score_N)), _FEWEST_CELLS), _MOST_CELLS)
    step_y = max((east - west) / aspect / cells, (north - south) / cells, 1.5 * PATCH_METRES / _DEGREE_METRES)
    step_x = step_y * aspect
    # The outermost patches lie in the middle of their cells.
    across, down = 1 + int((east - west) / step_x + 0.5), 1 + int((north - south) / step_y + 0.5)
    # Some room around, and more where the patches lie in a row.
    margin_x, margin_y = (
        max(3, math.ceil(0.03 * max(across, down)), (math.ceil(_MIN_ASPECT * other) - own) // 2)
        for own, other in ((across, down), (down, across))
    )
    column_N = ((longitude_N - west) / step_x + 0.5).astype(np.int64) + margin_x
    row_N = ((north - latitude_N) / step_y + 0.5).astype(np.int64) + margin_y
    columns, rows = across + 2 * margin_x, down + 2 * margin_y
    cell_N = row_N * columns + column_N
    counts = np.bincount(cell_N, minlength=rows * columns)
    sums = np.bincount(cell_N, weights=score_N, minlength=rows * columns)
    mean = np.divide(sums, counts, out=np.zeros(len(sums)), where=counts > 0)
    image = (255 * _MAP_COLORS(mean)).round().astype(np.uint8)
    image[counts == 0] = 0
    left, top = west - (margin_x + 0.5) * step_x, north + (margin_y + 0.5) * step_y
    extent = (left, left + columns * step_x, top - rows * step_y, top)
    return image.reshape(rows, columns, 4), extent


def _rim(axes: Axes, image: npt.NDArray[np.uint8], extent: tuple[float, float, float, float]) -> None:
    """Frame the cells, where they are few: a bright one would hardly be seen on land."""
    row_N, column_N = np.nonzero(image[..., 3])
    if len(row_N) > _MOST_RIMMED:
        return
    west, east, south, north = extent
    across, down = (east - west) / image.shape[1], (north - south) / image.shape[0]
    for row, column in zip(row_N, column_N, strict=True):
        corner = (west + column * across, north - (row + 1) * down)
        axes.add_patch(Rectangle(corner, across, down, fill=False, edgecolor=_LABEL_INK, linewidth=0.5, zorder=2.5))


def _histogram(figure: Figure, score_N: Floats, width: float, height: float) -> None:
    """Share of the patches by score, each bar in the colour that the score has on the map."""
    shares = 100 * np.histogram(score_N, bins=_BAR_BINS, range=(0, 1))[0] / len(score_N)
    bar_width = min(300.0, width - 90)
    axes = figure.add_axes(
        ((width - bar_width) / 2 / width, 34 / height, bar_width / width, 36 / height), xlim=(0, 100)
    )
    edges = 100 * np.arange(_BAR_BINS) / _BAR_BINS
    colors = _MAP_COLORS((np.arange(_BAR_BINS) + 0.5) / _BAR_BINS)
    axes.set_facecolor("none")
    axes.bar(edges, shares, width=100 / _BAR_BINS, align="edge", color=colors, edgecolor=MUTED, linewidth=0.4)
    axes.bar(edges, -0.16 * shares.max(), width=100 / _BAR_BINS, align="edge", color=colors, linewidth=0)
    axes.set(ylim=(-0.16 * shares.max(), 1.05 * shares.max()), yticks=[0, shares.max()], xticks=(0, 25, 50, 75, 100))
    axes.set_yticklabels(["0", f"{shares.max():.0f}"])
    axes.set_xlabel("Overall accuracy of the patch, %", fontsize=9.5, color=INK, labelpad=3)
    axes.set_ylabel("% of\npatches", fontsize=8.5, color=INK)
    axes.tick_params(labelsize=8.5, color=MUTED, labelcolor=INK, length=3, width=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=MUTED, linewidth=0.7)


def _write_names(axes: Axes, names: Mapping[str, tuple[float, float]]) -> None:
    """Names at their places, moved aside where two would overlap, left out where there is no room."""
    frame = axes.get_window_extent()
    taken: list[Text] = []
    for name, place in names.items():
        for offset in _LABEL_PLACES:
            text = axes.annotate(
                name,
                place,
                offset,
                textcoords="offset points",
                ha="center",
                va="center_baseline",
                fontsize=9.5,
                color=_LABEL_INK,
                parse_math=False,
                path_effects=[withStroke(linewidth=2.6, foreground=PLATE)],
            )
            box = text.get_window_extent()
            free = not any(box.overlaps(other.get_window_extent()) for other in taken)
            if free and box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1:
                taken.append(text)
                break
            text.remove()
