"""Whether a mosaic has the offset of 1000 on one side of a seam and not on the other.

Parts of a mosaic may be of products from before and since 2022. Where they meet, along a row or column, all bands
become brighter by the same at once, which nothing on the ground is.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg.rasters.sample import Floats
from seg.scenes.findings import Spread, places_and_values

Ints = npt.NDArray[np.int64]

_JUMP, _APART = (700.0, 1_300.0), 450.0
"""Medians of what bands become brighter by, DN, and how much these may differ. On 590 stacks that are right, of 3, 4
and 12 bands, mosaics of places that do not belong together among them, nothing is like that and has sides as below."""
_PAIRS, _BANDS = 15, 3
"""Pairs of places across a seam, and bands, that it takes to tell."""
_BESIDE = 8
"""Lines of the lattice that are a side."""
_FLOOR, _DARK, _DARKEST = 950.0, 650.0, 0.01
"""DN that the darkest part of every band is above with the offset, and that some band's is below without it."""


class Seam(NamedTuple):
    """Where a scene becomes brighter.

    Attributes:
        axis: 0: between two rows; 1: between two columns.
        line: The row or column of the lattice of 60 m after which it is, from 0.
        jump: Median over the bands of what they become brighter by, DN; below zero: darker.
    """

    axis: int
    line: int
    jump: float


def find_seam(spreads: Sequence[Spread]) -> Seam | None:
    """The first straight seam at which all bands become brighter or darker by about 1000.

    Args:
        spreads: Of Sentinel-2, with data.
    """
    if len(spreads) < _BANDS:
        return None
    places, values = places_and_values(spreads)
    bands_BN = np.stack(list(values.values()))
    rows, columns = places >> 32, places & (1 << 32) - 1
    for axis, (across, along) in enumerate(((rows, columns), (columns, rows))):
        for seam, pairs in _jumps(axis, across, along, bands_BN):
            near = (along >= pairs.min()) & (along <= pairs.max())
            before = near & (across <= seam.line) & (across > seam.line - _BESIDE)
            after = near & (across > seam.line) & (across <= seam.line + _BESIDE)
            raised, other = (after, before) if seam.jump > 0 else (before, after)
            darkest = [np.quantile(bands_BN[:, side], _DARKEST, axis=1).min() for side in (raised, other)]
            if darkest[0] > _FLOOR and darkest[1] < _DARK:
                return seam
    return None


def _jumps(axis: int, across: Ints, along: Ints, bands_BN: Floats) -> Iterator[tuple[Seam, Ints]]:
    """Lines at which all bands change by about 1000, and where along them that was seen."""
    order = np.lexsort((across, along))
    first = np.flatnonzero((np.diff(along[order]) == 0) & (np.diff(across[order]) == 1))
    begin, end = order[first], order[first + 1]
    changes_BP = bands_BN[:, end] - bands_BN[:, begin]
    lines, number, pairs = np.unique(across[begin], return_inverse=True, return_counts=True)
    for sign in (1, -1):
        # Where the median is above, half of the pairs are; that is known of all lines at once.
        above_BL = np.stack([np.bincount(number, sign * changes > _JUMP[0], lines.size) for changes in changes_BP])
        for line in np.flatnonzero((pairs >= _PAIRS) & (2 * above_BL >= pairs).all(axis=0)):
            there = number == line
            jump_B = np.median(sign * changes_BP[:, there], axis=1)
            if _JUMP[0] < jump_B.min() and jump_B.max() < _JUMP[1] and np.ptp(jump_B) < _APART:
                yield Seam(axis, int(lines[line]), sign * float(np.median(jump_B))), along[begin[there]]
