"""Areas of classes within zones: countries, or polygons of any vector file."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.features import geometry_mask
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from seg.areas.class_map import ClassMap, map_rows
from seg.areas.table import zone_table
from seg.config.paths import AnyPath
from seg.config.synthetic import Synthetic
from seg.config.track import Notify
from seg.errors import MapError, WrongUseError
from seg.metrics.evidence import Evidence
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.reben.ground import Floats, blocks, hectares_of
from seg.reben.patch import GeoRef
from seg.region.countries import COLUMNS
from seg.region.polygons import (
    PolygonFile,
    name_counts,
    names_of,
    open_polygons,
    polygons_on,
)
from seg.region.reprojection import Objects, whole_hectares
from seg.report.formats import Table

_COLUMNS = (*COLUMNS, "zone", "NUTS_ID", "id")
_NAMED = 5
_SQUARE_METRES = 10_000
_ROUNDED_OFF = 1e-6
"""Share of a zone by which a change of its CRS may move its border."""


@dataclass(frozen=True, eq=False)
class Zones:
    """Zones on the grid of a map.

    Attributes:
        names: In the order of the file.
        shapes_Z: A valid shape for each, in the CRS of the map.
        remarks: What is to be said of them, in sentences.
        whole_ha: Hectares on the ground of each as a whole, mapped or not; NaN for zones that have polygons far from
            the map, too, which were not read.
    """

    names: tuple[str, ...]
    shapes_Z: Objects
    remarks: tuple[str, ...]
    whole_ha: Mapping[str, float]


def check_zones(zones: AnyPath | None, column: str | None) -> None:
    """Refuse a column of no file.

    Raises:
        WrongUseError: If there is none.
    """
    if column and not zones:
        raise WrongUseError("--zone-column names a column of a file of zones; give that with --zones")


def open_zones(path: Path, column: str | None = None) -> PolygonFile:
    """Look at a file of zones.

    Args:
        path: Vector file in any CRS.
        column: Where it has their names; None: the first of the usual ones that it has.

    Raises:
        LandCoverError: If it cannot be used.
    """
    return open_polygons(path, (column,) if column else _COLUMNS, "--zone-column")


def read_zones(file: PolygonFile, of: ClassMap) -> Zones:
    """The zones of a file that touch a map, in its CRS; polygons of one name are one zone.

    Raises:
        MapError: If there is none, or one has no name.
        LandCoverError: If the file cannot be used.
    """
    import shapely

    polygons = polygons_on(file, of.grid)
    area = shapely.box(*of.grid.bounds)
    touching_N = shapely.area(shapely.intersection(polygons.shapes_N, area)) > 0
    names_N = np.array(names_of(file, polygons.values_N), object)
    if nameless := names_N[touching_N].tolist().count(None):
        raise MapError(
            f"{nameless} polygons of {file.path} on {of.path} have no '{file.column}'; give them one, or name another "
            "column with --zone-column",
            wrong_use=True,
        )
    names = tuple(dict.fromkeys(names_N[touching_N].tolist()))
    if not names:
        west, south, east, north = transform_bounds(of.grid.epsg, 4326, *of.grid.bounds)
        raise MapError(
            f"no polygon of {file.path} lies on {of.path}, which spans {west:.4f},{south:.4f},{east:.4f},{north:.4f} "
            "(west,south,east,north in degrees); give zones there, and make sure of their CRS",
            wrong_use=True,
        )
    shapes_Z = np.array([shapely.union_all(polygons.shapes_N[names_N == name]) for name in names], object)
    names_F = np.array(names_of(file, polygons.features_F), object)
    everywhere, read = name_counts(file), Counter(names_F.tolist())
    parted = frozenset(name for name in names if everywhere[name] > read[name])
    whole_ha = {
        name: math.nan
        if name in parted
        else whole_hectares(shapely.union_all(polygons.own_F[names_F == name]), file.crs)
        for name in names
    }
    remarks = [*_outside(everywhere, names), *_repaired(polygons.repaired), *_overlaps(names, shapes_Z)]
    reaching = zip(names, shapes_Z, strict=True)
    partly = [
        name
        for name, shape in reaching
        if name in parted or shapely.area(shape - area) > _ROUNDED_OFF * shapely.area(shape)
    ]
    if partly:
        remarks.append(f"Zones reach beyond the map and are counted as far as it goes: {_listed(partly)}.")
    return Zones(names, shapes_Z, tuple(remarks), whole_ha)


def areas_by_zone(
    of: ClassMap, file: PolygonFile, evidence: Evidence | None, synthetic: Synthetic, notify: Notify
) -> Table:
    """Areas of the classes of a map within each zone of a file.

    Args:
        of: The map.
        file: The zones.
        evidence: What areas are adjusted by, see `seg.areas.table.zone_table`.
        synthetic: What of model and assessment comes from synthetic data.
        notify: Is told what is to be said of the zones.

    Raises:
        MapError, LandCoverError: As of `read_zones`.
        OSError: If the map cannot be read.
    """
    found = read_zones(file, of)
    for remark in found.remarks:
        notify(remark)
    return zone_table(zone_hectares(of, found), evidence, of.name, synthetic, found.remarks, found.whole_ha)


def zone_hectares(of: ClassMap, zones: Zones) -> dict[str, Floats]:
    """Hectares of each class in each zone; a pixel belongs to the zones that its centre lies in.

    Raises:
        MapError, OSError: As of `map_rows`.
    """
    import shapely

    tree = shapely.STRtree(zones.shapes_Z)
    shapely.prepare(zones.shapes_Z)
    hectares_ZK = np.zeros((len(zones.names), NUM_CLASSES))
    for _, values_HW, grid in map_rows(of):
        for rows, columns in blocks(*values_HW.shape):
            block_HW = values_HW[rows, columns]
            place = _block(grid, rows, columns)
            box = shapely.box(*place.bounds)
            for zone in tree.query(box, predicate="intersects").tolist():
                shape = zones.shapes_Z[zone]
                inside_HW = block_HW
                if not shape.contains(box):
                    outside_HW = geometry_mask([shape], block_HW.shape, Affine(*place.transform))
                    inside_HW = np.where(outside_HW, np.uint8(IGNORE_INDEX), block_HW)
                hectares_ZK[zone] += hectares_of(inside_HW, place)[1][:NUM_CLASSES]
    return dict(zip(zones.names, hectares_ZK, strict=True))


def _block(grid: GeoRef, rows: slice, columns: slice) -> GeoRef:
    size = grid.pixel_size
    west, north = grid.x_min + columns.start * size, grid.y_max - rows.start * size
    return GeoRef(grid.epsg, west, north, size, columns.stop - columns.start, rows.stop - rows.start)


def _outside(everywhere: Mapping[str, int], inside: Sequence[str]) -> Iterator[str]:
    if outside := sorted(set(everywhere) - set(inside)):
        yield f"Zones that do not lie on the map are left out: {_listed(outside)}."


def _repaired(repaired: int) -> Iterator[str]:
    if repaired:
        yield f"{repaired} polygons of the zones were not valid and have been repaired."


def _overlaps(names: Sequence[str], shapes_Z: Objects) -> Iterator[str]:
    import shapely

    one_P, other_P = shapely.STRtree(shapes_Z).query(shapes_Z, predicate="intersects")
    pairs = [(i, j) for i, j in zip(one_P.tolist(), other_P.tolist(), strict=True) if i < j]
    shared = {pair: _shared(shapes_Z[pair[0]], shapes_Z[pair[1]]) for pair in pairs}
    overlapping = [f"{names[i]} and {names[j]} ({area:,.2f} ha)" for (i, j), area in shared.items() if area >= 0.01]
    if overlapping:
        yield f"Zones overlap, and what they share is counted in each of them: {_listed(overlapping)}."


def _shared(one: Any, other: Any) -> float:
    return float(one.intersection(other).area) / _SQUARE_METRES


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return f"{', '.join(words[:_NAMED])}{more}"
