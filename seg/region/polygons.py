"""Polygons with an attribute out of a vector file, brought onto the CRS of a tile.

GeoPackage, Shapefile, GeoJSON and whatever else GDAL reads. Only the polygons that lie near a tile are read, so that a
file may cover a continent.
"""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform_bounds

from seg.catalogue.address import require_here
from seg.errors import LandCoverError, SceneError
from seg.reben.patch import GeoRef
from seg.region.packed import source_of
from seg.region.reprojection import Bounds, Objects, moved, near, same_crs

_POLYGON, _MULTI, _COLLECTION = 3, 6, 7
"""Numbers of geometry types in GEOS; collections of polygons and lines are what a repaired polygon may become."""
LAYERED = "--column"
"""The option of a column in whose file a layer can be named."""


@dataclass(frozen=True)
class PolygonFile:
    """A layer of polygons in a vector file.

    Attributes:
        path: The file.
        layer: Name of the layer.
        column: Name of the attribute.
        crs: As text that PROJ understands.
        bounds: Of all polygons, in the file's CRS.
        whole: Whether the attribute is a whole number. Where one lacks, all are read as floating-point numbers.
    """

    path: Path
    layer: str
    column: str
    crs: str
    bounds: Bounds
    whole: bool = False

    @property
    def identity(self) -> list[Any]:
        """What tells it from any other one, of plain JSON types."""
        state = self.path.stat()
        return [self.path.name, state.st_size, state.st_mtime_ns, self.layer, self.column]


@dataclass(frozen=True)
class Polygons:
    """Polygons in the CRS of a tile.

    Attributes:
        shapes_N: Valid shapely polygons in the order of the file; a multipolygon is several of them.
        values_N: The attribute of each.
        repaired: Features that were not valid and have been made so.
        features_F: The attribute of each feature that was read, None where it has none.
        own_F: The valid shape of each feature as a whole, in the file's CRS.
    """

    shapes_N: Objects
    values_N: npt.NDArray[Any]
    repaired: int
    features_F: npt.NDArray[Any]
    own_F: Objects


def holds_polygons(path: Path) -> bool:
    """Whether GDAL reads a file as vector data.

    Raises:
        LandCoverError: If there is no such file.
        WrongUseError: If it lies elsewhere.
    """
    import pyogrio

    require_here(path)
    if not path.exists():
        raise LandCoverError(f"{path} does not exist; name a file that does", wrong_use=True)
    try:
        return len(pyogrio.list_layers(_source(path))) > 0
    except pyogrio.errors.DataSourceError:
        return False


def open_polygons(path: Path, columns: Sequence[str], option: str, layer: str | None = None) -> PolygonFile:
    """Look at a vector file without reading its polygons.

    Args:
        path: The file.
        columns: Names that the attribute may have; upper and lower case are the same.
        option: The command's option that names the column.
        layer: Name of the layer; None: the only one that has the column.

    Raises:
        LandCoverError: If the file, the layer, the column or the CRS is missing, or it holds no polygons.
    """
    import pyogrio

    if not holds_polygons(path):
        raise LandCoverError(f"{path} cannot be read as a vector file; it is damaged, or none: give a GeoPackage")
    source = _source(path)
    names = [str(name) for name in pyogrio.list_layers(source)[:, 0]]
    if layer is not None and layer not in names:
        raise LandCoverError(f"{path} has no layer '{layer}'; its layers are {', '.join(names)}", wrong_use=True)
    fields = {name: _fields(source, name) for name in ([layer] if layer else names)}
    having = {name: column for name, held in fields.items() if (column := _column(held, columns))}
    if not having:
        held = dict.fromkeys(column for held in fields.values() for column in held)
        if not held:
            raise LandCoverError(f"{path} has no columns; give its polygons a column '{columns[0]}'")
        raise LandCoverError(
            f"{path} has no column '{columns[0]}'; its columns are {', '.join(held)}: name one with {option}"
        )
    if len(having) > 1:
        layer, column = next(iter(having.items()))
        which = f"{path} has the column '{column}' in {len(having)} layers ({', '.join(having)})"
        if option == LAYERED:
            raise LandCoverError(f"{which}; name one with --layer")
        code = (
            f"import geopandas as g; g.read_file({json.dumps(source)}, layer={json.dumps(layer)})"
            '.to_file("one_layer.gpkg")'
        )
        raise LandCoverError(f"{which}; give a file of the one that is meant: python -c {shlex.quote(code)}")
    ((layer, column),) = having.items()
    info = pyogrio.read_info(source, layer=layer, force_total_bounds=True)
    kind = info["geometry_type"] or "no geometries"
    if not any(word in kind for word in ("Polygon", "Surface", "Unknown", "Collection")):
        raise LandCoverError(f"{path} holds {kind}, not polygons; name a file of polygons")
    if not info["crs"]:
        code = (
            f"import geopandas as g; g.read_file({json.dumps(source)}, layer={json.dumps(layer)})"
            '.set_crs("EPSG:nnnn").to_file("with_crs.gpkg")'
        )
        raise LandCoverError(
            f"{path} has no CRS; give it that of its source (nnnn: the EPSG code): python -c {shlex.quote(code)}"
        )
    bounds = info["total_bounds"]
    if bounds is None or not np.isfinite(bounds).all():
        raise LandCoverError(f"the layer {layer} of {path} is empty; name a file with polygons")
    west, south, east, north = (float(value) for value in bounds)
    kinds = dict(zip(info["fields"].tolist(), info["dtypes"].tolist(), strict=True))
    whole = np.dtype(kinds[column]).kind in "iu"
    return PolygonFile(path, layer, column, info["crs"], (west, south, east, north), whole)


