"""Footprints of patches with what a model says of them, as GeoParquet or GeoPackage."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from seg.reben.patch import PatchId
from seg.store.atomic import staged_file
from seg.vectors.geopackage import GEOMETRY, write_geopackage

CRS84 = "OGC:CRS84"
"""Longitude, latitude on WGS 84, the default of GeoParquet."""
VectorFormat = Literal["parquet", "gpkg"]
VECTOR_ENDINGS: Mapping[VectorFormat, str] = MappingProxyType({"parquet": ".parquet", "gpkg": ".gpkg"})
"""Formats of footprints and cells, and how the names of their files end."""
_HALF = 180
"""Degrees of longitude to the antimeridian."""


def write_footprints(path: Path, table: pa.Table, tags: Mapping[str, str]) -> None:
    """Write the polygons of patches. The file appears complete or not at all.

    Args:
        path: The GeoParquet, or ending in ``.gpkg`` the GeoPackage; a file of that name is replaced.
        table: A row per patch with ``patch_id``; its other columns are taken over as they are.
        tags: Metadata of the file, such as the model; readers of the parquet find them beside the key ``geo``.

    Raises:
        UnknownNameError: If a patch id is none.
        OSError: If the file cannot be written.
    """
    write_polygons(path, table, footprints([PatchId.parse(name) for name in table["patch_id"].to_pylist()]), tags)


def write_polygons(path: Path, table: pa.Table, polygons: Any, tags: Mapping[str, str]) -> None:
    """Write polygons in `CRS84` with a row of a table for each, like `write_footprints` and with the same errors."""
    import geopandas
    import shapely

    several = bool((shapely.get_num_geometries(polygons) > 1).any())
    if path.suffix == VECTOR_ENDINGS["gpkg"]:
        # A layer holds one kind.
        alike = [shapely.multipolygons(shapely.get_parts(one)) for one in polygons] if several else polygons
        table = table.append_column(GEOMETRY, pa.array(shapely.to_wkb(alike), pa.binary()))
        write_geopackage(path, table.to_batches(), table.schema, CRS84, tags, several=several)
        return
    with staged_file(path) as staged:
        geometry = geopandas.GeoSeries(polygons)
        geopandas.GeoDataFrame({"row": np.arange(len(table))}, geometry=geometry, crs=CRS84).to_parquet(
            staged, index=False, write_covering_bbox=True
        )
        # geopandas writes the geometry and its metadata; the columns keep the types of Arrow.
        located = pq.read_table(staged)
        for name in located.column_names:
            if name != "row":
                table = table.append_column(located.schema.field(name), located[name])
        metadata = {key: value for key, value in (located.schema.metadata or {}).items() if key != b"pandas"}
        pq.write_table(
            table.replace_schema_metadata(metadata | {k.encode(): v.encode() for k, v in tags.items()}), staged
        )


def footprints(patches: list[PatchId]) -> Any:
    """Polygons of patches in `CRS84`, as an object array of shapely; the corners are transformed from UTM.

    An edge of a patch is 1.2 km long: the straight line between its corners misses the true one by centimetres.
    """
    georefs = [patch.georef for patch in patches]
    zones = np.array([georef.epsg for georef in georefs], dtype=int)
    bounds_N4 = np.array([georef.bounds for georef in georefs], dtype=float).reshape(-1, 4)
    polygons = np.empty(len(patches), dtype=object)
    for epsg in np.unique(zones).tolist():
        rows = np.flatnonzero(zones == epsg)
        polygons[rows] = in_degrees(bounds_N4[rows], epsg)
    return polygons


def in_degrees(bounds_N4: npt.NDArray[np.float64], epsg: int) -> Any:
    """Boxes of a CRS as polygons in `CRS84`, an object array of shapely; at 180 degrees they are cut in two.

    Args:
        bounds_N4: West, south, east, north.
        epsg: Code of the CRS.
    """
    import geopandas
    import shapely

    polygons = geopandas.GeoSeries(shapely.box(*bounds_N4.T), crs=epsg).to_crs(CRS84).to_numpy()
    west_N, _, east_N, _ = shapely.bounds(polygons).T
    for row in np.flatnonzero(east_N - west_N > _HALF).tolist():
        whole = shapely.transform(polygons[row], lambda places_V2: places_V2 + (places_V2 < 0) * (2 * _HALF, 0))
        east, west = (
            shapely.intersection(whole, shapely.box(_HALF * side, -90, _HALF * (side + 1), 90)) for side in (0, 1)
        )
        polygons[row] = shapely.union_all([east, shapely.transform(west, lambda places_V2: places_V2 - (2 * _HALF, 0))])
    return polygons
