"""Writing patches as the published reBEN does: folders, file names and GeoTIFFs.

An uncompressed GeoTIFF of a patch differs from the next one of the same band only in its pixels and in the eight-byte
easting and northing of its corner. GDAL therefore writes one file per kind and UTM zone, and the others are copies with
these bytes replaced: identical to what GDAL would write, and twenty times faster.
"""

import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from seg.prepare.sources import METADATA_FILES
from seg.reben.bands import BANDS, Band
from seg.reben.patch import GeoRef, PatchId, s1_scene

# A corner that occurs nowhere else in a file, to find the bytes that hold it.
_MARK = (123457.0, 7654321.0)


def write_patch(
    root: Path,
    patch: PatchId,
    s1_name: str,
    bands: dict[str, npt.NDArray[Any]],
    codes: npt.NDArray[np.uint16],
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write one patch into the published tree.

    Args:
        root: Folder that holds ``BigEarthNet-S2``, ``BigEarthNet-S1`` and ``Reference_Maps``.
        patch: Decides names and georeference.
        s1_name: Name of the Sentinel-1 patch; empty if there is none.
        bands: Band name to (size, size) array in the band's size and dtype.
        codes: CLC level-3 codes, uint16 (120, 120).
        tags: Metadata of the reference map; none as published.
    """
    name, corner = str(patch), patch.georef
    folders = {
        "s2": root / "BigEarthNet-S2" / patch.product / name,
        "map": root / "Reference_Maps" / patch.product / name,
    }
    if s1_name:
        folders["s1"] = root / "BigEarthNet-S1" / s1_scene(s1_name) / s1_name
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for band_name, pixels in bands.items():
        sensor = BANDS[band_name].sensor
        file = f"{name if sensor == 's2' else s1_name}_{band_name}.tif"
        (folders[sensor] / file).write_bytes(encode_band(BANDS[band_name], pixels, corner))
    (folders["map"] / f"{name}_reference_map.tif").write_bytes(encode_map(codes, corner, tags))


def write_metadata(root: Path, table: pa.Table, notes: Mapping[bytes, str]) -> None:
    """Write both metadata parquets, of clear patches and of those under snow, cloud or shadow.

    Args:
        root: Folder to write them into.
        table: The official columns of all patches.
        notes: What is kept with the columns; it stays when trees become archives.
    """
    flagged = pc.or_(table["contains_seasonal_snow"], table["contains_cloud_or_shadow"])
    table = table.replace_schema_metadata(notes)
    for name, rows in zip(METADATA_FILES, (pc.invert(flagged), flagged), strict=True):
        pq.write_table(table.filter(rows), root / name, compression="zstd")


def encode_band(band: Band, pixels: npt.NDArray[Any], corner: GeoRef) -> bytes:
    """GeoTIFF of one band.

    Args:
        band: Decides size, dtype and nodata.
        pixels: (size, size) in the band's dtype.
        corner: Georeference of the patch's 10 m grid; the upper-left corner is the same at every pixel size.

    Returns:
        The file, byte for byte as GDAL writes it.
    """
    assert pixels.shape == (band.size, band.size), (band.name, pixels.shape)
    assert pixels.dtype == band.dtype, (band.name, pixels.dtype)
    head, place, begin = _template(band.dtype, band.size, band.pixel_size, corner.epsg)
    out = bytearray(head)
    struct.pack_into("<2d", out, place, corner.x_min, corner.y_max)
    out[begin:] = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    return bytes(out)


def encode_map(codes: npt.NDArray[np.uint16], corner: GeoRef, tags: Mapping[str, str] | None = None) -> bytes:
    """GeoTIFF of a reference map: deflate with predictor 2, nodata 0, as published.

    Args:
        codes: CLC level-3 codes, uint16 (120, 120).
        corner: Georeference of the patch.
        tags: Metadata; none as published.
    """
    return _gdal(codes, corner.epsg, Affine(*corner.transform), tags, compress="deflate", predictor=2)


@cache
def _template(dtype: str, size: int, pixel_size: int, epsg: int) -> tuple[bytes, int, int]:
    """A file without pixels, the offset of the corner's coordinates, and the offset of the pixels."""
    # A raster of one value that no header holds shows where the pixels begin.
    pixels = np.full((size, size), 0x5A5A, dtype=np.uint16).astype(dtype)
    file = _gdal(pixels, epsg, Affine(pixel_size, 0, _MARK[0], 0, -pixel_size, _MARK[1]))
    place, begin = file.find(struct.pack("<2d", *_MARK)), file.find(pixels.tobytes())
    assert min(place, begin) > 0, "GDAL's layout of GeoTIFFs has changed"
    assert begin + pixels.nbytes == len(file), "GDAL's layout of GeoTIFFs has changed"
    return file, place, begin


def _gdal(
    pixels: npt.NDArray[Any], epsg: int, transform: Affine, tags: Mapping[str, str] | None = None, **options: Any
) -> bytes:
    height, width = pixels.shape
    nodata = 0 if pixels.dtype == np.uint16 else None
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=height, width=width, count=1, dtype=pixels.dtype, crs=_crs(epsg),
            transform=transform, nodata=nodata, **options,
        ) as raster:  # fmt: skip
            raster.write(pixels, 1)
            if tags:
                raster.update_tags(**tags)
        return bytes(memory.read())


@cache
def _crs(epsg: int) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_epsg(epsg)
