"""What a band holds, from a part of its pixels: enough of it for quantiles, whatever the size of the file.

Whole blocks of the file are read, because it cannot give less, in an order that covers the band ever more finely. The
first four million pixels are looked at, or as many more as it takes to find some that have data.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import rasterio.windows

from seg.scenes.header import Header, open_raster, readable
from seg.scenes.layer import Array, Layer
from seg.scenes.validity import read_bands

_ENOUGH = 1 << 22
"""Pixels to look at: four blocks of JPEG 2000, each of which takes a fifth of a second to decode."""
_FOUND = 1 << 16
"""Pixels with data to find before giving up on the rest."""
_KEPT = 1 << 18
"""Values to keep of a band."""
_CELL = 1 << 16
"""Pixels to read at a time where blocks are smaller."""
_THREADS = 4
_BITS = 24
"""Of the place of a cell; no raster has more cells along an edge."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Pixels of a band.

    Attributes:
        stored: Values of pixels with data as the file holds them, (pixels,).
        values: The same in reBEN's unit, DN or dB, float64 (pixels,): scaled and offset, neither clipped nor rounded.
        looked_at: How many pixels were read.
        valid: The share of them that has data, 0 to 1.
    """

    stored: Array
    values: npt.NDArray[np.float64]
    looked_at: int
    valid: float


def sample_of(layer: Layer) -> Sample:
    """Look at a part of a band, spread over all of it; at every pixel of a small one.

    Raises:
        SceneError: If the file is damaged.
    """
    header, parts = layer.header, []
    kept_of_cell = max(_KEPT * _cell_size(header) // min(_ENOUGH, header.width * header.height), 1)
    looked_at = found = 0
    with open_raster(header.path) as raster, readable(header.path):
        for window in _cells(header):
            if looked_at >= _ENOUGH and found >= _FOUND:
                break
            ((stored, mask),) = read_bands(raster, [layer], window)
            present = stored[layer.present(stored, mask)]
            looked_at, found = looked_at + stored.size, found + present.size
            parts.append(present[:: -(-present.size // kept_of_cell) or 1])
    kept = np.concatenate(parts)
    return Sample(kept, kept.astype(np.float64) * layer.gain + layer.offset, looked_at, found / looked_at)


def samples_of(layers: Sequence[Layer]) -> dict[str, Sample]:
    """Look at several bands at a time, by name; see `sample_of`."""
    with ThreadPoolExecutor(min(_THREADS, len(layers), os.cpu_count() or 1)) as pool:
        return dict(zip((layer.band for layer in layers), pool.map(sample_of, layers), strict=True))


def _cells(header: Header) -> Iterator[rasterio.windows.Window]:
    """Windows of whole blocks that together are the band: each once, neighbours far apart in time."""
    rows, columns = _cell_shape(header)
    down, across = -(-header.height // rows), -(-header.width // columns)
    for row, column in sorted(itertools.product(range(down), range(across)), key=lambda at: _turn(*at)):
        # The first one is not in the corner, where swaths often have no data.
        top, left = (row + down // 4) % down * rows, (column + across // 4) % across * columns
        yield rasterio.windows.Window(left, top, min(columns, header.width - left), min(rows, header.height - top))


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


def _cell_size(header: Header) -> int:
    return math.prod(_cell_shape(header))
