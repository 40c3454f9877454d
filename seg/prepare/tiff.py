"""Decoding the published GeoTIFFs.

GDAL takes 0.7 ms to open a file that holds 3 to 58 kB, and a patch has fifteen. The published files are of one simple
form, so their strips are found with a few struct reads, a hundred times faster. Whatever is not exactly of that form
goes through rasterio, which decides whether it is readable. Nothing is read from beyond the end of the bytes, and
every strip must have the size that the header implies.

Source of the tags: TIFF 6.0, sections 2 (image file directory) and 14 (horizontal differencing); Adobe's TIFF
Technical Note 3 (deflate).
"""

import struct
import warnings
import zlib

import numpy as np

from seg.errors import ArchiveError
from seg.prepare.layout import MAP_LAYER
from seg.reben.bands import BANDS, PATCH_SIZE
from seg.store.tensors import Array

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES = 273, 277, 278, 279
_PLANAR, _PREDICTOR, _SAMPLE_FORMAT = 284, 317, 339
_SHORT, _LONG = 3, 4
_SIZES = {_SHORT: "H", _LONG: "I"}
_NO_COMPRESSION, _DEFLATE = 1, 8
_NO_PREDICTOR, _DIFFERENCING = 1, 2
_IGNORED = frozenset({305, 306, 33550, 33922, 34735, 34736, 34737, 42112, 42113})
"""Tags without influence on the values: software, date, georeference, GDAL's metadata and nodata."""

_FORMATS = {"uint16": (1, 16, "<u2"), "float32": (3, 32, "<f4")}


def decode_tiff(content: bytes, layer: str, source: str) -> Array:
    """The values of a published GeoTIFF, exactly as stored.

    Args:
        content: The file.
        layer: A band or ``reference_map``; decides which size and dtype the file must have.
        source: Where the file comes from; named in errors.

    Returns:
        (row, column) in the dtype of the band, uint16 for a map; may be a view of `content`.

    Raises:
        ArchiveError: If the file is damaged or has another shape or dtype than published.
    """
    assert layer in BANDS or layer == MAP_LAYER, layer
    band = BANDS.get(layer)
    size, dtype = (band.size, band.dtype) if band else (PATCH_SIZE, "uint16")
    try:
        array = _decode_strips(content, size, dtype)
    except (struct.error, zlib.error, IndexError):
        array = None
    return _decode_any(content, size, dtype, source) if array is None else array


