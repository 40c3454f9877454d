"""What the figures share: the canvas, colours, titles, and PNG files.

Figures are drawn on their own Agg canvas, without pyplot: nothing global changes and no display is needed.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seg.config.synthetic import Synthetic
from seg.reben.classes import CLASSES, IGNORE_INDEX, NUM_CLASSES
from seg.store.atomic import write_bytes

MAX_PNG_BYTES = 300_000

DPI = 150
MARGIN = 24  # pixels at DPI

INK = "#222222"
UNLABELLED = (150, 150, 150)
RIGHT, WRONG = (214, 234, 223), (178, 24, 43)
PALETTE = np.array([c.color for c in CLASSES] + [UNLABELLED] * (IGNORE_INDEX + 1 - NUM_CLASSES), dtype=np.uint8)
"""Colour of every value of a class map, uint8 (256, 3)."""
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that the colour-blind tell apart; Okabe and Ito (2008)."""
Entries = list[tuple[str, tuple[int, int, int]]]
"""Names and colours (0-255) of a legend."""
_SYNTHETIC_INK = "#b2182b"


def class_entries(classes: npt.NDArray[np.uint8], nodata: str = "Unlabelled") -> Entries:
    """Short names and colours of the classes that occur, and `nodata` last if 255 does."""
    present = set(np.unique(classes).tolist())
    unlabelled = [(nodata, UNLABELLED)] if IGNORE_INDEX in present else []
    return [(c.short, c.color) for c in CLASSES if c.index in present] + unlabelled


def mark_entries(classes: Entries) -> Entries:
    """What is right, wrong and, if the maps have it, unlabelled."""
    return [("Right", RIGHT), ("Wrong", WRONG), *(entry for entry in classes if entry[1] == UNLABELLED)]


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG of at most `MAX_PNG_BYTES`; noisy images get fewer pixels to stay below it."""
    for dpi in (DPI, 120, 96, 72):
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        if buffer.tell() < MAX_PNG_BYTES:
            break
    return buffer.getvalue()


def write_png(path: Path, figure: Figure) -> None:
    """Write the figure as PNG (see `png_bytes`).

    Raises:
        OSError: If the file cannot be written.
    """
    write_bytes(path, png_bytes(figure))


def canvas(width: int, height: int) -> Figure:
    """An empty figure on its own Agg canvas; width and height in pixels at `DPI`."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def fraction(figure: Figure, x: float, y: float) -> tuple[float, float]:
    """Pixels from the lower left at DPI as a share of the figure."""
    return x / figure.bbox.width, y / figure.bbox.height


def write_title(figure: Figure, title: str, synthetic: Synthetic | bool) -> None:
    """The title, in letters small enough for the width of the figure; True says that the data are synthetic."""
    what = Synthetic.of(data=synthetic) if isinstance(synthetic, bool) else synthetic
    text = figure.text(
        *fraction(figure, MARGIN, figure.bbox.height - 16),
        f"{what.mark}{title}",
        fontsize=11,
        fontweight="bold",
        color=_SYNTHETIC_INK if what else INK,
        va="top",
        parse_math=False,
    )
    # Hinted letters are not quite proportional to their size, hence the reserve.
    room = 0.96 * (figure.bbox.width - 2 * MARGIN)
    text.set_fontsize(11 * min(1.0, room / text.get_window_extent().width))
