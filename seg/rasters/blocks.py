"""The parts of a raster in an order in which it is soon known: whole blocks, because a file cannot give less.

What is looked at before a scene is mapped ends after some million pixels, so that it costs about the same whatever the
size is.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import rasterio.windows

from seg.rasters.header import Header

AT_EDGES, EVERYWHERE = 8 << 20, 4 << 20
"""Pixels of a large raster to look at: four blocks of JPEG 2000, each of which takes a fifth of a second to decode, and
as many of others twice along the edges."""
_WHOLE = 2 << 20
"""Pixels of a raster that is a single part."""
_CELL = 1 << 18
"""Pixels of a part where blocks are smaller."""
_BITS = 24
"""Of the place of a part; no raster has more of them along an edge."""


def blocks_over(header: Header, edges: bool = True) -> Iterator[rasterio.windows.Window]:
    """Windows of whole blocks that together are a raster, each once, neighbours far apart in time.

    Args:
        header: Of the raster.
        edges: Whether those of `AT_EDGES` pixels along its edges come first, where fills lie.
    """
    if header.width * header.height <= _WHOLE:
        yield rasterio.windows.Window(0, 0, header.width, header.height)
        return
    rows, columns = _cell_shape(header)
    down, across = -(-header.height // rows), -(-header.width // columns)
    # The first one is not in the corner, where swaths often have no data.
    shifted = sorted(itertools.product(range(down), range(across)), key=lambda at: _turn(*at))
    everywhere = [((row + down // 4) % down, (column + across // 4) % across) for row, column in shifted]
    first = _around(down, across, max(AT_EDGES // (rows * columns), 4)) if edges else []
    for row, column in dict.fromkeys([*first, *everywhere]):
        top, left = row * rows, column * columns
        yield rasterio.windows.Window(left, top, min(columns, header.width - left), min(rows, header.height - top))


def _around(down: int, across: int, count: int) -> list[tuple[int, int]]:
    """So many cells at the edges of a raster, evenly, the corners among them."""
    corners = sorted({(row, column) for row in (0, down - 1) for column in (0, across - 1)})
    # Blocks as wide as the raster all lie at its edge.
    outer = [
        (row, column)
        for row, column in itertools.product(range(down), range(across))
        if (row in (0, down - 1) or column in (0, across - 1)) and (row, column) not in corners
    ]
    left = max(min(count - len(corners), len(outer)), 0)
    return corners + [outer[i] for i in np.unique(np.linspace(0, len(outer) - 1, left).round().astype(int))]


def _turn(row: int, column: int) -> int:
    """When a cell is read: the lowest bits of its place count most, so that a coarse grid comes before a finer one."""
    turn = 0
    for bit in range(_BITS):
        turn = turn << 2 | (row >> bit & 1) << 1 | (column >> bit & 1)
    return turn


def _cell_shape(header: Header) -> tuple[int, int]:
    """Rows and columns that are read at a time: whole blocks, several of them where they are small."""
    rows, columns = (min(block, size) for block, size in zip(header.block, (header.height, header.width), strict=True))
    edge = math.isqrt(_CELL)
    columns = min(columns * max(edge // columns, 1), header.width)
    rows = min(rows * max(_CELL // (columns * rows), 1), header.height)
    return rows, columns
