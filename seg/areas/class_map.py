"""A class map of seg as statisticians need it: where it lies, its pixels in rows from top to bottom, and what it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import xxhash
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from seg.catalogue.address import require_here
from seg.errors import MapError
from seg.reben.classes import CLASS_NAMES, IGNORE_INDEX, NUM_CLASSES
from seg.reben.ground import BLOCK, Floats, hectares_of
from seg.reben.patch import GeoRef

Bytes = npt.NDArray[np.uint8]
_ROWS = 2 * BLOCK


@dataclass(frozen=True)
class ClassMap:
    """A map that has been looked at.

    Attributes:
        path: The file, a GeoTIFF or a virtual raster.
        grid: Where it lies.
        tags: Its metadata.
    """

    path: Path
    grid: GeoRef
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the scene, else of the file."""
        return self.tags.get("SCENE", self.path.stem)


@dataclass(frozen=True, eq=False)
class Strata:
    """What a map holds.

    Attributes:
        pixels_K: Of each class, int64 (K,).
        hectares_K: The same on the ground, float64.
        digest: Tells the map from any other one: of all pixels and where they lie.
    """

    pixels_K: npt.NDArray[np.int64]
    hectares_K: Floats
    digest: str


def open_class_map(path: Path) -> ClassMap:
    """Look at a class map.

    Raises:
        MapError: If there is none, or it is no class map of seg.
    """
    require_here(path)
    if not path.is_file():
        raise MapError(f"there is no map {path}; name a class map", wrong_use=True)
    try:
        with rasterio.open(path) as dataset:
            a, b, x_min, d, e, y_max = dataset.transform[:6]
            epsg = dataset.crs.to_epsg() if dataset.crs else None
            names = [dataset.tags(1).get(f"CLASS_{k}") for k in range(NUM_CLASSES)]
            if dataset.count != 1 or dataset.dtypes != ("uint8",) or names != list(CLASS_NAMES):
                raise MapError(
                    f"{path} is no class map of seg, which names its {NUM_CLASSES} classes in its metadata; name the "
                    "map itself, not its probabilities, confidence or agreement",
                    wrong_use=True,
                )
            if epsg is None or b or d or abs(a + e) > 1e-9 * a:
                raise MapError(
                    f"{path} is on no north-up grid of square pixels in a CRS with an EPSG code; name the map as it "
                    "was written",
                    wrong_use=True,
                )
            grid = GeoRef(epsg, x_min, y_max, a, dataset.width, dataset.height)
            return ClassMap(path, grid, dataset.tags())
    except RasterioIOError as error:
        raise MapError(f"{path} cannot be read as a raster ({error}); write it again") from None


def map_rows(of: ClassMap) -> Iterator[tuple[int, Bytes, GeoRef]]:
    """Some rows at a time: the number of rows above, the pixels, and where they lie.

    Raises:
        MapError: If a pixel is neither a class nor nodata.
        OSError: If the file cannot be read.
    """
    grid = of.grid
    with rasterio.open(of.path) as dataset:
        for top in range(0, grid.height, _ROWS):
            height = min(_ROWS, grid.height - top)
            values_HW: Bytes = dataset.read(1, window=Window(0, top, grid.width, height))
            if ((values_HW >= NUM_CLASSES) & (values_HW != IGNORE_INDEX)).any():
                raise MapError(f"{of.path} holds values that are no class; write it again")
            yield top, values_HW, replace(grid, y_max=grid.y_max - top * grid.pixel_size, height=height)


def strata_of(of: ClassMap) -> Strata:
    """Count a map.

    Raises:
        MapError: If it holds no data.
        OSError: If it cannot be read.
    """
    pixels, hectares, sums = np.zeros(256, np.int64), np.zeros(256), xxhash.xxh3_128()
    sums.update(repr((of.grid.epsg, *of.grid.bounds, of.grid.pixel_size)).encode())
    for _, values_HW, grid in map_rows(of):
        sums.update(np.ascontiguousarray(values_HW).data)
        of_rows = hectares_of(values_HW, grid)
        pixels, hectares = pixels + of_rows[0], hectares + of_rows[1]
    if not pixels[:NUM_CLASSES].any():
        raise MapError(f"{of.path} has no data anywhere; name another map", wrong_use=True)
    return Strata(pixels[:NUM_CLASSES], hectares[:NUM_CLASSES], sums.hexdigest())
