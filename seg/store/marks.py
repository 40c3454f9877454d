"""Files that say of themselves that seg has written them, for folders without a record."""

import json
from pathlib import Path

_HEAD = 1 << 16


def is_marked(path: Path) -> bool:
    """Whether a file carries a mark that seg gives to what it writes.

    GeoTIFFs and virtual rasters have the tag ``SEG_VERSION``, parquets the same key or that of evidence, records the
    version of seg, pages their generator. Pictures, CSV, Markdown and LaTeX have no mark.

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
    ".parquet": _in_parquet,
    ".json": _in_record,
    ".html": _in_page,
}
