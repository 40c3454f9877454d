"""Figures of maps, and the images that they show."""

import math

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from seg.config.synthetic import Synthetic
from seg.errors import WrongUseError
from seg.figures.pictures import agreement_image, class_image
from seg.figures.style import INK, MARGIN, Entries, canvas, class_entries, fraction, mark_entries, write_title
from seg.reben.classes import IGNORE_INDEX, hexadecimal

_PANEL = 360  # pixels of a panel's longer edge at DPI: three for each of a patch
_GAP, _HEAD, _ROW = 18, 80, 25  # pixels at DPI, as are these
_CAPTION_WIDTH, ENTRY_WIDTH = 230, 246  # room for the longest caption of a panel and the longest short name
_LARGEST = 1440  # pixels of a map that are drawn along an edge; larger maps are thinned out

_HATCH = "#c9ced3"


def map_figure(
    reference_HW: npt.NDArray[np.uint8],
    predicted_HW: npt.NDArray[np.uint8],
    rgb_HW3: npt.NDArray[np.uint8] | None = None,
    *,
    covered_HW: npt.NDArray[np.bool_] | None = None,
    title: str,
    synthetic: Synthetic | bool,
    pixel_size: float = 10.0,
) -> Figure:
    """The image, the reference map, the predicted map and where the two agree, side by side.

    Args:
        reference_HW: Class indices, uint8, height x width; 255 where unlabelled.
        predicted_HW: Class indices likewise; 255 where there is no prediction.
        rgb_HW3: Image of `seg.figures.pictures.true_colour`; None leaves its panel out.
        covered_HW: Where there is a patch; elsewhere is nothing, and it is hatched. Everywhere if None.
        title: Title of the figure.
        synthetic: What is synthetic, or whether the data are; the title then says so.
        pixel_size: Metres per pixel, for the scale bar.

    Raises:
        WrongUseError: If the arrays differ in height and width.
    """
    shapes = [array.shape[:2] for array in (reference_HW, predicted_HW, rgb_HW3) if array is not None]
    if len(set(shapes)) != 1:
        raise WrongUseError(f"image and maps of a figure must have the same height and width, not {shapes}")
    if covered_HW is None:
        covered_HW = np.ones(reference_HW.shape, dtype=np.bool_)
    panels = _panels(reference_HW, predicted_HW, rgb_HW3)
    nth = math.ceil(max(reference_HW.shape) / _LARGEST)
    opaque_HW1 = np.where(covered_HW[::nth, ::nth, None], 255, 0).astype(np.uint8)
    classes = class_entries(np.stack([reference_HW[covered_HW], predicted_HW[covered_HW]]))
    marks = mark_entries(classes)
    height, width = reference_HW.shape
    panel_width, panel_height = (round(_PANEL * edge / max(height, width)) for edge in (width, height))
    step = max(panel_width, _CAPTION_WIDTH) + _GAP
    legend_columns = (2 * step - _GAP) // ENTRY_WIDTH
    legend_rows = math.ceil(len(classes) / legend_columns)
    below = MARGIN + _GAP + max(legend_rows, len(marks)) * _ROW
    figure = canvas(2 * MARGIN + len(panels) * step - _GAP, _HEAD + panel_height + below)
    for i, (name, image_HW3) in enumerate(panels):
        axes = framed_axes(figure, (MARGIN + i * step, below, panel_width, panel_height))
        axes.patch.set(hatch="////", edgecolor=_HATCH, linewidth=0)
        axes.imshow(
            np.concatenate([image_HW3, opaque_HW1], axis=-1),
            interpolation="nearest",
            aspect="auto",
            extent=(0, width, height, 0),
        )
        axes.set_title(name, fontsize=9, color=INK, loc="left", pad=4)
        if i == 0:
            draw_scale_bar(axes, width, height, pixel_size)
    # The legend of the classes spans the two maps that it explains; that of the marks stands below the agreement.
    top, last = below - _GAP, len(panels) - 1
    draw_legend(figure, classes, MARGIN + (last - 2) * step, top, legend_rows)
    draw_legend(figure, marks, MARGIN + last * step, top)
    write_title(figure, title, synthetic)
    return figure


def _panels(
    reference_HW: npt.NDArray[np.uint8], predicted_HW: npt.NDArray[np.uint8], rgb_HW3: npt.NDArray[np.uint8] | None
) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Captions and images. The share of agreement is that of all pixels; only every n-th of a large map is drawn."""
    compared_HW = (reference_HW != IGNORE_INDEX) & (predicted_HW != IGNORE_INDEX)
    right_HW = compared_HW & (reference_HW == predicted_HW)
    compared = np.count_nonzero(compared_HW)
    share = f" {100 * np.count_nonzero(right_HW) / compared:.1f} %" if compared else ""

    nth = math.ceil(max(reference_HW.shape) / _LARGEST)
    drawn = reference_HW[::nth, ::nth], predicted_HW[::nth, ::nth]
    panels = [] if rgb_HW3 is None else [("Sentinel-2, true colour", rgb_HW3[::nth, ::nth])]
    return [
        *panels,
        ("Reference", class_image(drawn[0])),
        ("Predicted", class_image(drawn[1])),
        (f"Agreement{share}", agreement_image(*drawn)),
    ]


def framed_axes(figure: Figure, box: tuple[int, int, int, int]) -> Axes:
    """A frame for an image; the box is left, bottom, width and height in pixels at DPI."""
    axes = figure.add_axes((*fraction(figure, *box[:2]), *fraction(figure, *box[2:])), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(linewidth=0.6, edgecolor="#666666")
    return axes


def draw_scale_bar(axes: Axes, width: int, height: int, pixel_size: float) -> None:
    """A bar of the largest 1, 2 or 5 times a power of ten that is at most 45 % of the width."""
    available = 0.45 * width * pixel_size
    power = 10.0 ** math.floor(math.log10(available))
    metres = max(power * step for step in (1, 2, 5) if power * step <= available)
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    # One edge of the panel is _PANEL long, so `unit` is the same length on paper for every shape of map.
    unit = max(width, height) / 100
    x, y = 4 * unit, height - 5 * unit
    axes.add_patch(
        Rectangle((x, y), metres / pixel_size, 1.6 * unit, facecolor="white", edgecolor="black", linewidth=0.6)
    )
    axes.text(
        x,
        y - 1.6 * unit,
        label,
        fontsize=8,
        color="white",
        va="bottom",
        path_effects=[withStroke(linewidth=1.8, foreground="black")],
    )


def draw_legend(figure: Figure, entries: Entries, left: int, top: int, rows: int = 0) -> None:
    """Names with their colours, one below the other from the upper-left corner, in pixels at DPI.

    Args:
        figure: Where.
        entries: Names and colours.
        left, top: The corner.
        rows: Of a column; 0: all in one.
    """
    # The outline keeps sea, beach and salt marsh, which are nearly white, visible on white.
    handles = [
        Patch(facecolor=hexadecimal(color), edgecolor="#555555", linewidth=0.6, label=label) for label, color in entries
    ]
    rows = rows or len(handles)
    for column, begin in enumerate(range(0, len(handles), max(rows, 1))):
        figure.legend(
            handles=handles[begin : begin + rows],
            loc="upper left",
            bbox_to_anchor=fraction(figure, left + column * ENTRY_WIDTH, top),
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            borderpad=0,
            borderaxespad=0,
            handlelength=1.4,
            handleheight=0.9,
            handletextpad=0.6,
            labelspacing=0.45,
        )
