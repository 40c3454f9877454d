"""GeoPackages: polygons of any number, written as they come, with the styles that QGIS and GeoServer show them in."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from seg.store.atomic import staged_file

GEOMETRY = "geom"
_NO_LAYER = re.compile(r"[^\w\s]|gpkg|sqlite_", re.IGNORECASE)
"""How names of layers may not begin: GDAL refuses most signs, the format and its data base keep the words."""
_STYLES = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
"""
"""Source: the table that QGIS makes when a style is saved in a database."""


@dataclass(frozen=True)
class Style:
    """A style that comes with a layer.

    Attributes:
        name: Its name.
        qml: For QGIS.
        sld: For GeoServer and others.
    """

    name: str
    qml: str
    sld: str


def layer_of(path: Path) -> str:
    """Name of the layer of a GeoPackage: that of the file, behind an underscore if no layer may begin like that."""
    return f"_{path.stem}" if _NO_LAYER.match(path.stem) else path.stem


def write_geopackage(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    crs: str,
    tags: Mapping[str, str],
    style: Style | None = None,
    *,
    several: bool = False,
) -> None:
    """Write polygons as the only layer, named as the file, see `layer_of`. The file appears complete or not at all.

    Args:
        path: The GeoPackage; a file of that name is replaced.
        batches: Rows, taken one batch at a time. `GEOMETRY` is the polygons as WKB.
        schema: Of the rows. Lists of texts become texts with semicolons between: GeoPackages have no lists.
        crs: Of the polygons, such as ``EPSG:32633``.
        tags: Metadata of the layer.
        style: What QGIS shows it in by itself.
        several: Whether they are multipolygons.

    Raises:
        OSError: If the file cannot be written.
    """
    import pyogrio

    failed: list[BaseException] = []
    rows = _without_lists(_remembering(batches, failed), schema)
    flat = pa.schema([(field.name, pa.string() if _is_list(field.type) else field.type) for field in schema])
    with staged_file(path) as staged:
        try:
            pyogrio.raw.write_arrow(
                pa.RecordBatchReader.from_batches(flat, rows),
                staged,
                layer=layer_of(path),
                driver="GPKG",
                geometry_name=GEOMETRY,
                geometry_type="MultiPolygon" if several else "Polygon",
                crs=crs,
                layer_metadata=dict(tags),
                # GDAL up to 3.6 warns of later versions.
                dataset_options={"VERSION": "1.2"},
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, RuntimeError) as error:
            # Of what has gone wrong with a batch, GDAL says that something has.
            raise failed[0] if failed else OSError(" ".join(str(error).split())) from error
        if style:
            _add_style(staged, layer_of(path), style)


def _remembering(batches: Iterable[pa.RecordBatch], failed: list[BaseException]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except BaseException as error:
        failed.append(error)
        raise


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind))


def _without_lists(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = [
            pa.array([None if one is None else "; ".join(one) for one in column.to_pylist()], pa.string())
            if _is_list(column.type)
            else column
            for column in batch.columns
        ]
        yield pa.RecordBatch.from_arrays(columns, names=schema.names)


def _add_style(path: Path, layer: str, style: Style) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_STYLES)
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES (?, 'attributes', ?)",
            ("layer_styles", "layer_styles"),
        )
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, ?, ?, ?, 1, ?, '')",
            (layer, GEOMETRY, style.name, style.qml, style.sld, style.name),
        )
