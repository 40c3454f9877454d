"""CORINE Land Cover on the grid of a tile: polygons rasterised, or a raster warped.

A pixel has the code of the polygon that its centre lies in, as in reBEN; of several, that of the last one in the file,
as GDAL burns them. A raster is warped by nearest neighbour. Where there is nothing, the code is 999. Which
numbers a file has is decided when it is opened, see `seg.region.numbering`.
"""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
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

from seg.errors import LandCoverError, SceneError
from seg.rasters.header import Header, open_raster, read_header, readable, shown
from seg.rasters.place import require_crs, warped_onto
from seg.reben.bands import BANDS
from seg.reben.names import band_in, product_in, s1_scene_in
from seg.reben.patch import GeoRef
from seg.region.legend import legend_of, values_in
from seg.region.numbering import (
    CODES,
    NOTHING,
    Decision,
    Legend,
    Numbering,
    code_table,
    decide,
    fill_cure,
    looks_like,
    other_values,
    values_of,
)
from seg.region.packed import source_of
from seg.region.polygons import (
    PolygonFile,
    Polygons,
    bounds_in,
    first_values,
    holds_polygons,
    open_polygons,
    overlap,
    polygons_on,
)
from seg.region.reprojection import Bounds, Objects

Codes = npt.NDArray[np.uint16]

COLUMN = "Code_18"
"""Where the CLC of 2018 has its codes."""
# GDAL changes values that are the destination's nodata, so this is one that no file holds.
_OUTSIDE = -(1 << 31)
_MIDDLE = 512
"""Edge of what is looked at of a raster that may be an image, pixels."""
_SAMPLE = 10_000
"""Polygons whose codes are looked at to see which numbers a file has; all on a tile are checked when it is cut."""
_OTHER_COLUMN = "name another column with --column, or correct or remove the polygons that have them"
_OWN_COLUMN = re.compile(r"code_?\d\d", re.IGNORECASE)
"""How CORINE itself names the column with its codes."""


@dataclass(frozen=True)
class ClcFile:
    """A CLC file that has been looked at.

    Attributes:
        path: The file.
        crs: As text that PROJ understands.
        bounds: In that CRS.
        polygons: Its layer of polygons; None: it is a raster.
        decision: Which of CORINE's numbers it has.
    """

    path: Path
    crs: str
    bounds: Bounds
    polygons: PolygonFile | None
    decision: Decision

    @property
    def identity(self) -> list[Any]:
        """What tells it from any other file, of plain JSON types."""
        if self.polygons is not None:
            return [*self.polygons.identity, self.decision.numbering]
        state = self.path.stat()
        return [self.path.name, state.st_size, state.st_mtime_ns, self.decision.numbering]

    @property
    def record(self) -> dict[str, str]:
        """What a set that is made of it says of it."""
        return {"file": self.path.name, "numbering": self.decision.numbering, "decided by": self.decision.by}


def open_clc(
    path: Path, column: str | None = None, layer: str | None = None, numbering: Numbering | None = None
) -> ClcFile:
    """Look at a CLC file.

    Args:
        path: Vector file or raster.
        column: Where a vector file has its codes; None: `COLUMN`.
        layer: Of a vector file; None: the only one that has the column.
        numbering: Which of CORINE's numbers it has; None: what it says itself, or its numbers do beyond doubt.

    Raises:
        LandCoverError: If it cannot be read, has no CRS, or not the column or layer; names those that it has. If its
            values are not CORINE's, or may be another product's.
    """
    try:
        if holds_polygons(path):
            polygons = open_polygons(path, (column or COLUMN,), "--column", layer)
            decision = _decide_on_polygons(polygons, numbering)
            return ClcFile(path, polygons.crs, polygons.bounds, polygons, decision)
        source = source_of(path)
        header = read_header(source)
        require_crs(header, copy=_copy(source))
        with open_raster(source) as raster, readable(source):
            _require_land_cover(header, raster)
            cure = partial(fill_cure, source, _copy(source))
            decision = decide(str(path), values_in(raster), legend_of(raster), numbering, cure)
    except (LandCoverError, SceneError) as error:
        raise LandCoverError(str(error), wrong_use=error.wrong_use) from None
    return ClcFile(path, CRS.from_user_input(header.crs).to_wkt(), header.bounds, None, decision)


