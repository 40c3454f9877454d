"""The polygons of a class map as a GeoPackage, with what is known of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import rasterio

from seg.maps.vrt import Looks, read_raster, union, vrt_document
from seg.reben.classes import CLASSES, hexadecimal
from seg.reben.patch import GeoRef
from seg.styles.qgis import polygon_style
from seg.styles.sld import polygon_sld
from seg.vectors.geopackage import GEOMETRY, Style, write_geopackage
from seg.vectors.polygons import LandCover, land_cover

_CLASS = "class"
_SCHEMA = pa.schema(
    {
        _CLASS: pa.int32(),
        "name": pa.string(),
        "clc_codes": pa.string(),
        "color": pa.string(),
        "hectares": pa.float64(),
        "confidence": pa.float64(),
        "scene": pa.string(),
        GEOMETRY: pa.binary(),
    }
)
_CODES = tuple(", ".join(map(str, one.codes)) for one in CLASSES)
_COLORS = tuple(hexadecimal(one.color) for one in CLASSES)


def write_land_cover(
    path: Path,
    classes: Sequence[Path],
    confidence: Sequence[Path],
    simplify: float,
    scene: str,
    tags: Mapping[str, str],
) -> None:
    """Write the polygons of a class map that is there in parts.

    Columns: ``class`` (0 to 18), ``name``, ``clc_codes`` (those of CORINE that belong to the class), ``color``
    (``#rrggbb``), ``hectares`` (its pixels on the ground, see `seg.reben.ground`; summed by class they are what is
    counted in the map), ``confidence`` (mean over its pixels: how probable the class that the network finds the most
    probable there is, 0 to 1) and ``scene``.

    Args:
        path: The GeoPackage; a file of that name is replaced.
        classes, confidence: Rasters on one grid. Of the confidence the first band is taken.
        simplify: As of `seg.vectors.polygons.land_cover`.
        scene: What the map is of.
        tags: Metadata of the layer.

    Raises:
        OSError: If a file cannot be read or written.
    """
    rasters = [read_raster(part) for part in classes]
    grid = union(rasters)
    epsg = grid.crs.to_epsg()
    assert epsg, "scenes and patches have a CRS with a code"
    place = GeoRef(epsg, grid.x_min, grid.y_max, grid.pixel_size, grid.width, grid.height)
    others = [read_raster(part) for part in confidence]
    with (
        rasterio.open(vrt_document(grid, rasters, Looks())) as values,
        rasterio.open(vrt_document(union(others), others, Looks())) as confidences,
    ):
        batches = _batches(land_cover(values, confidences, place, simplify), scene)
        style = Style("land cover", polygon_style(_CLASS), polygon_sld(_CLASS))
        write_geopackage(path, batches, _SCHEMA, f"EPSG:{epsg}", tags, style)


def _batches(found: Iterable[LandCover], scene: str) -> Iterator[pa.RecordBatch]:
    names = pa.array([one.name for one in CLASSES])
    codes, colors = pa.array(_CODES), pa.array(_COLORS)
    for some in found:
        class_N = pa.array(some.class_N.astype(np.int32))
        columns = [
            class_N,
            *(values.take(class_N) for values in (names, codes, colors)),
            pa.array(some.hectares_N),
            pa.array(some.confidence_N),
            pa.repeat(scene, len(class_N)),
            some.polygons_N,
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
