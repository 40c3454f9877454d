"""The part of a scene that is mapped: a box, polygons, or all of it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.features import geometry_mask
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from seg.catalogue.address import require_here
from seg.errors import WrongUseError
from seg.maps.parts import window_grid
from seg.reben.patch import GeoRef
from seg.region.packed import source_of
from seg.region.polygons import bounds_in
from seg.region.reprojection import moved, near, same_crs
from seg.scenes.grid import Window
from seg.scenes.reader import Scene

if TYPE_CHECKING:
    from seg.inference.strips import Inside

_LON_LAT = CRS.from_epsg(4326)
_NEAR = 0.5
"""Degrees around a scene."""
_AROUND = 360
"""Degrees around the Earth."""

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees of longitude and latitude (WGS 84); west is more than east across 180 degrees."""


@dataclass(frozen=True)
class ScenePart:
    """What is mapped of a scene.

    Attributes:
        inner: The rectangle that the map covers.
        inside: Which of its pixels are mapped; None: all.
    """

    inner: Window
    inside: Inside | None


def read_box(text: str) -> Box:
    """A box from ``W,S,E,N``.

    Raises:
        WrongUseError: If these are no four numbers of a box.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise WrongUseError(
            f"'{text}' is no box; give west,south,east,north in degrees, such as 13.1,47.7,13.3,47.9"
        ) from None
    # Across 180 degrees: as wide as it is read, not round the other side of the Earth.
    across = west > east and west - east >= _AROUND / 2
    if not (max(abs(west), abs(east)) <= _AROUND / 2 and (west < east or across) and -90 <= south < north <= 90):
        raise WrongUseError(
            f"'{text}' is no box; give west,south,east,north in degrees: longitude first, and west before east"
        )
    return west, south, east, north


def choose_part(scene: Scene, box: Box | None, geometry: Path | None) -> ScenePart:
    """The part of a scene in a box and in polygons, as far as they are given.

    Raises:
        WrongUseError: If nothing of the scene is in there, or the file holds no polygons or has no CRS.
    """
    inner, grid = Window(0, 0, scene.grid.width, scene.grid.height), scene.grid
    if box is not None:
        inner = _cut(inner, _projected(box, grid), scene, f"the box {','.join(f'{edge:g}' for edge in box)}")
    if geometry is None:
        return ScenePart(inner, None)
    shape = _read_shape(geometry, grid)
    inner = _cut(inner, shape.bounds, scene, str(geometry))
    inside = _Inside(shape, grid)
    if not inside(inner).any():
        raise WrongUseError(f"{geometry} holds no pixel's centre of {scene.name}; give larger polygons")
    return ScenePart(inner, inside)


def _projected(box: Box, grid: GeoRef) -> Box:
    """Bounds of a box in the CRS of a grid, as far as they are near it: far away, projections have no sense."""
    west, south, east, north = transform_bounds(CRS.from_epsg(grid.epsg), _LON_LAT, *grid.bounds)
    east, right = (edge + _AROUND * (edge < other) for edge, other in ((east, west), (box[2], box[0])))
    # Of a scene across 180 degrees the degrees go on beyond these, from either side.
    turned = [(max(box[0] + turn, west - _NEAR), min(right + turn, east + _NEAR)) for turn in (-_AROUND, 0, _AROUND)]
    spans = [span for span in turned if span[0] < span[1]]
    low, high = max(box[1], south - _NEAR), min(box[3], north + _NEAR)
    if not spans or low >= high:
        return (np.inf,) * 4
    bounds: Box = transform_bounds(
        _LON_LAT, CRS.from_epsg(grid.epsg), min(span[0] for span in spans), low, max(span[1] for span in spans), high
    )
    return bounds


@dataclass(frozen=True)
class _Inside:
    """Pixels whose centre lies in a shape."""

    shape: Any
    grid: GeoRef

    def __call__(self, place: Window) -> npt.NDArray[np.bool_]:
        transform = Affine(*window_grid(self.grid, place).transform)
        mask_HW: npt.NDArray[np.bool_] = geometry_mask(
            [self.shape], (place.height, place.width), transform, invert=True
        )
        return mask_HW


def _cut(inner: Window, bounds: Box, scene: Scene, what: str) -> Window:
    """The pixels of a window that touch bounds, which are in the CRS of the grid."""
    grid = scene.grid
    west, south, east, north = np.nan_to_num(bounds, posinf=1e12)
    # Projected coordinates are exact to far less than this.
    left = max(int(np.floor((west - grid.x_min) / grid.pixel_size + 1e-6)), inner.left)
    right = min(int(np.ceil((east - grid.x_min) / grid.pixel_size - 1e-6)), inner.left + inner.width)
    top = max(int(np.floor((grid.y_max - north) / grid.pixel_size + 1e-6)), inner.top)
    bottom = min(int(np.ceil((grid.y_max - south) / grid.pixel_size - 1e-6)), inner.top + inner.height)
    if left >= right or top >= bottom:
        corners = transform_bounds(CRS.from_epsg(grid.epsg), _LON_LAT, *grid.bounds)
        raise WrongUseError(
            f"{what} does not touch {scene.name}, which lies in {','.join(f'{edge:.4f}' for edge in corners)} "
            "(west,south,east,north in degrees)"
        )
    return Window(left, top, right - left, bottom - top)


def _read_shape(path: Path, grid: GeoRef) -> Any:
    """Union of the polygons of a file, in the CRS of a grid and as far as they lie near it."""
    import geopandas
    import pyogrio
    import shapely

    require_here(path)
    if not path.exists():
        raise WrongUseError(f"there is no file {path}; give polygons as GeoJSON or GeoPackage")
    try:
        source = source_of(path)
        table = geopandas.read_file(source)
    except pyogrio.errors.DataSourceError:
        raise WrongUseError(f"{path} cannot be read as vector data; give polygons as GeoJSON or GeoPackage") from None
    # What pyogrio raises of layers are RuntimeErrors, of fields and CRSs ValueErrors.
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WrongUseError(f"{path} cannot be read as vector data ({reason}); give GeoJSON or GeoPackage") from None
    if not isinstance(table, geopandas.GeoDataFrame):
        raise WrongUseError(f"{path} holds no geometries; give polygons as GeoJSON or GeoPackage")
    polygons = table[table.geom_type.isin(("Polygon", "MultiPolygon"))]
    if polygons.empty:
        raise WrongUseError(f"{path} holds no polygons; give polygons as GeoJSON or GeoPackage")
    if polygons.crs is None:
        code = f"import geopandas as g; g.read_file({json.dumps(source)})"
        code += '.set_crs("EPSG:nnnn").to_file("with_crs.gpkg")'
        raise WrongUseError(
            f"{path} has no CRS; give it that of its source (nnnn: the EPSG code): python -c {shlex.quote(code)}"
        )
    shapes_N, crs = polygons.geometry.make_valid().to_numpy(), polygons.crs.to_wkt()
    bounds = bounds_in(grid, crs)
    if bounds is not None and not same_crs(crs, grid.epsg):
        shapes_N = moved(near(shapes_N, bounds, crs), crs, f"EPSG:{grid.epsg}")
    return shapely.union_all(shapely.make_valid(shapes_N))
