"""A map for people: its picture with legend, scale bar and north arrow, and the legend alone."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from seg.config.synthetic import Synthetic
from seg.figures.maps import ENTRY_WIDTH, draw_legend, draw_scale_bar, framed_axes
from seg.figures.pictures import class_image
from seg.figures.style import MARGIN, canvas, class_entries, write_title
from seg.reben.classes import CLASSES

LARGEST = 1400
"""Pixels of a map along its longer edge that a picture shows at most."""
_SHORTEST = 480  # pixels at DPI of the longer edge of a small map
_GAP, _HEAD, _ROW = 18, 56, 25  # pixels at DPI
_LEGEND_WIDTH = 820  # pixels at DPI that the longest name takes
_OUTLINE = withStroke(linewidth=2, foreground="black")


def land_cover_figure(
    classes_HW: npt.NDArray[np.uint8],
    *,
    title: str,
    synthetic: Synthetic | bool,
    pixel_size: float,
    nodata: str = "No data",
) -> Figure:
    """A class map with a legend of the classes in it, a scale bar and an arrow to grid north.

    Args:
        classes_HW: Class indices, uint8, height x width, 255 where there is none; thinned out to at most `LARGEST`
            pixels along an edge (`seg.maps.cog.read_overview`).
        title: Title of the figure.
        synthetic: What is synthetic, or whether the data are; the title then says so.
        pixel_size: Metres per pixel.
        nodata: What 255 stands for in the legend.
    """
    height, width = classes_HW.shape
    drawn = min(LARGEST, max(_SHORTEST, height, width))
    panel_width, panel_height = (max(1, round(drawn * edge / max(height, width))) for edge in (width, height))
    entries = class_entries(classes_HW, nodata)
    # Beside a tall map, and never lower than the legend is.
    body = max(panel_height, len(entries) * _ROW)
    figure = canvas(2 * MARGIN + panel_width + _GAP + ENTRY_WIDTH, MARGIN + body + _HEAD)
    axes = framed_axes(figure, (MARGIN, MARGIN + body - panel_height, panel_width, panel_height))
    axes.imshow(class_image(classes_HW), interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
    draw_scale_bar(axes, width, height, pixel_size)
    _north_arrow(axes)
    draw_legend(figure, entries, MARGIN + panel_width + _GAP, MARGIN + body)
    write_title(figure, title, synthetic)
    return figure


def legend_figure() -> Figure:
    """The official names and the colours of the 19 classes."""
    figure = canvas(_LEGEND_WIDTH, 2 * MARGIN + len(CLASSES) * _ROW)
    draw_legend(figure, [(c.name, c.color) for c in CLASSES], MARGIN, MARGIN + len(CLASSES) * _ROW)
    return figure


def _north_arrow(axes: Axes) -> None:
    """In the upper right corner. Maps are drawn on their UTM grid, so it points along the grid, not the meridian."""
    axes.annotate(
        "N",
        xy=(0.955, 0.985),
        xytext=(0.955, 0.9),
        xycoords="axes fraction",
        ha="center",
        va="top",
        fontsize=9,
        color="white",
        path_effects=[_OUTLINE],
        arrowprops={"arrowstyle": "-|>,head_width=0.35,head_length=0.6", "facecolor": "white", "edgecolor": "black"},
    )
