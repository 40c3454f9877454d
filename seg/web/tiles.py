"""The tiles of a page: the values of a map at every level of detail, each tile a script.

A page that is opened as a file may load scripts and show images, but read neither files nor the pixels of images. So
what is drawn and what is clicked are the same numbers: values of uint8, deflated, as text in a script.
"""

import base64
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window

from seg.reben.classes import IGNORE_INDEX, SHARE_SCALE

Bytes = npt.NDArray[np.uint8]

EDGE = 512
"""Pixels of a tile along its edges; those at the right and lower edge of the map are smaller."""
STEP = 5
"""Of what is kept of confidences, and of means of probabilities: to 2 %, a third as large as to 0.4 %. Means of
confidences are kept in twice these steps, as they are most of a large page."""
FINE_PIXELS = 30_000_000
"""Pixels of a map up to which confidences are kept for each of them, else for 2 x 2 of them together."""
PROBABILITY_BYTES = 50_000_000
"""Probabilities of all classes are kept for so many pixels, not packed, that they hold this; else of squares."""


@dataclass(frozen=True)
class Layers:
    """The rasters of a map, all on its grid and with the same overviews.

    Attributes:
        classes: The class map.
        reference: The reference map, if there is one.
        confidence: Confidences in its first band, value / 250, if there are some.
        probabilities: Probabilities of the classes, value / 250, if there are some.
        picture: What the map is seen over, three bands, 0 without data, if there is something.
    """

    classes: Path
    reference: Path | None = None
    confidence: Path | None = None
    probabilities: Path | None = None
    picture: Path | None = None


@dataclass(frozen=True)
class Detail:
    """How finely a page keeps what it need not keep exactly.

    Attributes:
        quality: Of the imagery as WebP.
        shrink: How many pixels of the map along an edge have one of the imagery, and how many times as wide the squares
            are whose confidences and probabilities are kept together.
    """

    quality: int
    shrink: int


DETAILS = (Detail(60, 1), Detail(45, 2), Detail(30, 4))
"""The finest first; a page that is too large is written anew with the next one."""


def write_tiles(folder: Path, layers: Layers, detail: Detail = DETAILS[0]) -> dict[str, Any]:
    """Write the tiles of a map.

    Args:
        folder: Where they go.
        layers: Of what.
        detail: How finely.

    Returns:
        What the page has to know of them.

    Raises:
        OSError: If a raster cannot be read or a tile not be written.
    """
    with rasterio.open(layers.classes) as raster:
        height, width = raster.shape
        count = 1 + len(raster.overviews(1))
    thin = (1 if height * width <= FINE_PIXELS else 2) * detail.shrink
    shapes = [_write_level(folder, layers, level, thin, detail) for level in range(count)]
    held = {"map": layers.classes, "reference": layers.reference, "confidence": layers.confidence}
    names = [name for name, path in {**held, "picture": layers.picture}.items() if path is not None]
    about: dict[str, Any] = {"edge": EDGE, "levels": [shape[::-1] for shape in shapes], "layers": names, "thin": thin}
    if layers.probabilities is not None:
        about["probabilities"] = _write_probabilities(
            folder, layers.probabilities, PROBABILITY_BYTES // detail.shrink**2
        )
    return about | {"scale": SHARE_SCALE}