def polygons_on(file: PolygonFile, grid: GeoRef) -> Polygons:
    """The polygons that lie on a grid or near it, in its CRS.

    Vertices are reprojected, edges between them are straight in either CRS, as GDAL has it; but edges longer than the
    grid are straight in that of the file. Of polygons that go on far beyond the grid, what lies near it is taken.

    Raises:
        LandCoverError: If one cannot be made valid.
    """
    import pyogrio
    import shapely

    bounds = bounds_in(grid, file.crs)
    if bounds is None:
        return Polygons(np.empty(0, object), np.empty(0, object), 0, np.empty(0, object), np.empty(0, object))
    try:
        _, fids_N, binary_N, fields = pyogrio.raw.read(
            _source(file.path), layer=file.layer, columns=[file.column], bbox=bounds, return_fids=True, force_2d=True
        )
        shapes_N = shapely.from_wkb(binary_N, on_invalid="ignore")
    except (pyogrio.errors.DataSourceError, pyogrio.errors.GeometryError, shapely.GEOSException):
        raise LandCoverError(f"{file.path} cannot be read; it is damaged: get it anew") from None
    # A spatial index gives features in its own order; which one lies on top is decided by that of the file.
    order = np.argsort(fids_N, kind="stable")
    fids_N, shapes_N, values_N = fids_N[order], shapes_N[order], fields[0][order]
    own_F, repaired = _valid(file, shapes_N, fids_N)
    shapes_N = own_F if same_crs(file.crs, grid.epsg) else near(own_F, bounds, file.crs)
    parts_N, owner_N = shapely.get_parts(shapes_N, return_index=True)
    parts_N, inner_N = shapely.get_parts(parts_N, return_index=True)
    keep = (shapely.get_type_id(parts_N) == _POLYGON) & ~shapely.is_empty(parts_N)
    parts_N, owner_N = parts_N[keep], owner_N[inner_N][keep]
    return Polygons(_reprojected(file, parts_N, grid.epsg), values_N[owner_N], repaired, values_N, own_F)


def first_values(file: PolygonFile, most: int) -> list[str]:
    """Values of the attribute of the first polygons of a file as text, each once.

    Raises:
        LandCoverError: If it is damaged.
    """
    import pyogrio

    try:
        _, _, _, fields = pyogrio.raw.read(
            _source(file.path), layer=file.layer, columns=[file.column], read_geometry=False, max_features=most
        )
    except pyogrio.errors.DataSourceError:
        raise LandCoverError(f"{file.path} cannot be read; it is damaged: get it anew") from None
    values: list[str] = np.unique(fields[0].astype(str)).tolist()
    return values


