"""Patches that lie far apart, side by side as small images: what was seen, what is true and what was predicted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from seg.config.synthetic import Synthetic
from seg.figures.maps import ENTRY_WIDTH, draw_legend, framed_axes
from seg.figures.pictures import agreement_image, class_image
from seg.figures.style import INK, MARGIN, canvas, class_entries, fraction, mark_entries, write_title
from seg.reben.classes import IGNORE_INDEX

MOST = 8
"""Patches that are shown at most."""
_CELL, _GAP = 148, 10  # pixels at DPI, as are these
_LEFT, _HEAD, _ROW = 132, 92, 25
_FEWEST_COLUMNS = 5  # for which there is room, so that title and legend fit


@dataclass(frozen=True, eq=False)
class PatchMaps:
    """A patch as it is drawn.

    Attributes:
        name: Stands above it.
        reference_HW: Class indices, uint8, height x width; 255 where unlabelled.
        predicted_HW: Class indices likewise.
        rgb_HW3: True-colour image, uint8; None without one.
    """

    name: str
    reference_HW: npt.NDArray[np.uint8]
    predicted_HW: npt.NDArray[np.uint8]
    rgb_HW3: npt.NDArray[np.uint8] | None


def patches_figure(patches: Sequence[PatchMaps], *, title: str, synthetic: Synthetic | bool) -> Figure:
    """Patches side by side; below each other image, reference, prediction and agreement.

    Args:
        patches: One to `MOST`; all with an image, or none.
        title: Title of the figure.
        synthetic: What is synthetic, or whether the data are; the title then says so.
    """
    assert 0 < len(patches) <= MOST
    names = ["Sentinel-2,\ntrue colour"] if patches[0].rgb_HW3 is not None else []
    names += ["Reference", "Predicted", "Agreement"]
    classes = class_entries(np.stack([m_HW for patch in patches for m_HW in (patch.reference_HW, patch.predicted_HW)]))
    marks = mark_entries(classes)
    width = _LEFT + max(len(patches), _FEWEST_COLUMNS) * (_CELL + _GAP) - _GAP
    columns = max(1, width // ENTRY_WIDTH - 1)  # the last one is that of the marks
    per_column = math.ceil(len(classes) / columns)
    below = MARGIN + max(len(marks), per_column) * _ROW + 2 * _GAP
    height = len(names) * (_CELL + _GAP) + _ROW
    figure = canvas(2 * MARGIN + width, _HEAD + height + below)
    for column, patch in enumerate(patches):
        left = MARGIN + _LEFT + column * (_CELL + _GAP)
        top = below + height
        _text(figure, left, top + 6, patch.name, "bottom")
        for row, image_HW3 in enumerate(_images(patch)):
            axes = framed_axes(figure, (left, top - row * (_CELL + _GAP) - _CELL, _CELL, _CELL))
            axes.imshow(image_HW3, interpolation="nearest", aspect="auto")
        _text(figure, left, top - len(names) * (_CELL + _GAP) + _GAP - 4, _share(patch), "top")
    for row, name in enumerate(names):
        _text(figure, MARGIN, below + height - row * (_CELL + _GAP) - _CELL / 2, name, "center")
    draw_legend(figure, classes, MARGIN, below - 2 * _GAP, per_column)
    draw_legend(figure, marks, MARGIN + columns * ENTRY_WIDTH, below - 2 * _GAP)
    write_title(figure, title, synthetic)
    return figure


def _images(patch: PatchMaps) -> list[npt.NDArray[np.uint8]]:
    images = [] if patch.rgb_HW3 is None else [patch.rgb_HW3]
    reference_HW, predicted_HW = patch.reference_HW, patch.predicted_HW
    return [*images, class_image(reference_HW), class_image(predicted_HW), agreement_image(reference_HW, predicted_HW)]


def _share(patch: PatchMaps) -> str:
    """How much of what is labelled is right."""
    labelled_HW = (patch.reference_HW != IGNORE_INDEX) & (patch.predicted_HW != IGNORE_INDEX)
    if not labelled_HW.any():
        return "–"
    return f"{100 * np.mean((patch.reference_HW == patch.predicted_HW)[labelled_HW]):.1f} %"


def _text(figure: Figure, x: float, y: float, text: str, va: str) -> None:
    figure.text(*fraction(figure, x, y), text, fontsize=8.5, color=INK, va=va, parse_math=False)
