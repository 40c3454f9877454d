"""CORINE Land Cover on the grid of a tile: polygons rasterised, or a raster warped.

A pixel has the code of the polygon that its centre lies in, as in reBEN; of several, that of the last one in the file,
as GDAL burns them. A raster is warped by nearest neighbour. Where there is nothing, the code is 999.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.windows
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from seg.prepare.polygons import (
    Bounds,
    Objects,
    PolygonError,
    PolygonFile,
    Polygons,
    bounds_in,
    holds_polygons,
    open_polygons,
    overlap,
    polygons_on,
)
from seg.reben.classes import CLASS_OF_CODE
from seg.reben.patch import GeoRef
from seg.scenes.grid import SceneError
from seg.scenes.header import open_raster, read_header, readable
from seg.scenes.place import require_crs

Codes = npt.NDArray[np.uint16]

NOTHING = 999
"""The code where there is no polygon."""
COLUMN = "Code_18"
"""Where the CLC of 2018 has its codes."""
_CODES = sorted(CLASS_OF_CODE)
_GRID_CODE_NOTHING = 48
# GDAL changes values that are the destination's nodata, so this is one that no file holds.
_OUTSIDE = -(1 << 31)
_TOLERANCE = 0.001
"""How far a place may be off in a warped raster, in its pixels."""

# The official raster numbers the 44 codes from 1 on, and has 48 for "no data"; no code is that small.
_OF_VALUE = np.zeros(1000, np.uint16)
_OF_VALUE[_CODES] = _CODES
_OF_VALUE[1 : len(_CODES)] = _CODES[:-1]
_OF_VALUE[_GRID_CODE_NOTHING] = NOTHING


class ClcError(ValueError):
    """A CLC file that cannot be used; the text is one sentence with the cure."""


@dataclass(frozen=True)
class ClcFile:
    """A CLC file that has been looked at.

    Attributes:
        path: The file.
        crs: As text that PROJ understands.
        bounds: In that CRS.
        polygons: Its layer of polygons; None: it is a raster.
    """

    path: Path
    crs: str
    bounds: Bounds
    polygons: PolygonFile | None

    @property
    def identity(self) -> list[Any]:
        """What tells it from any other file, of plain JSON types."""
        if self.polygons is not None:
            return self.polygons.identity
        state = self.path.stat()
        return [self.path.name, state.st_size, state.st_mtime_ns]


def open_clc(path: Path, column: str | None = None, layer: str | None = None) -> ClcFile:
    """Look at a CLC file.

    Args:
        path: Vector file or raster.
        column: Where a vector file has its codes; None: `COLUMN`.
        layer: Of a vector file; None: the only one that has the column.

    Raises:
        ClcError: If it cannot be read, has no CRS, or not the column or layer; names those that it has.
    """
    try:
        if holds_polygons(path):
            polygons = open_polygons(path, (column or COLUMN,), "--column", layer)
            return ClcFile(path, polygons.crs, polygons.bounds, polygons)
        header = read_header(str(path))
        require_crs(header)
    except (PolygonError, SceneError) as error:
        raise ClcError(str(error)) from None
    if not header.dtypes[0].startswith(("int", "uint")):
        raise ClcError(
            f"{path} holds {header.dtypes[0]} numbers, but codes are whole; convert it with gdal_translate -ot UInt16"
        )
    return ClcFile(path, CRS.from_user_input(header.crs).to_wkt(), header.bounds, None)


def require_cover(clc: ClcFile, grid: GeoRef, tile: str) -> None:
    """Make sure that a file may hold something of a tile.

    Raises:
        ClcError: If it lies elsewhere.
    """
    if not overlap(bounds_in(grid, clc.crs), clc.bounds):
        raise ClcError(f"{clc.path} does not overlap the tile {tile}; give the CLC of the same place")


@dataclass(frozen=True)
class BurnedCodes:
    """The codes of polygons on a grid."""

    grid: GeoRef
    shapes_N: Objects
    codes_N: Codes
    reach_N2: npt.NDArray[np.float64]
    repaired: int

    def read(self, top: int, rows: int) -> Codes:
        """Codes of some rows of the grid, all columns; uint16 (rows, width)."""
        size, north = self.grid.pixel_size, self.grid.y_max - top * self.grid.pixel_size
        codes_HW = np.full((rows, self.grid.width), NOTHING, np.uint16)
        near_N = (self.reach_N2[:, 0] < north) & (self.reach_N2[:, 1] > north - rows * size)
        if near_N.any():
            burned = zip(self.shapes_N[near_N], self.codes_N[near_N].tolist(), strict=True)
            rasterize(burned, out=codes_HW, transform=Affine(size, 0, self.grid.x_min, 0, -size, north))
        return codes_HW


@dataclass(frozen=True)
class WarpedCodes:
    """The codes of a raster on a grid."""

    grid: GeoRef
    path: Path
    raster: WarpedVRT
    repaired: int = 0

    def read(self, top: int, rows: int) -> Codes:
        """Codes of some rows of the grid, all columns; uint16 (rows, width).

        Raises:
            ClcError: If it holds other values than CLC codes.
        """
        with readable(str(self.path)):
            values_HW = self.raster.read(1, window=rasterio.windows.Window(0, top, self.grid.width, rows))
        values_HW[values_HW == _OUTSIDE] = NOTHING
        codes_HW: Codes = np.take(_OF_VALUE, values_HW, mode="clip")
        # 0 and 999 are where values end that are clipped.
        if not codes_HW.all() or (values_HW > NOTHING).any():
            unknown = (values_HW > NOTHING) | (codes_HW == 0)
            cure = (
                "if one stands for no data, say so with gdal_edit.py -a_nodata VALUE; else give a raster of CLC codes"
            )
            raise _other_codes(self.path, np.unique(values_HW[unknown]).tolist(), cure)
        return codes_HW


LandCover = BurnedCodes | WarpedCodes
"""Codes on a grid, to be read in strips."""


@contextmanager
def codes_on(clc: ClcFile, grid: GeoRef, tile: str) -> Iterator[LandCover]:
    """The codes of a file on the 10 m grid of a tile, for one thread.

    Raises:
        ClcError: If there are none there, other ones than those of CLC, or polygons that cannot be repaired.
    """
    if clc.polygons is not None:
        try:
            polygons = polygons_on(clc.polygons, grid)
        except PolygonError as error:
            raise ClcError(str(error)) from None
        yield _burned(clc.path, polygons, grid, tile)
        return
    with open_raster(str(clc.path)) as raster:
        with readable(str(clc.path)):
            warped = _warped(raster, grid)
        with warped:
            yield WarpedCodes(grid, clc.path, warped)


def _warped(raster: DatasetReader, grid: GeoRef) -> WarpedVRT:
    return WarpedVRT(
        raster,
        crs=CRS.from_epsg(grid.epsg),
        transform=Affine(*grid.transform),
        width=grid.width,
        height=grid.height,
        resampling=Resampling.nearest,
        src_nodata=NOTHING if raster.nodata is None else raster.nodata,
        nodata=_OUTSIDE,
        dtype="int32",
        tolerance=_TOLERANCE,
    )


def _burned(path: Path, polygons: Polygons, grid: GeoRef, tile: str) -> BurnedCodes:
    import shapely

    if not len(polygons.shapes_N):
        raise ClcError(f"{path} has no polygon on the tile {tile}; give the CLC of the same place")
    bounds_N4 = shapely.bounds(polygons.shapes_N)
    codes_N = _codes(path, polygons.values_N)
    return BurnedCodes(grid, polygons.shapes_N, codes_N, bounds_N4[:, [1, 3]], polygons.repaired)


def _codes(path: Path, values_N: npt.NDArray[Any]) -> Codes:
    """Codes of an attribute that holds text or numbers.

    Raises:
        ClcError: If one is not in the nomenclature.
    """
    text_N = values_N.astype(str)
    different, place_N = np.unique(text_N, return_inverse=True)
    known = {str(code): code for code in _CODES} | {f"{code}.0": code for code in _CODES}
    if other := [value for value in different.tolist() if value.strip() not in known]:
        cure = "name another column with --column, or correct or remove the polygons that have them"
        raise _other_codes(path, other, cure)
    code_of = np.array([known[value.strip()] for value in different.tolist()], np.uint16)
    codes_N: Codes = code_of[place_N]
    return codes_N


def _other_codes(path: Path, values: list[Any], cure: str) -> ClcError:
    listed = ", ".join(str(value) or "nothing" for value in values[:5]) + (" and more" if len(values) > 5 else "")
    return ClcError(
        f"{path} holds {listed}, which {'is no code' if len(values) == 1 else 'are no codes'} of CLC level 3 such as "
        f"311; {cure}"
    )
