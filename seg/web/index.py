"""A page that leads to the pages of several maps: where each of them lies, and when its scene was acquired."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.warp import transform

from seg.config.synthetic import Synthetic
from seg.store.atomic import write_text
from seg.styles.pages import render_html
from seg.web.folder import PAGE, page_folder
from seg.web.place import Floats

INDEX = "maps.html"
"""Beside the pages of several maps."""
_STEPS = 8
"""Places along each edge of a map: it is no straight line in degrees."""
_WIDTH, _TALLEST, _MARGIN = 720.0, 960.0, 24.0
"""Of the drawing."""


@dataclass(frozen=True, eq=False)
class _Outlined:
    """A map.

    Attributes:
        page: Address of its page, from the folder of the index.
        name, acquired: Of its scene; the second is empty if nothing tells.
        outline_N2: Its edge, longitude and latitude in degrees.
        synthetic: What is synthetic of it.
    """

    page: str
    name: str
    acquired: str
    outline_N2: Floats
    synthetic: Synthetic


def write_index_page(folder: Path, maps: Sequence[tuple[Path, str]], title: str) -> Path:
    """Write `INDEX`, which opens as a file like the pages that it leads to.

    Args:
        folder: What the pages lie in.
        maps: The class map of each, and the stem that its page is named by.
        title: Of the page.

    Raises:
        OSError: If a map cannot be read or the page not be written.
    """
    found = [_outlined(path, stem) for path, stem in maps]
    synthetic = Synthetic(0)
    for one in found:
        synthetic |= one.synthetic
    size, points = _drawn([one.outline_N2 for one in found])
    rows = [
        {"page": one.page, "name": one.name, "acquired": one.acquired, "points": outline, "middle": middle}
        for one, (outline, middle) in zip(found, points, strict=True)
    ]
    text = render_html(
        "seg.web", "maps.html.j2", "maps.css", (), title=title, synthetic=synthetic, maps=rows, size=size
    )
    write_text(folder / INDEX, text)
    return folder / INDEX


def _outlined(path: Path, stem: str) -> _Outlined:
    with rasterio.open(path) as raster:
        tags, (west, south, east, north), crs = raster.tags(), raster.bounds, raster.crs
    ahead = np.arange(_STEPS) / _STEPS
    x_N = np.concatenate([west + (east - west) * ahead, np.full(_STEPS, east)])
    y_N = np.concatenate([np.full(_STEPS, north), north + (south - north) * ahead])
    # Along the upper and the right edge, and back.
    x_N, y_N = np.concatenate([x_N, west + east - x_N]), np.concatenate([y_N, south + north - y_N])
    outline_N2 = np.stack(transform(crs, CRS.from_epsg(4326), x_N, y_N), axis=1)
    page = quote(f"{page_folder(Path(f'{stem}.tif')).name}/{PAGE}")
    acquired = tags.get("ACQUIRED", "")[:10]
    return _Outlined(page, tags.get("SCENE", stem), acquired, outline_N2, Synthetic.in_tags(tags))


def _drawn(outlines: Sequence[Floats]) -> tuple[dict[str, Any], list[tuple[str, tuple[float, float]]]]:
    """Width and height of a drawing, and of each outline its points and its middle there.

    A degree of longitude is as wide as it is in the middle; 180 degrees are no edge.
    """
    first = outlines[0][0, 0]
    places = [np.stack([(one[:, 0] - first + 180) % 360 - 180, one[:, 1]], axis=1) for one in outlines]
    low, high = np.min([one.min(0) for one in places], 0), np.max([one.max(0) for one in places], 0)
    wide = np.array([np.cos(np.radians((low[1] + high[1]) / 2)), 1.0])
    span = (high - low) * wide
    scale = min((_WIDTH - 2 * _MARGIN) / span[0], (_TALLEST - 2 * _MARGIN) / span[1])
    size = span * scale + 2 * _MARGIN
    drawn = []
    for one in places:
        at_N2 = (one - low) * wide * scale + _MARGIN
        at_N2[:, 1] = size[1] - at_N2[:, 1]
        middle = (at_N2.min(0) + at_N2.max(0)) / 2
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in at_N2.tolist())
        drawn.append((text, (round(float(middle[0]), 1), round(float(middle[1]), 1))))
    return {"width": round(float(size[0]), 1), "height": round(float(size[1]), 1)}, drawn
