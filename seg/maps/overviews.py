"""Overviews of a raster of many bands, each half as wide and high as the one before, made band by band.

GDAL makes them too, but with all bands at once and a mask for each of them: ten times slower for the 19 bands of
probabilities, and most of what such a map took to write. The resampling is GDAL's all the same, so the values are too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import rasterio
import xxhash
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.windows import Window

from seg.reben.classes import IGNORE_INDEX
from seg.store.atomic import write_bytes

Bytes = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.uint64]

MOST_THREADS = 4
_MOST_BYTES = 1 << 30
"""What bands may hold that are worked on at a time, each of them twice: 240 MB of a whole tile. One always may."""
_SOMEWHERE = Affine.scale(2)
"""Rasterio warns of rasters that lie nowhere."""


def windows_of(height: int, width: int, edge: int) -> Iterator[Window]:
    """Tiles of a raster, row by row; the last ones may be smaller."""
    for top in range(0, height, edge):
        for left in range(0, width, edge):
            yield Window(left, top, min(edge, width - left), min(edge, height - top))


def threads() -> int:
    """Bands or tiles that are worked on at a time."""
    return min(MOST_THREADS, os.cpu_count() or 1)


def overview_shapes(height: int, width: int, edge: int) -> list[tuple[int, int]]:
    """Heights and widths of the overviews of a raster, until one fits into a tile of so many pixels an edge."""
    shapes = []
    while max(height, width) > edge:
        height, width = max(1, height // 2), max(1, width // 2)
        shapes.append((height, width))
    return shapes


def write_overviews(source: Path, folder: Path, resampling: Resampling, edge: int) -> tuple[list[list[Path]], Sums]:
    """Write the overviews of each band of a raster.

    Args:
        source: A uint8 raster with the nodata value 255.
        folder: Where they go, each into a file of its own.
        resampling: What becomes of four pixels; those without data take no part.
        edge: Of the tiles of what the overviews are for: the last one fits into one.

    Returns:
        The files of each band, the finest first, and of each band and tile the checksum of its values, uint64
        (band, tile) in the order of `windows_of`.

    Raises:
        OSError: If the raster cannot be read, or the disk does not take a file.
    """
    with rasterio.open(source) as dataset:
        bands, held = dataset.count, 2 * dataset.width * dataset.height

    def of_band(band: int) -> tuple[list[Path], list[int]]:
        with rasterio.open(source) as dataset:
            values_HW: Bytes = dataset.read(band)
        height, width = values_HW.shape
        windows = windows_of(height, width, edge)
        sums = [checksum(values_HW[window.toslices()]) for window in windows]
        files = []
        for level, shape in enumerate(overview_shapes(height, width, edge)):
            values_HW = _resampled(values_HW, shape, resampling)
            files.append(folder / f"band{band}-overview{level}.tif")
            write_bytes(files[-1], _packed(values_HW))
        return files, sums

    with ThreadPoolExecutor(max(1, min(threads(), _MOST_BYTES // held)), "overviews") as pool:
        files, sums = zip(*pool.map(of_band, range(1, bands + 1)), strict=True)
    return list(files), np.array(sums, np.uint64)


def with_overviews(document: str, files: Sequence[Sequence[Path]]) -> str:
    """A virtual raster that has overviews.

    Args:
        document: The virtual raster.
        files: From `write_overviews`.
    """
    root = ET.fromstring(document)
    for band, overviews in zip(root.iter("VRTRasterBand"), files, strict=True):
        for file in overviews:
            element = ET.SubElement(band, "Overview")
            ET.SubElement(element, "SourceFilename", relativeToVRT="0").text = file.resolve().as_posix()
            ET.SubElement(element, "SourceBand").text = "1"
    return ET.tostring(root, encoding="unicode")


def checksum(values_HW: Bytes) -> int:
    """Of the values of a tile."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(values_HW).data)


def _resampled(values_HW: Bytes, shape: tuple[int, int], resampling: Resampling) -> Bytes:
    with MemoryFile() as memory:
        with memory.open(**_profile(values_HW)) as dataset:
            dataset.write(values_HW, 1)
        with memory.open() as dataset:
            resampled_HW: Bytes = dataset.read(1, out_shape=shape, resampling=resampling)
    return resampled_HW


def _packed(values_HW: Bytes) -> bytes:
    """As a GeoTIFF, packed quickly: it is read once. In memory, because GDAL hides that a disk is full."""
    with MemoryFile() as memory:
        with memory.open(**_profile(values_HW), compress="deflate", zlevel=1) as dataset:
            dataset.write(values_HW, 1)
        content: bytes = memory.read()
    return content


def _profile(values_HW: Bytes) -> dict[str, object]:
    height, width = values_HW.shape
    size = {"height": height, "width": width, "count": 1, "blockysize": min(height, 64)}
    return {"driver": "GTiff", "dtype": "uint8", "nodata": IGNORE_INDEX, "transform": _SOMEWHERE, **size}