def _write_level(folder: Path, layers: Layers, level: int, thin: int, detail: Detail) -> tuple[int, int]:
    """Write the tiles of a level, 0 the finest; gives its height and width."""
    with ExitStack() as stack:

        def opened(path: Path | None, level: int = level) -> DatasetReader | None:
            more = {"overview_level": level - 1} if level else {}
            return None if path is None else stack.enter_context(rasterio.open(path, **more))

        classes = opened(layers.classes)
        assert classes is not None
        others = {"reference": opened(layers.reference), "confidence": opened(layers.confidence)}
        picture = opened(layers.picture, 0)
        for row, column, window in _windows(classes.shape, EDGE):
            values_HW = classes.read(1, window=window)
            told: dict[str, str] = {}
            if (values_HW != IGNORE_INDEX).any():
                told["map"] = packed(values_HW)
            if (reference := others["reference"]) is not None:
                truth_HW = reference.read(1, window=window)
                if (truth_HW != IGNORE_INDEX).any():
                    told["reference"] = packed(truth_HW)
            if "map" in told and (confidence := others["confidence"]) is not None:
                size = tuple(-(-int(edge) // thin) for edge in (window.height, window.width))
                shares_HW = confidence.read(1, window=window, out_shape=size, resampling=Resampling.average)
                told["confidence"] = packed(_in_steps(shares_HW, STEP * min(thin, 2)))
            if picture is not None and (image := _image(picture, window, classes.shape, detail)):
                told["picture"] = image
            _write(folder, f"{level}-{column}-{row}", told)
        height, width = classes.shape
    return height, width


def _write_probabilities(folder: Path, path: Path, most: int) -> dict[str, int]:
    """Write probabilities, of pixels or of squares of them; gives what the page has to know of them."""
    with rasterio.open(path) as raster:
        bands = raster.count
        factors = [1, *raster.overviews(1)]
        fitting = [n for n, f in enumerate(factors) if raster.height * raster.width * bands / f**2 <= most]
        level = fitting[0] if fitting else len(factors) - 1
        pixel = raster.res[0]
    edge = EDGE >> 2
    with rasterio.open(path, **({"overview_level": level - 1} if level else {})) as raster:
        for row, column, window in _windows(raster.shape, edge):
            shares_KHW = _in_steps(raster.read(window=window), STEP if level else 1)
            told = {"probabilities": packed(shares_KHW)} if (shares_KHW != IGNORE_INDEX).any() else {}
            _write(folder, f"p-{column}-{row}", told)
        height, width = raster.shape
    size = {"width": width, "height": height, "edge": edge}
    return {**size, "metres": round(pixel * factors[level])}


def packed(values: Bytes) -> str:
    """Values as a page unpacks them: deflated, in base64."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 6)).decode()


def _in_steps(shares: Bytes, step: int) -> Bytes:
    """Shares rounded to steps; what has no data stays so."""
    nothing = shares == IGNORE_INDEX
    steps: Bytes = np.where(nothing, shares, np.rint(shares / np.float32(step)) * step).astype(np.uint8)
    return steps


def _image(picture: DatasetReader, window: Window, shape: tuple[int, int], detail: Detail) -> str:
    """What a window of a level is seen over, as a data URI; empty where there is nothing to see."""
    across, down = picture.width / shape[1], picture.height / shape[0]
    # Overviews of the picture are its own, a pixel larger at odd sizes, so that places are not exactly theirs.
    place = Window(window.col_off * across, window.row_off * down, window.width * across, window.height * down)
    size = (3, *(-(-int(edge) // detail.shrink) for edge in (window.height, window.width)))
    image_3HW = picture.read(window=place, out_shape=size, resampling=Resampling.average)
    seen_HW = (image_3HW != 0).any(0)
    if not seen_HW.any():
        return ""
    image_HW4 = np.dstack([*image_3HW[::-1], np.where(seen_HW, 255, 0).astype(np.uint8)])
    quality = [int(cv2.IMWRITE_WEBP_QUALITY), detail.quality]
    done, content = cv2.imencode(".webp", image_HW4 if not seen_HW.all() else image_HW4[..., :3], quality)
    assert done, "OpenCV writes WebP"
    return "data:image/webp;base64," + base64.b64encode(content.tobytes()).decode()


def _windows(shape: tuple[int, int], edge: int) -> Iterator[tuple[int, int, Window]]:
    """Row, column and place of each tile of a raster of a height and a width."""
    height, width = shape
    for row, top in enumerate(range(0, height, edge)):
        for column, left in enumerate(range(0, width, edge)):
            yield row, column, Window(left, top, min(edge, width - left), min(edge, height - top))


def _write(folder: Path, name: str, told: dict[str, str]) -> None:
    """Write a tile; also one without anything, which a browser would miss."""
    (folder / f"{name}.js").write_text(f"seg.tile({json.dumps(name)},{json.dumps(told)});\n", encoding="ascii")
