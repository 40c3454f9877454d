"""Figures of maps and of training, as PNG.

Figures are drawn on their own Agg canvas, without pyplot: nothing global changes and no display is needed.
"""

import math
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from seg.reben.classes import CLASSES, IGNORE_INDEX, NUM_CLASSES
from seg.store.atomic import write_bytes

QUICKLOOK_LIMITS: tuple[int, int, int] = (2050, 1800, 1600)
"""DN of B04, B03, B02 that are shown at full brightness: rounded 98th percentiles of 80 patches of the test split."""
QUICKLOOK_GAMMA = 1.8
MAX_PNG_BYTES = 300_000

_DPI = 150
_PANEL = 360  # pixels of a panel's longer edge at _DPI: three for each of a patch
_MARGIN, _GAP, _HEAD, _ROW = 24, 18, 80, 25  # pixels at _DPI, as are these
_CAPTION_WIDTH, _ENTRY_WIDTH = 230, 246  # room for the longest caption of a panel and the longest short name
_LARGEST = 1440  # pixels of a map that are drawn along an edge; larger maps are thinned out

_INK = "#222222"
_UNLABELLED = (150, 150, 150)
_RIGHT, _WRONG = (214, 234, 223), (178, 24, 43)
_SYNTHETIC_INK = "#b2182b"
_PALETTE = np.array([c.color for c in CLASSES] + [_UNLABELLED] * (IGNORE_INDEX + 1 - NUM_CLASSES), dtype=np.uint8)
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito (2008)
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

_Entries = list[tuple[str, tuple[int, int, int]]]


def quicklook(
    b04_HW: npt.NDArray[np.generic], b03_HW: npt.NDArray[np.generic], b02_HW: npt.NDArray[np.generic]
) -> npt.NDArray[np.uint8]:
    """A true-colour image, ``255 * clip(DN / limit, 0, 1) ** (1 / 1.8)``; fixed limits, so that neighbours match.

    Args:
        b04_HW: Red band, DN, height x width.
        b03_HW: Green band.
        b02_HW: Blue band.

    Returns:
        uint8, height x width x 3.
    """
    dn_HW3 = np.stack([b04_HW, b03_HW, b02_HW], axis=-1).astype(np.float32)
    share_HW3 = np.clip(dn_HW3 / np.array(QUICKLOOK_LIMITS, dtype=np.float32), 0, 1) ** (1 / QUICKLOOK_GAMMA)
    return np.rint(255 * share_HW3).astype(np.uint8)


def map_figure(
    reference_HW: npt.NDArray[np.uint8],
    predicted_HW: npt.NDArray[np.uint8],
    rgb_HW3: npt.NDArray[np.uint8] | None = None,
    *,
    title: str,
    synthetic: bool,
    pixel_size: float = 10.0,
) -> Figure:
    """The image, the reference map, the predicted map and where the two agree, side by side.

    Args:
        reference_HW: Class indices, uint8, height x width; 255 where unlabelled.
        predicted_HW: Class indices likewise; 255 where there is no prediction.
        rgb_HW3: True-colour image, uint8, height x width x 3 (see `quicklook`); None leaves its panel out.
        title: Title of the figure.
        synthetic: Whether the data are synthetic; the title then says so.
        pixel_size: Metres per pixel, for the scale bar.

    Raises:
        ValueError: If the arrays differ in height and width.
    """
    shapes = [array.shape[:2] for array in (reference_HW, predicted_HW, rgb_HW3) if array is not None]
    if len(set(shapes)) != 1:
        raise ValueError(f"image and maps of a figure must have the same height and width, not {shapes}")
    panels = _panels(reference_HW, predicted_HW, rgb_HW3)
    present = set(np.unique(reference_HW)) | set(np.unique(predicted_HW))
    classes: _Entries = [(c.short, c.color) for c in CLASSES if c.index in present]
    marks: _Entries = [("Right", _RIGHT), ("Wrong", _WRONG)]
    if IGNORE_INDEX in present:
        classes.append(("Unlabelled", _UNLABELLED))
        marks.append(("Unlabelled", _UNLABELLED))

    height, width = reference_HW.shape
    panel_width, panel_height = (round(_PANEL * edge / max(height, width)) for edge in (width, height))
    step = max(panel_width, _CAPTION_WIDTH) + _GAP
    legend_columns = (2 * step - _GAP) // _ENTRY_WIDTH
    legend_rows = math.ceil(len(classes) / legend_columns)
    below = _MARGIN + _GAP + max(legend_rows, len(marks)) * _ROW
    figure = _figure(2 * _MARGIN + len(panels) * step - _GAP, _HEAD + panel_height + below)
    for i, (name, image_HW3) in enumerate(panels):
        axes = _axes(figure, (_MARGIN + i * step, below, panel_width, panel_height))
        axes.imshow(image_HW3, interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
        axes.set_title(name, fontsize=9, color=_INK, loc="left", pad=4)
        if i == 0:
            _scale_bar(axes, width, height, pixel_size)
    # The legend of the classes spans the two maps that it explains; that of the marks stands below the agreement.
    top, last = below - _GAP, len(panels) - 1
    for column in range(legend_columns):
        entries = classes[column * legend_rows : (column + 1) * legend_rows]
        _legend(figure, entries, _MARGIN + (last - 2) * step + column * _ENTRY_WIDTH, top)
    _legend(figure, marks, _MARGIN + last * step, top)
    _title(figure, title, synthetic)
    return figure


def training_figure(rows: Sequence[Mapping[str, Any]], *, title: str, synthetic: bool) -> Figure:
    """Losses and validation scores by epoch.

    Args:
        rows: One mapping per epoch, as in ``log.csv``: ``epoch``, columns whose name holds ``loss``, and columns named
            by a validation score (``miou`` or ``val_miou``). Numbers or their text; empty where undefined.
        title: Title of the figure.
        synthetic: Whether the data are synthetic; the title then says so.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("the training log has no epoch yet; train for one epoch to draw it")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    epochs = [_number(row.get("epoch", i)) for i, row in enumerate(rows)]
    losses = {key: key.replace("_", " ") for key in columns if "loss" in key}
    scores = {key: _SCORE_NAMES[match[1]] for key in columns if (match := _SCORE_COLUMN.fullmatch(key))}
    figure = _figure(1560, 600)
    left, right = figure.add_axes((0.045, 0.12, 0.33, 0.71)), figure.add_axes((0.42, 0.12, 0.34, 0.71))
    _style(left, "Loss")
    _style(right, "Validation scores")
    for color, (key, label) in zip(cycle(_LINES), losses.items(), strict=False):
        _curve(left, epochs, [_number(row.get(key)) for row in rows], label, color)
    for color, (key, label) in zip(cycle(_LINES), scores.items(), strict=False):
        values = [_number(row.get(key)) for row in rows]
        _curve(right, epochs, values, _mark_best(right, epochs, values, label, color), color)
    if losses:
        left.legend(loc="upper right", frameon=False, fontsize=8, labelcolor=_INK)
    if scores:
        right.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=8, labelcolor=_INK)
    _title(figure, title, synthetic)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG of at most `MAX_PNG_BYTES`; noisy images get fewer pixels to stay below it."""
    for dpi in (_DPI, 120, 96, 72):
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 9})
        if buffer.tell() < MAX_PNG_BYTES:
            break
    return buffer.getvalue()


