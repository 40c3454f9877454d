"""The scene classification of a Sentinel-2 L2A product: where sen2cor saw snow, cloud and its shadow.

Classes (S2-PDGS-MPC-ATBD-L2A, table 3): 3 cloud shadow, 8 and 9 cloud of medium and high probability, 10 thin cirrus,
11 snow or ice.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import rasterio.windows
from rasterio.io import DatasetReader

from seg.catalogue.address import gdal_path
from seg.catalogue.item import Item, Source
from seg.errors import SceneError
from seg.rasters.header import open_raster, patiently, read_header, readable, shown
from seg.rasters.place import grid_of
from seg.reben.patch import GeoRef
from seg.scenes.catalogued import require_place
from seg.scenes.grid import SceneUseError, Window
from seg.scenes.product_files import is_product, product_files, require_whole

FACTOR = 2
"""10 m pixels per pixel of the classification along an edge."""
CLOUD_OR_SHADOW = (3, 8, 9)
"""Thin cirrus is not among them: sen2cor sees it over much that is clear."""
CLOUD_CLASSES = "3,8,9 of the scene classification"
"""How a map says that these were left out."""
SNOW = (11,)
_PLACE = re.compile(r"GRANULE/[^/]+/IMG_DATA/(?:R20m/)?[^/]*_SCL_(?:[^/]+_)?20m\.(?:jp2|tiff?)", re.IGNORECASE)


def find_classification(path: Source, grid: GeoRef) -> str | None:
    """The file of a scene's classification, as GDAL opens it; None if there is none: only products and items have one.

    Args:
        path: The scene.
        grid: Its 10 m grid.

    Raises:
        SceneError: If the file is damaged or lies elsewhere.
    """
    if isinstance(path, Item):
        if (asset := path.classification) is None:
            return None
        found = gdal_path(asset.place)
        require_place(path, asset, header := read_header(found))
    elif not is_product(path):
        return None
    else:
        files = product_files(path)
        inside = next((file for file in files.paths if _PLACE.fullmatch(file)), None)
        if inside is None:
            return None
        require_whole(files, inside)
        header = read_header(found := files.prefix + inside)
    own = grid_of(header)
    place = (own.epsg, own.x_min, own.y_max, own.width * FACTOR, own.height * FACTOR)
    if place != (grid.epsg, grid.x_min, grid.y_max, grid.width, grid.height):
        cure = "an item whose files fit" if isinstance(path, Item) else "the product anew"
        raise SceneError(f"{shown(header.path)} does not lie on the grid of the bands of {path}; get {cure}")
    return found


def cloud_source(path: Source, grid: GeoRef) -> str:
    """The same of a scene whose clouds are to be left out.

    Raises:
        SceneUseError: If it has no classification.
        SceneError: As of `find_classification`.
    """
    found = find_classification(path, grid)
    if found is None:
        raise SceneUseError(
            f"{path} has no scene classification (SCL), which tells where clouds are; leave out --cloud-mask, or give "
            "the Level-2A product or a STAC item of it"
        )
    return found


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
        place = rasterio.windows.Window(window.left // FACTOR, window.top // FACTOR, columns, rows)
        with readable(self._raster.name):
            classes_HW: npt.NDArray[np.uint8] = patiently(
                self._raster.name, partial(self._raster.read, 1, window=place)
            )
        return classes_HW

    def clouds(self, window: Window) -> npt.NDArray[np.bool_]:
        """Where a window is cloud or its shadow: bool (height, width) at 10 m, of any window.

        Raises:
            SceneError: If the file is damaged.
        """
        left, top = window.left % FACTOR, window.top % FACTOR
        even = Window(window.left - left, window.top - top, window.width + left, window.height + top)
        clouds_HW = np.isin(self.read(even), CLOUD_OR_SHADOW).repeat(FACTOR, axis=0).repeat(FACTOR, axis=1)
        return clouds_HW[top : top + window.height, left : left + window.width]
