"""The scene classification of a Sentinel-2 L2A product: where sen2cor saw snow, cloud and its shadow.

Classes (S2-PDGS-MPC-ATBD-L2A, table 3): 3 cloud shadow, 8 and 9 cloud of medium and high probability, 10 thin cirrus,
11 snow or ice.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio.windows
from rasterio.io import DatasetReader

from seg.errors import SceneError
from seg.rasters.grid import Window
from seg.rasters.header import open_raster, read_header, readable, shown
from seg.rasters.place import grid_of
from seg.reben.patch import GeoRef
from seg.scenes.product_files import is_product, product_files, require_whole

FACTOR = 2
"""10 m pixels per pixel of the classification along an edge."""
CLOUD_OR_SHADOW = (3, 8, 9)
"""Thin cirrus is not among them: sen2cor sees it over much that is clear."""
SNOW = (11,)
_PLACE = re.compile(r"GRANULE/[^/]+/IMG_DATA/(?:R20m/)?[^/]*_SCL_(?:[^/]+_)?20m\.(?:jp2|tiff?)", re.IGNORECASE)


def find_classification(path: Path, grid: GeoRef) -> str | None:
    """The file of a scene's classification, as GDAL opens it; None if there is none or the scene is no SAFE.

    Args:
        path: The scene.
        grid: Its 10 m grid.

    Raises:
        SceneError: If the file is damaged or lies elsewhere.
    """
    if not is_product(path):
        return None
    files = product_files(path)
    found = next((file for file in files.paths if _PLACE.fullmatch(file)), None)
    if found is None:
        return None
    require_whole(files, found)
    own = grid_of(header := read_header(files.prefix + found))
    place = (own.epsg, own.x_min, own.y_max, own.width * FACTOR, own.height * FACTOR)
    if place != (grid.epsg, grid.x_min, grid.y_max, grid.width, grid.height):
        raise SceneError(f"{shown(header.path)} does not lie on the grid of the product's bands; get the product anew")
    return files.prefix + found


@contextmanager
def open_classification(path: str | None) -> Iterator["Classification"]:
    """A reader for one thread; of no file, one that sees neither snow nor cloud."""
    if path is None:
        yield Classification(None)
        return
    with open_raster(path) as raster:
        yield Classification(raster)


class Classification:
    """Reads windows of a classification."""

    def __init__(self, raster: DatasetReader | None) -> None:
        self._raster = raster

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """Classes of a window whose edges are even, uint8 (height / 2, width / 2); 0 where there is no classification.

        Raises:
            SceneError: If the file is damaged.
        """
        rows, columns = window.shape(FACTOR)
        if self._raster is None:
            return np.zeros((rows, columns), np.uint8)
        with readable(self._raster.name):
            classes_HW: npt.NDArray[np.uint8] = self._raster.read(
                1, window=rasterio.windows.Window(window.left // FACTOR, window.top // FACTOR, columns, rows)
            )
        return classes_HW
