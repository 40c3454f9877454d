"""Files that say of themselves that seg has written them, for folders without a record."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

_HEAD = 1 << 16


def is_marked(path: Path) -> bool:
    """Whether a file carries a mark that seg gives to what it writes.

    GeoTIFFs, virtual rasters and GeoPackages have the tag ``SEG_VERSION``, parquets the same key or that of evidence,
    records the version of seg, pages their generator. Pictures, CSV, Markdown and LaTeX have no mark.

    Args:
        path: A file.
    """
    find = _FINDERS.get(path.suffix.lower())
    return find is not None and find(path)


def _in_raster(path: Path) -> bool:
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as dataset:
            return "SEG_VERSION" in dataset.tags()
    except RasterioError:
        return False


def _in_parquet(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (pa.ArrowException, OSError):
        return False
    return bool({b"SEG_VERSION", b"seg.evidence"} & metadata.keys())


def _in_geopackage(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT 1 FROM gpkg_metadata WHERE metadata LIKE '%\"SEG_VERSION\"%'")
            return found.fetchone() is not None
    except sqlite3.DatabaseError:
        return False


def _in_record(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    versions = document.get("versions") if isinstance(document, dict) else None
    return isinstance(versions, dict) and "seg" in versions


def _in_page(path: Path) -> bool:
    with path.open("rb") as file:
        return b'<meta name="generator" content="seg">' in file.read(_HEAD)


_FINDERS = {
    ".tif": _in_raster,
    ".tiff": _in_raster,
    ".vrt": _in_raster,
    ".gpkg": _in_geopackage,
    ".parquet": _in_parquet,
    ".json": _in_record,
    ".html": _in_page,
}
