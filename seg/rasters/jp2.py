"""Whether JPEG 2000 files are whole.

GDAL opens a file that is cut off, and notices at the first block that is missing, hours later; a hole in it decodes to
other values without a word. The boxes of the file say how long it has to be, its codestream is a chain of tile-parts
that ends with a marker, and what is coded in them can be told from a hole (ISO/IEC 15444-1, annexes A, B.10 and I.4).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from seg.errors import SceneError

_CODESTREAM = b"jp2c"
_START, _SIZE, _CODING, _TILE_PART, _DATA, _END = 0xFF4F, 0xFF51, 0xFF52, 0xFF90, 0xFF93, 0xFFD9
_IMPOSSIBLE = b"\xff\xff"
"""In coded data 0xFF is followed by a bit that is 0."""
_UNLIKELY = 16
"""Zeros that coded data do not have one after the other, beyond a byte of 0 for every packet that holds nothing."""
_RAW = 0x41
"""Styles of code blocks that may hold bits as they are, and so any number of zeros."""
_CHUNK = 4 << 20


def require_whole_file(path: Path) -> None:
    """Make sure that a JPEG 2000 file is whole.

    Raises:
        SceneError: If it is damaged.
    """
    with path.open("rb") as file:
        try:
            whole = _whole(file, path.stat().st_size)
        # What stands in the headers of a damaged file may be anything.
        except (struct.error, LookupError, ZeroDivisionError):
            whole = False
        if not whole:
            raise SceneError(f"{path} is damaged or cut off, or no JPEG 2000 file; get it anew")


def _whole(file: IO[bytes], size: int) -> bool:
    begin = 0
    while begin + 8 <= size:
        file.seek(begin)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        end = begin + length if length else size
        if end > size or end < begin + 8:
            return False
        if kind == _CODESTREAM:
            return _whole_codestream(file, file.tell(), end)
        begin = end
    return False


def _whole_codestream(file: IO[bytes], begin: int, end: int) -> bool:
    """Whether tile-parts of all tiles follow one another up to the last marker, and none has a hole."""
    file.seek(begin)
    if struct.unpack(">H", file.read(2)) != (_START,):
        return False
    main = dict(_segments(file, _TILE_PART))
    size, coding = main[_SIZE], main[_CODING]
    place, seen = file.tell() - 2, set()
    while place < end - 2:
        file.seek(place)
        marker, _, tile, length = struct.unpack(">HHHI", file.read(10))
        after = place + length if length else end - 2
        if marker != _TILE_PART or not place + 12 <= after <= end - 2:
            return False
        file.seek(place + 12)
        own = dict(_segments(file, _DATA)).get(_CODING, coding)
        if _has_hole(file, after, _most_zeros(tile, size, own)):
            return False
        place = after
        seen.add(tile)
    file.seek(place)
    across, down = _tiles(size)
    return struct.unpack(">H", file.read(2)) == (_END,) and len(seen) == across * down


def _segments(file: IO[bytes], until: int) -> Iterator[tuple[int, bytes]]:
    """Marker segments of a header by their markers, up to a marker; the file then stands behind that one."""
    while (marker := struct.unpack(">H", file.read(2))[0]) != until:
        (length,) = struct.unpack(">H", file.read(2))
        if length < 2:
            raise struct.error("no segment is so short")
        yield marker, file.read(length - 2)


def _tiles(size: bytes) -> tuple[int, int]:
    """How many tiles lie side by side, and one below the other."""
    right, bottom, _, _, width, height, left, top = struct.unpack(">8I", size[2:34])
    return -(-(right - left) // width), -(-(bottom - top) // height)


def _most_zeros(tile: int, size: bytes, coding: bytes) -> int | None:
    """Zeros that data of a tile may have in a row: one for each of its packets, and few more. None: any number.

    Args:
        tile: Its number.
        size: What the codestream says of the sizes of image, tiles and components.
        coding: What it says of layers, resolutions and precincts.
    """
    layers, levels, style = struct.unpack(">H", coding[2:4])[0], coding[5], coding[8]
    if style & _RAW:
        return None
    right, bottom, left, top, width, height, from_left, from_top = struct.unpack(">8I", size[2:34])
    row, column = divmod(tile, _tiles(size)[0])
    xs = max(from_left + column * width, left), min(from_left + (column + 1) * width, right)
    ys = max(from_top + row * height, top), min(from_top + (row + 1) * height, bottom)
    packets = 0
    for component in range(struct.unpack(">H", size[34:36])[0]):
        steps = size[36 + 3 * component + 1], size[36 + 3 * component + 2]
        for level in range(levels + 1):
            exponents = (coding[10 + level] & 15, coding[10 + level] >> 4) if coding[0] & 1 else (15, 15)
            across, down = (
                -(-_over(high, step, levels - level) >> power) - (_over(low, step, levels - level) >> power)
                for (low, high), step, power in zip((xs, ys), steps, exponents, strict=True)
            )
            packets += layers * max(across, 0) * max(down, 0)
    return packets + _UNLIKELY if packets < _CHUNK else None


def _over(place: int, step: int, halvings: int) -> int:
    """A place of the image in a component that is coarser by a step, halved some times; rounded up."""
    coarser = -(-place // step)
    return -(-coarser >> halvings)


def _has_hole(file: IO[bytes], end: int, zeros: int | None) -> bool:
    """Whether coded data up to a place hold what no coder writes."""
    hole = bytes(zeros + 1) if zeros is not None else _IMPOSSIBLE
    before = b""
    while (left := end - file.tell()) > 0 and (read := file.read(min(left, _CHUNK))):
        part = before + read
        if hole in part or _IMPOSSIBLE in part:
            return True
        before = part[1 - len(hole) :]
    return False
