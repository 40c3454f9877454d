"""What a band holds, from a part of its pixels: enough of it for quantiles and to find fills, whatever the file's size.

All needed bands of a file are read at a time, in the order of `seg.rasters.blocks`. That ends after some million
pixels, or as many more as it takes to find some that have data.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial, reduce

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.windows

from seg.rasters.blocks import AT_EDGES, EVERYWHERE, blocks_over
from seg.rasters.grid import FACTORS
from seg.rasters.header import Header, open_raster, patiently, readable
from seg.rasters.layer import MEASURED, Array, Layer, Mask
from seg.rasters.validity import read_bands
from seg.reben.bands import BANDS

_FOUND = 1 << 16
"""Pixels with data to find before giving up on the rest."""
_KEPT = 1 << 18
"""Values to keep of a band."""
_THREADS, _CACHE = 4, 64 << 20
_SQUARE = 7
"""Equal pixels along the edges of a square that make a block of its value: more than the 6 that a pixel of 60 m has
where its band was brought to 10 m."""
_RUN = 24
"""So many equal pixels side by side in a row or column are as good as a block."""
_TRACKED, _BESIDE = 8, 1 << 12
"""Values that are counted of a window, of each kind, and those that are kept of what lies beside one."""

Floats = npt.NDArray[np.float64]
Lattice = tuple[npt.NDArray[np.int64], Array, Mask]


@dataclass(frozen=True, slots=True)
class Sample:
    """Pixels of a band.

    Attributes:
        stored: Values of pixels with data as the file holds them, (pixels,).
        values: The same in reBEN's unit, DN or dB, float64 (pixels,): scaled and offset, neither clipped nor rounded.
        looked_at: How many pixels were read.
        valid: The share of them that has data, 0 to 1.
        lattice: Places of a lattice of 60 m over the scene that were looked at, int64, ascending: the row times 2^32
            plus the column; their stored values; and which of these are data that can be measured.
    """

    stored: Array
    values: Floats
    looked_at: int
    valid: float
    lattice: Lattice


@dataclass
class Seen:
    """What was seen of a band. All counts are of pixels with data by all that the file declares.

    Attributes:
        layer: The band.
        total: Pixels looked at.
        found: How many have data.
        blocks: By value, how many pixels are part of a block or run of it.
        edges: By value of blocks, how many lie on the edge of the raster.
        counts: By value, of blocks, beyond `MEASURED` or of reflectance below zero, how many there are.
        impossible: How many cannot be measured.
        zeros: How many are 0 and hence taken as no data, though nothing is declared.
        kept: Some values of every window.
        lines: Values of whole rows and columns of a window that have one alone, by axis, place along it, and where the
            line begins.
    """

    layer: Layer
    total: int = 0
    found: int = 0
    blocks: Counter[float] = field(default_factory=Counter)
    edges: Counter[float] = field(default_factory=Counter)
    counts: Counter[float] = field(default_factory=Counter)
    impossible: int = 0
    zeros: int = 0
    kept: list[Array] = field(default_factory=list)
    lines: dict[tuple[int, int, int], float] = field(default_factory=dict)
    _beside: dict[float, list[Array]] = field(default_factory=dict)
    _lattice: list[Lattice] = field(default_factory=list)

    def sample(self, layer: Layer) -> Sample:
        """The pixels that have data, of the same band with what its fills were found to be."""
        stored = np.concatenate(self.kept)
        stored = stored[layer.present(stored)]
        filled = sum(self.counts[fill] for fill in layer.fills)
        values = layer.in_units(stored)
        places, held, there = self.lattice()
        there = there & layer.present(held) & layer.possible(layer.in_units(held))
        return Sample(stored, values, self.total, (self.found - filled) / self.total, (places, held, there))

    def lattice(self) -> Lattice:
        """The same as of `Sample`, of all that is declared as data."""
        places, held, there = (np.concatenate(parts) for parts in zip(*self._lattice, strict=True))
        order = np.argsort(places)
        return places[order], held[order], there[order]

    def beside(self, value: float) -> Array:
        """Other values, on the right of pixels of one that has blocks."""
        return np.concatenate(self._beside[value])

    def add(self, window: rasterio.windows.Window, stored_HW: Array, mask_HW: Mask | None, quota: int) -> None:
        """Count what a window shows, and keep so many of its values."""
        layer, (rows, columns) = self.layer, window.toslices()
        present_HW = layer.present(stored_HW, mask_HW)
        self._note_places(rows.start, columns.start, stored_HW, present_HW)
        self._note_lines(0, rows.start, columns.start, stored_HW, present_HW)
        self._note_lines(1, columns.start, rows.start, stored_HW.T, present_HW.T)
        present = stored_HW[present_HW]
        self.total, self.found = self.total + stored_HW.size, self.found + present.size
        # A copy, so that what is not kept is let go.
        self.kept.append(present[:: max(-(-present.size // quota), 1)].copy())
        if BANDS[layer.band].sensor == "s1" and layer.nodata is None:
            self.zeros += int(np.count_nonzero((stored_HW == 0) if mask_HW is None else (stored_HW == 0) & mask_HW))
        if not present.size:
            return
        values, (low, high) = layer.in_units(present), MEASURED[BANDS[layer.band].sensor]
        self.impossible += int(np.count_nonzero(~layer.possible(values)))
        blocks = _most_common(stored_HW[_in_blocks(layer.header, stored_HW, present_HW)])
        rare = (values < (0 if BANDS[layer.band].sensor == "s2" else low)) | (values >= high)
        for value in blocks.keys() | _most_common(present[rare]).keys():
            where_HW = present_HW & (stored_HW == value)
            self.counts[value] += int(np.count_nonzero(where_HW))
            if value in blocks:
                next_to_HW = where_HW[:, :-1] & ~where_HW[:, 1:] & present_HW[:, 1:]
                self._beside.setdefault(value, []).append(stored_HW[:, 1:][next_to_HW][:_BESIDE])
                self.blocks[value] += blocks[value]
                self.edges[value] += int(np.count_nonzero(where_HW & _on_edge(layer.header, window)))

    def _note_places(self, top: int, left: int, stored_HW: Array, present_HW: Mask) -> None:
        step = max(FACTORS[-1] // max(self.layer.factor, 1), 1)
        part = np.s_[-top % step :: step, -left % step :: step]
        held_HW = stored_HW[part]
        rows, columns = (-(-begin // step) + np.arange(n) for begin, n in zip((top, left), held_HW.shape, strict=True))
        places_HW = (rows[:, None].astype(np.int64) << 32) + columns
        self._lattice.append((places_HW.ravel(), held_HW.ravel(), present_HW[part].ravel()))

    def _note_lines(self, axis: int, first: int, begin: int, stored_NL: Array, present_NL: Mask) -> None:
        if stored_NL.shape[1] < _RUN:
            return
        # Most lines differ in their first pixels already.
        alike_N = (stored_NL[:, :_RUN] == stored_NL[:, :1]).all(1) & present_NL[:, 0]
        for place in np.flatnonzero(alike_N).tolist():
            value = stored_NL[place, 0]
            if (stored_NL[place] == value).all() and present_NL[place].all():
                self.lines[axis, first + place, begin] = float(value)


def look(layers: Sequence[Layer], *, edges: bool = True) -> list[Seen]:
    """Look at a part of some bands, spread over all of them; at every pixel of small ones.

    Args:
        layers: The bands; bands of one file are read together.
        edges: Whether to look along the edges of large files too.

    Raises:
        SceneError: If a file is damaged.
    """
    seen = {layer.band: Seen(layer) for layer in layers}
    files: dict[str, list[Seen]] = {}
    for layer in layers:
        files.setdefault(layer.header.path, []).append(seen[layer.band])
    with (
        rasterio.Env(GDAL_CACHEMAX=_CACHE),
        ThreadPoolExecutor(min(_THREADS, len(files) or 1, os.cpu_count() or 1)) as pool,
    ):
        list(pool.map(lambda same: _look_at_file(same, edges), files.values()))
    return list(seen.values())


def _look_at_file(same: list[Seen], edges: bool) -> None:
    header, layers = same[0].layer.header, [one.layer for one in same]
    size = header.width * header.height
    # What lies elsewhere is slow to get, and part of a product.
    edges &= not header.remote
    enough = min(size, (EVERYWHERE // 4 if header.remote else EVERYWHERE) + (AT_EDGES if edges else 0))
    measured = 0
    with open_raster(header.path) as raster, readable(header.path):
        for window in blocks_over(header, edges):
            if same[0].total >= enough and measured >= _FOUND:
                break
            quota = max(_KEPT * window.width * window.height // enough, 1)
            read = patiently(header.path, partial(read_bands, raster, layers, window))
            for one, (stored, mask) in zip(same, read, strict=True):
                one.add(window, stored, mask, quota)
            measured = min(one.found - one.impossible - max(one.blocks.values(), default=0) for one in same)


def at_same_places(lattices: Iterable[Lattice]) -> tuple[npt.NDArray[np.int64], list[tuple[Array, Mask]]]:
    """Places at which all bands on one grid were looked at, their stored values there, and which of them have data."""
    all_places, held, there = zip(*lattices, strict=True)
    places = reduce(_in_both, all_places)
    at = [np.searchsorted(own, places) for own in all_places]
    return places, [(values[where], has[where]) for values, has, where in zip(held, there, at, strict=True)]


def _in_both(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # Bands of one file were looked at together.
    return one if np.array_equal(one, other) else np.intersect1d(one, other, assume_unique=True)


def _most_common(values: Array) -> Counter[float]:
    if not values.size:
        return Counter()
    different, numbers = np.unique(values, return_counts=True)
    most = np.argsort(numbers)[-_TRACKED:]
    return Counter(dict(zip(different[most].tolist(), numbers[most].tolist(), strict=True)))


def _in_blocks(header: Header, stored_HW: Array, present_HW: Mask) -> Mask:
    """Pixels at which a square of equal pixels begins, or a run of them along a row or column."""
    inside_HW: Mask = np.zeros(stored_HW.shape, np.bool_)
    height, width = stored_HW.shape
    right_HW, below_HW = (
        present_HW[first] & present_HW[second] & (stored_HW[first] == stored_HW[second])
        for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]))
    )
    if not (right_HW.any() or below_HW.any()):
        return inside_HW
    for long_HW in (_stretches(right_HW, _RUN - 1, 1), _stretches(below_HW, _RUN - 1, 0)):
        inside_HW[: long_HW.shape[0], : long_HW.shape[1]] |= long_HW
    smallest = min(height, width)
    edge = _SQUARE if smallest >= 2 * _SQUARE - 2 else max(smallest // 4, 1) + 1
    if edge == _SQUARE or min(header.width, header.height) < 2 * _SQUARE - 2:
        # Rows that are equal along the square, and are that again below.
        along_HW = _stretches(_stretches(right_HW, edge - 1, 1), edge, 0)
        down_HW = _stretches(below_HW, edge - 1, 0)
        rows, columns = (min(one, other) for one, other in zip(along_HW.shape, down_HW.shape, strict=True))
        inside_HW[:rows, :columns] |= along_HW[:rows, :columns] & down_HW[:rows, :columns]
    return inside_HW


def _stretches(flags_HW: Mask, length: int, axis: int) -> Mask:
    """Where so many flags in a row begin along an axis; shorter by one less than these."""
    done = 1
    while done < length and flags_HW.size:
        step = min(done, length - done)
        flags_HW = flags_HW[step:] & flags_HW[:-step] if axis == 0 else flags_HW[:, step:] & flags_HW[:, :-step]
        done += step
    return flags_HW


def _on_edge(header: Header, window: rasterio.windows.Window) -> Mask:
    """Which pixels of a window lie on the edge of its raster."""
    rows, columns = (np.arange(part.start, part.stop) for part in window.toslices())
    at_row, at_column = np.isin(rows, (0, header.height - 1)), np.isin(columns, (0, header.width - 1))
    return np.asarray(at_row[:, None] | at_column, np.bool_)
