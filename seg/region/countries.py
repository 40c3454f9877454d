"""Countries of patches by the polygon that their centres lie in."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.reben.patch import GeoRef
from seg.region.polygons import PolygonFile, names_of, open_polygons, polygons_on
from seg.region.reprojection import Objects

UNKNOWN = "unknown"
"""The country of a patch whose centre lies in no polygon, or where there are none."""
COLUMNS = ("country", "name", "NAME_ENGL", "ADMIN")
"""What their names are usually called."""


def open_countries(path: Path, column: str | None = None) -> PolygonFile:
    """Look at a file of countries.

    Args:
        path: Vector file.
        column: Where it has their names; None: the first of the usual ones that it has.

    Raises:
        LandCoverError: If it cannot be used.
    """
    return open_polygons(path, (column,) if column else COLUMNS, "--country-column")


def countries_at(file: PolygonFile | None, grid: GeoRef, x_N: npt.NDArray[Any], y_N: npt.NDArray[Any]) -> Objects:
    """Countries of places on a grid.

    Args:
        file: The polygons; None: every place is `UNKNOWN`.
        grid: A tile.
        x_N, y_N: Easting and northing in its CRS.

    Returns:
        A name for each place; where polygons overlap, that of the last one in the file.
    """
    import shapely

    names_N = np.full(len(x_N), UNKNOWN, object)
    if file is not None:
        polygons = polygons_on(file, grid)
        point_M, shape_M = shapely.STRtree(polygons.shapes_N).query(shapely.points(x_N, y_N), predicate="intersects")
        order = np.argsort(shape_M, kind="stable")
        named_N = np.array([name or UNKNOWN for name in names_of(file, polygons.values_N)], object)
        names_N[point_M[order]] = named_N[shape_M[order]]
    return names_N