def _copy(source: str) -> str:
    """The name of a copy of a raster, in the folder where commands are typed."""
    return f"{Path(source).stem}_codes.tif"


def _require_land_cover(header: Header, raster: DatasetReader) -> None:
    """Make sure that a raster holds one band, and is none of the images that patches are cut of."""
    path, copy = header.path, _copy(header.path)
    named = {band for text in header.descriptions if (band := band_in(text))}
    scene = s1_scene_in(header.file.name) or product_in(header.file.name)
    whole = header.dtypes[0].startswith(("int", "uint"))
    values = np.empty(0) if whole else _middle(raster)
    fractions = values[values != np.rint(values.real)]
    if named or (scene and not whole) or fractions.size > len(values) / 2:
        what = ", ".join(sorted(named)) or (f"values such as {fractions[0]:.4g}" if fractions.size else "no codes")
        sensor = {BANDS[band].sensor for band in named} or ({"s1"} if _like_decibels(values) else set())
        image = {"s1": "Sentinel-1 (--s1)", "s2": "Sentinel-2 (--s2)"}.get("".join(sensor), "an image")
        raise LandCoverError(
            f"{shown(path)} holds {what}, so it is {image}, not land cover; give CORINE Land Cover as --clc"
        )
    if header.dtypes[0].startswith("complex"):
        raise LandCoverError(f"{shown(path)} holds complex numbers, but codes are whole; give CORINE Land Cover")
    if len(header.dtypes) > 1:
        raise LandCoverError(
            f"{shown(path)} holds {len(header.dtypes)} bands, but land cover is one; give a copy of the one with the "
            f"codes: rio stack --bidx 1 {shlex.quote(path)} {shlex.quote(copy)}"
        )


