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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

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
_DEFAULTS = {_PREDICTOR: _NO_PREDICTOR, _PLANAR: 1, _SAMPLES: 1, _SAMPLE_FORMAT: 1, _COMPRESSION: _NO_COMPRESSION}
_KNOWN = _DEFAULTS.keys() | {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_SIZES}
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
    (begin,) = struct.unpack_from("<4xI", content)
    (count,) = struct.unpack_from("<H", content, begin)
    end = begin + 2 + 12 * count
    # Little-endian, and a single image.
    if content[:4] != b"II*\x00" or struct.unpack_from("<I", content, end) != (0,):
        return None
    form = _form(content[begin + 2 : end], size, dtype)
    if form is None:
        return None
    offsets, sizes = form.offsets(content), form.sizes(content)
    view = memoryview(content)
    strips: list[memoryview | bytes] = [view[begin : begin + n] for begin, n in zip(offsets, sizes, strict=True)]
    if 0 in offsets or tuple(map(len, strips)) != sizes:
        return None
    if form.deflate:
        strips = [_inflate(strip, length) for strip, length in zip(strips, form.lengths, strict=True)]
    if tuple(map(len, strips)) != form.lengths:
        return None
    array = np.frombuffer(b"".join(strips), form.stored).reshape(size, size)
    return np.cumsum(array, axis=1, dtype=form.stored) if form.differences else array


def _inflate(strip: memoryview | bytes, length: int) -> bytes:
    """The bytes of a compressed strip, no more than expected; empty if there are more or the stream is cut off."""
    stream = zlib.decompressobj()
    inflated = stream.decompress(strip, length + 1)
    return inflated if stream.eof else b""


Numbers = Callable[[bytes], tuple[int, ...]]


@dataclass(frozen=True)
class _Form:
    """What the directories of many files say alike.

    Attributes:
        offsets, sizes: Give where the strips of a file lie, and how many bytes they take there.
        lengths: Bytes of each strip once it is plain.
        deflate, differences: Whether strips are compressed, and values differences to their left neighbours.
        stored: NumPy's name of the type.
    """

    offsets: Numbers
    sizes: Numbers
    lengths: tuple[int, ...]
    deflate: bool
    differences: bool
    stored: str


@lru_cache(maxsize=256)
def _form(entries: bytes, size: int, dtype: str) -> _Form | None:
    """What the entries of a directory say; None if that is not the published form."""
    listed = [entry for entry in struct.iter_unpack("<HHII", entries) if entry[0] not in _IGNORED]
    tags = {tag: (kind, count, value) for tag, kind, count, value in listed}
    sample_format, bits, stored = _FORMATS[dtype]
    # Which of two entries of one tag counts is up to the reader.
    if not tags.keys() <= _KNOWN or len(tags) < len(listed) or (
        [_one(tags, tag) for tag in (_WIDTH, _HEIGHT, _BITS, _SAMPLE_FORMAT, _SAMPLES, _PLANAR, _PHOTOMETRIC)]
        != [size, size, bits, sample_format, 1, 1, 1]
    ):  # fmt: skip
        return None
    packing, rows = (_one(tags, _COMPRESSION), _one(tags, _PREDICTOR)), _one(tags, _ROWS_PER_STRIP)
    allowed = {(_NO_COMPRESSION, _NO_PREDICTOR)}
    if dtype == "uint16":
        allowed |= {(_DEFLATE, _NO_PREDICTOR), (_DEFLATE, _DIFFERENCING)}
    if packing not in allowed or not 0 < rows <= size:
        return None
    lengths = tuple(size * bits // 8 * min(rows, size - top) for top in range(0, size, rows))
    offsets, sizes = (_many(tags, tag, len(lengths)) for tag in (_STRIP_OFFSETS, _STRIP_SIZES))
    if offsets is None or sizes is None:
        return None
    return _Form(offsets, sizes, lengths, packing[0] == _DEFLATE, packing[1] == _DIFFERENCING, stored)


Tags = Mapping[int, tuple[int, int, int]]
"""Type, count and value (or offset) by tag."""


def _one(tags: Tags, tag: int) -> int:
    """The value of a tag that holds a single number; -1 if it holds something else."""
    kind, count, value = tags.get(tag, (_LONG, 1, _DEFAULTS.get(tag, -1)))
    if kind not in _SIZES or count != 1:
        return -1
    return value & 0xFFFF if kind == _SHORT else value


def _many(tags: Tags, tag: int, strips: int) -> Numbers | None:
    """What gives the values of a tag that holds a number per strip; None if it holds something else."""
    kind, count, value = tags.get(tag, (0, 0, 0))
    if kind not in _SIZES or count != strips:
        return None
    inside = (_one(tags, tag),) if count == 1 else (value & 0xFFFF, value >> 16)
    if count == 1 or (kind == _SHORT and count == 2):
        return lambda _content: inside
    return partial(struct.Struct(f"<{count}{_SIZES[kind]}").unpack_from, offset=value)


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