def write_png(path: Path, figure: Figure) -> None:
    """Write the figure as PNG (see `png_bytes`).

    Raises:
        OSError: If the file cannot be written.
    """
    write_bytes(path, png_bytes(figure))


def _panels(
    reference_HW: npt.NDArray[np.uint8], predicted_HW: npt.NDArray[np.uint8], rgb_HW3: npt.NDArray[np.uint8] | None
) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Captions and images. The share of agreement is that of all pixels; only every n-th of a large map is drawn."""
    compared_HW = (reference_HW != IGNORE_INDEX) & (predicted_HW != IGNORE_INDEX)
    right_HW = compared_HW & (reference_HW == predicted_HW)
    compared = np.count_nonzero(compared_HW)
    share = f" {100 * np.count_nonzero(right_HW) / compared:.1f} %" if compared else ""

    nth = math.ceil(max(reference_HW.shape) / _LARGEST)
    marks_HW = compared_HW[::nth, ::nth].astype(np.uint8) + right_HW[::nth, ::nth]
    panels = [] if rgb_HW3 is None else [("Sentinel-2, true colour", rgb_HW3[::nth, ::nth])]
    return [
        *panels,
        ("Reference", _PALETTE[reference_HW[::nth, ::nth]]),
        ("Predicted", _PALETTE[predicted_HW[::nth, ::nth]]),
        (f"Agreement{share}", np.array([_UNLABELLED, _WRONG, _RIGHT], dtype=np.uint8)[marks_HW]),
    ]


def _figure(width: int, height: int) -> Figure:
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _fraction(figure: Figure, x: float, y: float) -> tuple[float, float]:
    """Pixels from the lower left at _DPI as a share of the figure."""
    return x / figure.bbox.width, y / figure.bbox.height


def _axes(figure: Figure, box: tuple[int, int, int, int]) -> Axes:
    """A frame for an image; the box is left, bottom, width and height in pixels at _DPI."""
    axes = figure.add_axes((*_fraction(figure, *box[:2]), *_fraction(figure, *box[2:])), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(linewidth=0.6, edgecolor="#666666")
    return axes


def _scale_bar(axes: Axes, width: int, height: int, pixel_size: float) -> None:
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


def _legend(figure: Figure, entries: _Entries, left: int, top: int) -> None:
    # The outline keeps sea, beach and salt marsh, which are nearly white, visible on white.
    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*color), edgecolor="#555555", linewidth=0.6, label=label)
        for label, color in entries
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=_fraction(figure, left, top),
        frameon=False,
        fontsize=8,
        labelcolor=_INK,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.4,
        handleheight=0.9,
        handletextpad=0.6,
        labelspacing=0.45,
    )


def _title(figure: Figure, title: str, synthetic: bool) -> None:
    """The title, in letters small enough for the width of the figure."""
    text = figure.text(
        *_fraction(figure, _MARGIN, figure.bbox.height - 16),
        f"SYNTHETIC – {title}" if synthetic else title,
        fontsize=11,
        fontweight="bold",
        color=_SYNTHETIC_INK if synthetic else _INK,
        va="top",
        parse_math=False,
    )
    # Hinted letters are not quite proportional to their size, hence the reserve.
    room = 0.96 * (figure.bbox.width - 2 * _MARGIN)
    text.set_fontsize(11 * min(1.0, room / text.get_window_extent().width))


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
    axes.set_title(name, fontsize=9, color=_INK, loc="left")
    axes.set_xlabel("Epoch", fontsize=8, color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=8, color="#999999", labelcolor=_INK, length=3)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def _number(value: Any) -> float:
    return math.nan if value in (None, "") else float(value)
