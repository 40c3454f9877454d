"""Cloud-Optimized GeoTIFF: maps of any size, in tiles and with overviews.

GDAL's COG driver copies from a virtual raster over the parts, block by block, so the memory does not grow with the map.
Predictors: class maps grow with one (measured on reference maps: by a fifth), continuous bands shrink by a fifth to a
third. Each overview is made from the one before, twice as fine: the most frequent class of four pixels, or their mean.
Nodata takes no part in either and remains where all four are nodata.
"""

import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from seg.errors import MapError
from seg.maps.palette import LAND_COVER, Palette
from seg.maps.vrt import Looks, Raster, read_raster, union, vrt_document
from seg.reben.classes import SHARE_SCALE
from seg.store.atomic import staged_file, write_text

Kind = Literal["classes", "continuous"]

BLOCK = 512
"""Edge of a tile in pixels."""
_LEVEL = 6
"""Of deflate. Level 9 saves a tenth of a class map for five times the time."""
_NO_TAGS: Mapping[str, str] = MappingProxyType({})
_SAMPLES, _SAMPLE_ROWS = 24, 64
"""Tiles, and rows of each, that are compressed to guess the size of a file."""
_GDAL = {"GDAL_CACHEMAX": 512, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
"""Megabytes of cache; parts have no companions that are worth a look into their folder, and get none."""


def write_cog(
    path: Path,
    parts: Sequence[Path],
    *,
    kind: Kind,
    tags: Mapping[str, str] = _NO_TAGS,
    descriptions: Sequence[str] = (),
    palette: Palette = LAND_COVER,
    scale: float | None = 1 / SHARE_SCALE,
) -> None:
    """Write one Cloud-Optimized GeoTIFF out of parts. The file appears complete or not at all.

    512 x 512 tiles, deflate, overviews until one fits into a tile, nodata 255. The map spans all parts; what none
    covers is nodata.

    Args:
        path: The GeoTIFF; a file of that name is replaced, and a sidecar ``.aux.xml`` of the replaced file removed.
        parts: uint8 GeoTIFFs with equally many bands on one grid, 255 where they have nothing to say. Where they lie
            on each other, the later one counts.
        kind: ``classes``: one band, with the colour table and names of `palette`, overviews by mode. ``continuous``:
            overviews by average of what is not nodata.
        tags: Metadata of the whole file.
        descriptions: Names of the bands; those of the first part if empty.
        palette: Names and colours of the classes.
        scale: What stored values of continuous bands are multiplied with; None: nothing.

    Raises:
        MapError: If the parts do not fit together.
        OSError: If a part cannot be read, or the disk has no room or does not take the file.
    """
    with rasterio.Env(**_GDAL):
        rasters = [read_raster(part) for part in parts]
        spanned = _named(union(rasters), descriptions)
        classes = kind == "classes"
        looks = Looks(tags, palette if classes else None, None if classes else scale)
        document = vrt_document(spanned, rasters, looks)
        with staged_file(path) as staged:
            source = staged.with_suffix(".vrt")
            write_text(source, document)
            try:
                with rasterio.open(source) as dataset:
                    _require_space(path, dataset, kind)
                    rasterio.shutil.copy(dataset, staged, **_options(kind))
                    _require_equal(dataset, staged)
            except (RasterioError, CPLE_BaseError, SystemError) as error:
                # GDAL tells what a full disk has led to, such as a seek that failed, or nothing at all (SystemError).
                silent = isinstance(error, SystemError)
                raise OSError("GDAL gives no reason" if silent else " ".join(str(error).split())) from error
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)


def read_overview(path: Path, longest: int) -> tuple[npt.NDArray[np.uint8], float]:
    """A map, thinned out by its overviews, for a picture.

    Args:
        path: A raster; its first band is read.
        longest: Pixels that the longer edge may have.

    Returns:
        Values, uint8, height x width, and the width of a pixel in units of the CRS.

    Raises:
        OSError: If the file is missing or no raster.
    """
    with rasterio.open(path) as dataset:
        steps = [1, *dataset.overviews(1)]
        fitting = [step for step in steps if max(dataset.shape) / step <= longest]
        step = min(fitting) if fitting else max(steps)
        nth = max(step, max(dataset.shape) / longest)
        shape = tuple(max(1, int(edge / nth)) for edge in dataset.shape)
        values_HW: npt.NDArray[np.uint8] = dataset.read(1, out_shape=shape)
        return values_HW, dataset.res[0] * dataset.width / shape[1]


def _named(whole: Raster, descriptions: Sequence[str]) -> Raster:
    if descriptions and len(descriptions) != len(whole.descriptions):
        raise MapError(f"{len(whole.descriptions)} bands have {len(descriptions)} names; give one for each")
    return replace(whole, descriptions=tuple(descriptions) or whole.descriptions)


def _options(kind: Kind) -> dict[str, Any]:
    return {
        "driver": "COG",
        "compress": "DEFLATE",
        "level": _LEVEL,
        "predictor": "NO" if kind == "classes" else "STANDARD",
        "blocksize": BLOCK,
        "overview_resampling": "MODE" if kind == "classes" else "AVERAGE",
        "bigtiff": "IF_SAFER",
        "num_threads": "ALL_CPUS",
    }


def _require_space(path: Path, source: DatasetReader, kind: Kind) -> None:
    """Refuse a map that certainly does not fit; what a sample cannot tell, the writing itself finds out."""
    windows = list(_windows(source))
    packed = raw = 0
    for window in windows[:: max(1, len(windows) // _SAMPLES)]:
        rows = Window(window.col_off, window.row_off, window.width, min(_SAMPLE_ROWS, window.height))
        values_KHW = source.read(window=rows)
        if kind == "continuous":
            values_KHW = np.diff(values_KHW, axis=2, prepend=np.uint8(0))
        raw += values_KHW.size
        packed += len(zlib.compress(np.moveaxis(values_KHW, 0, -1).tobytes(), _LEVEL))
    # Overviews add a third.
    expected = packed / raw * source.width * source.height * source.count * 4 / 3
    free = shutil.disk_usage(path.parent).free
    if free < expected / 2:
        raise OSError(f"it takes about {expected / 1e6:.0f} MB and {free / 1e6:.0f} MB are free")


def _require_equal(source: DatasetReader, written: Path) -> None:
    """The file holds what the parts hold and every overview can be decoded: closing may have failed without a word."""
    with rasterio.open(written) as dataset:
        levels = len(dataset.overviews(1))
        for window in _windows(source):
            if not np.array_equal(source.read(window=window), dataset.read(window=window)):
                raise OSError("the disk gives back other values than were written")
    for level in range(levels):
        with rasterio.open(written, overview_level=level) as dataset:
            for window in _windows(dataset):
                dataset.read(window=window)


def _windows(dataset: DatasetReader) -> Iterator[Window]:
    for top in range(0, dataset.height, BLOCK):
        for left in range(0, dataset.width, BLOCK):
            yield Window(left, top, min(BLOCK, dataset.width - left), min(BLOCK, dataset.height - top))