def _decode_strips(content: bytes, size: int, dtype: str) -> Array | None:
    """The values of a file of the published form; None for any other."""
    tags = _directory(content)
    sample_format, bits, stored = _FORMATS[dtype]
    if tags is None or (
        _one(tags, _WIDTH, _HEIGHT, _BITS, _SAMPLE_FORMAT) != (size, size, bits, sample_format)
        or _one(tags, _SAMPLES, _PLANAR, _PHOTOMETRIC) != (1, 1, 1)
    ):
        return None
    compression, predictor, rows = _one(tags, _COMPRESSION, _PREDICTOR, _ROWS_PER_STRIP)
    offsets, sizes = _many(content, tags, _STRIP_OFFSETS), _many(content, tags, _STRIP_SIZES)
    if not 0 < rows <= size or not len(offsets) == len(sizes) == -(-size // rows) or min(offsets) == 0:
        return None
    row_bytes = size * bits // 8
    lengths = [row_bytes * min(rows, size - top) for top in range(0, size, rows)]
    strips = [_within(content, begin, length) for begin, length in zip(offsets, sizes, strict=True)]
    if compression == _DEFLATE:
        if predictor not in (_NO_PREDICTOR, _DIFFERENCING) or dtype != "uint16":
            return None
        strips = [_inflate(strip, length) for strip, length in zip(strips, lengths, strict=True)]
    elif (compression, predictor) != (_NO_COMPRESSION, _NO_PREDICTOR):
        return None
    if [len(strip) for strip in strips] != lengths:
        return None
    array = np.frombuffer(b"".join(strips), stored).reshape(size, size)
    if predictor == _DIFFERENCING:
        array = np.cumsum(array, axis=1, dtype=stored)
    return array


def _within(content: bytes, begin: int, length: int) -> bytes:
    """Some bytes of the content; struct.error if it does not have as many."""
    (part,) = struct.unpack_from(f"{length}s", content, begin)
    return bytes(part)


def _inflate(strip: bytes, length: int) -> bytes:
    """The bytes of a compressed strip, no more than expected; empty if there are more or the stream is cut off."""
    stream = zlib.decompressobj()
    inflated = stream.decompress(strip, length + 1)
    return inflated if stream.eof else b""


Tags = dict[int, tuple[int, int, int]]


def _directory(content: bytes) -> Tags | None:
    """Type, count and value (or offset) by tag of a little-endian file with a single image; None for any other."""
    if content[:4] != b"II*\x00":
        return None
    (begin,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, begin)
    end = begin + 2 + 12 * count
    if struct.unpack_from("<I", content, end) != (0,):
        return None
    entries = [entry for entry in struct.iter_unpack("<HHII", content[begin + 2 : end]) if entry[0] not in _IGNORED]
    tags = {tag: (kind, length, value) for tag, kind, length, value in entries}
    # Which of two entries of one tag counts is up to the reader.
    return tags if tags.keys() <= _KNOWN and len(tags) == len(entries) else None


_KNOWN = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES}
    | {_PLANAR, _PREDICTOR, _SAMPLE_FORMAT}
)
_DEFAULTS = {_PREDICTOR: _NO_PREDICTOR, _PLANAR: 1, _SAMPLES: 1, _SAMPLE_FORMAT: 1, _COMPRESSION: _NO_COMPRESSION}


def _one(tags: Tags, *wanted: int) -> tuple[int, ...]:
    """The values of tags that hold a single number; -1 where one holds something else."""
    values = []
    for tag in wanted:
        kind, count, value = tags.get(tag, (_LONG, 1, _DEFAULTS.get(tag, -1)))
        values.append(value & 0xFFFF if kind == _SHORT else value)
        if kind not in _SIZES or count != 1:
            values[-1] = -1
    return tuple(values)


def _many(content: bytes, tags: Tags, tag: int) -> tuple[int, ...]:
    """The values of a tag that holds a number per strip; none if it holds something else."""
    kind, count, value = tags.get(tag, (0, 0, 0))
    if kind not in _SIZES or not 0 < count <= PATCH_SIZE:
        return ()
    if count == 1:
        return _one(tags, tag)
    if kind == _SHORT and count == 2:
        return value & 0xFFFF, value >> 16
    return struct.unpack_from(f"<{count}{_SIZES[kind]}", content, value)


def _decode_any(content: bytes, size: int, dtype: str, source: str) -> Array:
    """The values of any GeoTIFF, by rasterio."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if not content:
        raise ArchiveError(f"{source} cannot be read; it is empty: get it anew from the archive")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.MemoryFile(content) as memory, memory.open(driver="GTiff") as raster:
                if raster.count != 1:
                    raise ArchiveError(f"{source}: expected one band, found {raster.count}")
                if raster.shape != (size, size):
                    raise ArchiveError(
                        f"{source}: expected {size} x {size} pixels, found {raster.width} x {raster.height}"
                    )
                if raster.dtypes[0] != dtype:
                    raise ArchiveError(f"{source}: expected {dtype} values, found {raster.dtypes[0]}")
                array: Array = raster.read(1)
    # rasterio reads the name of the CRS as UTF-8, whatever its bytes are.
    except (RasterioError, UnicodeDecodeError):
        raise ArchiveError(
            f"{source} cannot be read; it is damaged or cut off, or no GeoTIFF: get it anew from the archive"
        ) from None
    return array