def name_counts(file: PolygonFile) -> dict[str, int]:
    """How many features of a file have each name, wherever they lie; those without a place are none.

    Raises:
        LandCoverError: If it is damaged.
    """
    import pyogrio

    try:
        fids_F, bounds_4F = pyogrio.read_bounds(_source(file.path), layer=file.layer)
        _, fids_A, _, fields = pyogrio.raw.read(
            _source(file.path), layer=file.layer, columns=[file.column], read_geometry=False, return_fids=True
        )
    except pyogrio.errors.DataSourceError:
        raise LandCoverError(f"{file.path} cannot be read; it is damaged: get it anew") from None
    placed_A = np.isin(fids_A, fids_F[(bounds_4F[2:] > bounds_4F[:2]).all(0)])
    return Counter(name for name in names_of(file, fields[0][placed_A]) if name is not None)


def names_of(file: PolygonFile, values_N: npt.NDArray[Any]) -> list[str | None]:
    """Values of the attribute as names; None where one lacks or is blank."""
    import pandas

    missing_N = pandas.isna(values_N)
    if file.whole:
        values_N = np.where(missing_N, 0, values_N).astype(np.int64)
    texts = (text.strip() for text in values_N.astype(str).tolist())
    return [None if missing or not text else text for text, missing in zip(texts, missing_N.tolist(), strict=True)]


def bounds_in(grid: GeoRef, crs: str) -> Bounds | None:
    """The bounds of a grid in another CRS; None where it cannot be shown there."""
    try:
        west, south, east, north = transform_bounds(
            CRS.from_epsg(grid.epsg), CRS.from_user_input(crs), *grid.bounds, densify_pts=21
        )
    except (CRSError, RasterioError):
        return None
    return (west, south, east, north) if np.isfinite([west, south, east, north]).all() else None


def overlap(one: Bounds | None, other: Bounds) -> bool:
    """Whether two boxes in one CRS share an area."""
    return one is not None and one[0] < other[2] and one[2] > other[0] and one[1] < other[3] and one[3] > other[1]


def _source(path: Path) -> str:
    """What GDAL opens of a path."""
    try:
        return source_of(path)
    except SceneError as error:
        raise LandCoverError(str(error)) from None


def _fields(source: str, layer: str) -> list[str]:
    import pyogrio

    return [str(name) for name in pyogrio.read_info(source, layer=layer)["fields"]]


def _column(held: Sequence[str], wanted: Sequence[str]) -> str | None:
    exact = [name for name in wanted if name in held]
    folded = [name for want in wanted for name in held if name.casefold() == want.casefold()]
    return next(iter(exact + folded), None)


def _valid(file: PolygonFile, shapes_N: Objects, fids_N: npt.NDArray[Any]) -> tuple[Objects, int]:
    """Valid shapes, and how many had to be repaired."""
    import shapely

    broken = ~shapely.is_valid(shapes_N)
    if broken.any():
        shapes_N = shapes_N.copy()
        shapes_N[broken] = shapely.make_valid(shapes_N[broken])
    kinds_N = shapely.get_type_id(shapes_N)
    usable = np.isin(kinds_N, (_POLYGON, _MULTI, _COLLECTION)) & (shapely.area(shapes_N) > 0)
    if not usable.all():
        first = int(np.argmin(usable))
        raise LandCoverError(
            f"{file.path}: the geometry of feature {fids_N[first]} in layer {file.layer} is no polygon with an area, "
            "and cannot be repaired to one; remove it"
        )
    return shapes_N, int(broken.sum())


def _reprojected(file: PolygonFile, shapes_N: Objects, epsg: int) -> Objects:
    import shapely

    if same_crs(file.crs, epsg) or not len(shapes_N):
        return shapes_N
    reprojected_N: Objects = moved(shapes_N, file.crs, f"EPSG:{epsg}")
    if not np.isfinite(shapely.bounds(reprojected_N)).all():
        raise LandCoverError(f"{file.path}: polygons cannot be brought into EPSG:{epsg}; is its CRS the right one?")
    return reprojected_N
