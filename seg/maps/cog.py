"""Cloud-Optimized GeoTIFF: maps of any size, in tiles and with overviews.

GDAL's COG driver copies from a virtual raster over the parts, block by block; of rasters of many bands, some bands are
held while their overviews are made (`seg.maps.overviews`).
Predictors: class maps grow with one (measured on reference maps: by a fifth), continuous bands shrink by a fifth to a
third. Each overview is made from the one before, twice as fine: the most frequent class of four pixels, or their mean.
Nodata takes no part in either and remains where all four are nodata.
"""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from seg.errors import MapError
from seg.maps.overviews import Sums, checksum, threads, windows_of, with_overviews, write_overviews
from seg.maps.vrt import Looks, Raster, read_raster, union, vrt_document
from seg.reben.classes import SHARE_SCALE
from seg.store.atomic import staged_file, write_text
from seg.styles.palette import LAND_COVER, Palette

Kind = Literal["classes", "continuous"]

BLOCK = 512
"""Edge of a tile in pixels."""
_LEVEL: Mapping[Kind, int] = {"classes": 6, "continuous": 1}
"""Of deflate. Level 9 saves a tenth of a class map for five times the time. After their predictor, continuous bands are
as small with level 1 as with 6, within a tenth, in a third of the time."""
_RESAMPLING: Mapping[Kind, Resampling] = {"classes": Resampling.mode, "continuous": Resampling.average}
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
                files, sums_KT = write_overviews(source, staged.parent, _RESAMPLING[kind], BLOCK)
                write_text(source, with_overviews(document, files))
                with rasterio.open(source) as dataset:
                    rasterio.shutil.copy(dataset, staged, **_options(kind))
                _require_equal(sums_KT, staged)
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
        "level": _LEVEL[kind],
        "predictor": "NO" if kind == "classes" else "STANDARD",
        "blocksize": BLOCK,
        "bigtiff": "IF_SAFER",
        "num_threads": "ALL_CPUS",
    }


def _require_space(path: Path, source: DatasetReader, kind: Kind) -> None:
    """Refuse a map that certainly does not fit; what a sample cannot tell, the writing itself finds out."""
    windows = list(windows_of(source.height, source.width, BLOCK))
    packed = raw = 0
    for window in windows[:: max(1, len(windows) // _SAMPLES)]:
        rows = Window(window.col_off, window.row_off, window.width, min(_SAMPLE_ROWS, window.height))
        values_KHW = source.read(window=rows)
        if kind == "continuous":
            values_KHW = np.diff(values_KHW, axis=2, prepend=np.uint8(0))
        raw += values_KHW.size
        packed += len(zlib.compress(np.moveaxis(values_KHW, 0, -1).tobytes(), _LEVEL[kind]))
    # Overviews add a third.
    expected = packed / raw * source.width * source.height * source.count * 4 / 3
    free = shutil.disk_usage(path.parent).free
    if free < expected / 2:
        raise OSError(f"it takes about {expected / 1e6:.1f} MB and {free / 1e6:.1f} MB are free")


def _require_equal(sums_KT: Sums, written: Path) -> None:
    """The file holds what the parts hold and every overview can be decoded: closing may have failed without a word."""
    with rasterio.open(written) as dataset:
        windows, levels = list(windows_of(dataset.height, dataset.width, BLOCK)), len(dataset.overviews(1))

    def require_equal(first: int) -> None:
        with rasterio.open(written) as dataset:
            for number in range(first, len(windows), threads()):
                values_KHW = dataset.read(window=windows[number])
                if [checksum(values_HW) for values_HW in values_KHW] != sums_KT[:, number].tolist():
                    raise OSError("the disk gives back other values than were written")

    with ThreadPoolExecutor(threads(), "reading again") as pool:
        list(pool.map(require_equal, range(threads())))
    for level in range(levels):
        with rasterio.open(written, overview_level=level) as dataset:
            for window in windows_of(dataset.height, dataset.width, BLOCK):
                dataset.read(window=window)