def _middle(raster: DatasetReader) -> npt.NDArray[Any]:
    """The values with data in the middle of a raster."""
    width, height = min(raster.width, _MIDDLE), min(raster.height, _MIDDLE)
    window = rasterio.windows.Window((raster.width - width) // 2, (raster.height - height) // 2, width, height)
    values: npt.NDArray[Any] = raster.read(1, window=window).ravel()
    present: npt.NDArray[Any] = values[np.isfinite(values) & (values != (raster.nodata or 0))]
    return present


def _like_decibels(values: npt.NDArray[Any]) -> bool:
    """Whether most of some values are what Sentinel-1 is in dB."""
    return bool(values.size) and values.dtype.kind == "f" and bool(np.mean((values > -60) & (values < 0)) > 0.5)


def _decide_on_polygons(polygons: PolygonFile, told: Numbering | None) -> Decision:
    """Which numbers a column has; by its first polygons, because the others may be far away."""
    texts = first_values(polygons, _SAMPLE)
    numbers = {number for number in values_of(texts).values() if number is not None}
    name = f"column {polygons.column} of {polygons.path}"
    own: Numbering | None = "clc" if _OWN_COLUMN.fullmatch(polygons.column) else None
    if told is None and (not numbers or (numbers & set(CODES) and (own or not looks_like(frozenset(numbers))))):
        return Decision("clc", "its values")
    return decide(name, numbers, Legend(official=own), told, lambda _: _OTHER_COLUMN)


def require_cover(clc: ClcFile, grid: GeoRef, tile: str) -> None:
    """Make sure that a file may hold something of a tile.

    Raises:
        LandCoverError: If it lies elsewhere.
    """
    if not overlap(bounds_in(grid, clc.crs), clc.bounds):
        raise LandCoverError(f"{clc.path} does not overlap the tile {tile}; give the CLC of the same place")


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
    numbering: Numbering
    repaired: int = 0

    def read(self, top: int, rows: int) -> Codes:
        """Codes of some rows of the grid, all columns; uint16 (rows, width).

        Raises:
            LandCoverError: If it holds other values than those of its numbering.
        """
        with readable(str(self.path)):
            values_HW = self.raster.read(1, window=rasterio.windows.Window(0, top, self.grid.width, rows))
        values_HW[(values_HW == _OUTSIDE) | np.isnan(values_HW)] = NOTHING
        numbers_HW = values_HW
        if values_HW.dtype.kind == "f":
            numbers_HW = np.where(values_HW == np.rint(values_HW), values_HW, 0).astype(np.int32)
        codes_HW: Codes = np.take(_lookup(self.numbering), numbers_HW, mode="clip")
        # 0 and 999 are where values end that are clipped.
        if not codes_HW.all() or (values_HW > NOTHING).any():
            unknown = np.unique(values_HW[(values_HW > NOTHING) | (codes_HW == 0)]).tolist()
            source = source_of(self.path)
            cure = fill_cure(source, _copy(source), unknown)
            raise other_values(str(self.path), unknown, self.numbering, cure)
        return codes_HW


@cache
def _lookup(numbering: Numbering) -> Codes:
    """Codes of level 3 by number, 0 where there is none, up to `NOTHING`."""
    table = code_table(numbering)
    lookup = np.zeros(NOTHING + 1, np.uint16)
    lookup[list(table)] = list(table.values())
    return lookup


LandCover = BurnedCodes | WarpedCodes
"""Codes on a grid, to be read in strips."""


@contextmanager
def codes_on(clc: ClcFile, grid: GeoRef, tile: str) -> Iterator[LandCover]:
    """The codes of a file on the 10 m grid of a tile, for one thread.

    Raises:
        LandCoverError: If there are none there, other ones than those of CLC, or polygons that cannot be repaired.
    """
    if clc.polygons is not None:
        try:
            polygons = polygons_on(clc.polygons, grid)
        except LandCoverError as error:
            raise LandCoverError(str(error)) from None
        yield _burned(clc, polygons, grid, tile)
        return
    with open_raster(source_of(clc.path)) as raster:
        with readable(str(clc.path)):
            warped = _warped(raster, grid)
        with warped:
            yield WarpedCodes(grid, clc.path, warped, clc.decision.numbering)


def _warped(raster: DatasetReader, grid: GeoRef) -> WarpedVRT:
    return warped_onto(
        raster,
        grid,
        resampling=Resampling.nearest,
        src_nodata=NOTHING if raster.nodata is None else raster.nodata,
        nodata=_OUTSIDE,
        # Whole numbers may be stored as others are, with gaps that are no numbers.
        dtype="int32" if raster.dtypes[0].startswith(("int", "uint")) else "float64",
    )


def _burned(clc: ClcFile, polygons: Polygons, grid: GeoRef, tile: str) -> BurnedCodes:
    import shapely

    if not len(polygons.shapes_N):
        raise LandCoverError(f"{clc.path} has no polygon on the tile {tile}; give the CLC of the same place")
    bounds_N4 = shapely.bounds(polygons.shapes_N)
    codes_N = _codes(clc.path, polygons.values_N, clc.decision.numbering)
    return BurnedCodes(grid, polygons.shapes_N, codes_N, bounds_N4[:, [1, 3]], polygons.repaired)


def _codes(path: Path, values_N: npt.NDArray[Any], numbering: Numbering) -> Codes:
    """Codes of an attribute that holds text or numbers.

    Raises:
        LandCoverError: If one is not in the nomenclature.
    """
    text_N = values_N.astype(str)
    different, place_N = np.unique(text_N, return_inverse=True)
    table = code_table(numbering)
    code_of = {text: table.get(number, 0) if number else 0 for text, number in values_of(different.tolist()).items()}
    if other := [text for text, code in code_of.items() if not code]:
        raise other_values(str(path), other, numbering, _OTHER_COLUMN)
    codes_N: Codes = np.array(list(code_of.values()), np.uint16)[place_N]
    return codes_N
