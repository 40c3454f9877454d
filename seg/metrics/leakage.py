"""How much of a test split a model has seen before: near patches, the same ground, and labels that are alike nearby."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft2, rfft2
from scipy.spatial import cKDTree

from seg.reben.bands import PATCH_METRES
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import PATCHES_PER_TILE_EDGE
from seg.store.geography import Geography, transformer

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEXT_DOOR = 1.5 * PATCH_METRES
"""Centres of neighbours, corner to corner included, are at most 1,697 m apart; those of other patches 2,400 m."""
_APART = 1e8
"""Metres between tiles when each is looked at alone; larger than the earth."""
_POINTS = 6
"""Points along an edge of a patch at which it is asked whether the ground was seen."""
_FARTHEST = 250_000.0
"""Metres between centres of tiles from which on they cannot overlap."""


@dataclass(frozen=True, eq=False)
class Nearness:
    """Distance from each test patch to the nearest training patch, metres between centres; infinite without one.

    Attributes:
        same_tile_N: Among the training patches of the same MGRS tile, all dates.
        anywhere_N: Among all training patches.
    """

    same_tile_N: Floats
    anywhere_N: Floats


def nearness(places: Geography, test: Integers, train: Integers) -> Nearness:
    """Measure the nearest training patch.

    Args:
        places: Of all patches.
        test, train: Rows; neither may be empty.
    """
    earth_N3 = places.centres()
    tile_N1 = places.tile_N[:, None] * _APART
    by_tile_N4 = np.concatenate([earth_N3, tile_N1], axis=1)
    near = cKDTree(by_tile_N4[train]).query(by_tile_N4[test], distance_upper_bound=_APART / 2)[0]
    return Nearness(near, cKDTree(earth_N3[train]).query(earth_N3[test])[0])


@dataclass(frozen=True, eq=False)
class SeenGround:
    """Share of each test patch's ground that lies in a training patch too, 0 to 1.

    Attributes:
        any_N: In a training patch of another date or of a neighbouring tile.
        other_tiles_N: In one of a neighbouring tile. Sentinel-2 tiles overlap by 9.8 km, and where two UTM zones meet
            by more.
    """

    any_N: Floats
    other_tiles_N: Floats


def seen_ground(places: Geography, test: Integers, train: Integers) -> SeenGround:
    """Measure how much ground of the test patches was trained on, at 6 x 6 points of each patch.

    Args:
        places: Of all patches.
        test, train: Rows.
    """
    trained_TRC = np.zeros((len(places.tile_names), PATCHES_PER_TILE_EDGE, PATCHES_PER_TILE_EDGE), np.bool_)
    trained_TRC[places.tile_N[train], places.row_N[train], places.column_N[train]] = True
    any_N, other_tiles_N = np.zeros(len(test)), np.zeros(len(test))
    for tile in np.unique(places.tile_N[test]).tolist():
        here = np.flatnonzero(places.tile_N[test] == tile)
        own = places.take(test[here])
        cells, cell_of_patch = np.unique(own.row_N * PATCHES_PER_TILE_EDGE + own.column_N, return_inverse=True)
        rows, columns = np.divmod(cells, PATCHES_PER_TILE_EDGE)
        seen_NP = np.zeros((len(cells), _POINTS**2), np.bool_)
        for other in _neighbours(places.tile_names)[tile]:
            if trained_TRC[other].any():
                seen_NP |= _seen_from(places, tile, other, rows, columns, trained_TRC[other])
        other_tiles_N[here] = seen_NP.mean(1)[cell_of_patch]
        any_N[here] = (seen_NP | trained_TRC[tile, rows, columns][:, None]).mean(1)[cell_of_patch]
    return SeenGround(any_N, other_tiles_N)


def _seen_from(places: Geography, tile: int, other: int, rows: Integers, columns: Integers, trained_RC: Bools) -> Bools:
    """At which points of some cells of a tile the ground lies in a training patch of another tile; (cell, point)."""
    (epsg, west, north), (other_epsg, other_west, other_north) = places.corner(tile), places.corner(other)
    steps = (np.arange(_POINTS) + 0.5) / _POINTS
    down, right = (part.ravel() for part in np.meshgrid(steps, steps, indexing="ij"))
    x_NP = west + (columns[:, None] + right) * PATCH_METRES
    y_NP = north - (rows[:, None] + down) * PATCH_METRES
    if epsg != other_epsg:
        x_NP, y_NP = transformer(epsg, other_epsg).transform(x_NP, y_NP)
    column_NP = np.floor((x_NP - other_west) / PATCH_METRES).astype(np.int64)
    row_NP = np.floor((other_north - y_NP) / PATCH_METRES).astype(np.int64)
    edge = PATCHES_PER_TILE_EDGE
    inside_NP = (column_NP >= 0) & (column_NP < edge) & (row_NP >= 0) & (row_NP < edge)
    seen_NP = np.zeros(inside_NP.shape, np.bool_)
    seen_NP[inside_NP] = trained_RC[row_NP[inside_NP], column_NP[inside_NP]]
    return seen_NP


@cache
def _neighbours(tiles: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """For each tile the others that may overlap it."""
    middle, count = PATCHES_PER_TILE_EDGE // 2, len(tiles)
    positions = np.full(count, middle)
    centres = Geography(tiles, np.arange(count), np.zeros(count, np.int64), positions, positions).centres()
    near = cKDTree(centres).query_ball_point(centres, _FARTHEST)
    return tuple(tuple(other for other in sorted(others) if other != own) for own, others in enumerate(near))


LEAST_PAIRS = 100
"""Distances with fewer pairs of patches are not shown."""


@dataclass(frozen=True, eq=False)
class Correlogram:
    """How alike the labels of patches are by their distance, within products.

    Attributes:
        distance_L: Metres between centres: the multiples of 1200 m to which distances are rounded.
        pairs_L: Pairs of patches at that distance, int64.
        moran_LK: Moran's I of each class: 1 for patches that always agree, 0 for those that know nothing of each other;
            NaN of a class that all patches or none have, and without pairs.
    """

    distance_L: Floats
    pairs_L: Integers
    moran_LK: Floats

    @property
    def mean_moran(self) -> Floats:
        """Mean over the classes that are defined, (L,); NaN without pairs."""
        defined = ~np.isnan(self.moran_LK)
        counts = defined.sum(1)
        totals = np.where(defined, self.moran_LK, 0).sum(1)
        mean_L: Floats = np.divide(totals, counts, out=np.full(len(totals), np.nan), where=counts > 0)
        return mean_L


def correlogram(places: Geography, labels_NK: Bools, farthest: float = 60_000.0) -> Correlogram:
    """Moran's I of the multi-labels at each distance (Moran 1950; Cliff and Ord 1981).

    I(d) is the mean over all pairs at distance d of (x_i - m)(x_j - m), divided by the variance of x, where x is 1 in
    patches that have the class and m its mean over all patches. Every pair of patches of one product counts, found by
    Fourier transforms over its grid.

    Args:
        places: Of the patches.
        labels_NK: Multi-hot labels.
        farthest: Largest distance, metres.
    """
    lags = int(farthest / PATCH_METRES)
    size = 2 * PATCHES_PER_TILE_EDGE
    offset = np.minimum(np.arange(size), size - np.arange(size))
    lag_DD = np.rint(np.hypot(offset[:, None], offset)).astype(np.int64)
    near_DD = (lag_DD >= 1) & (lag_DD <= lags)
    deviation_NK = labels_NK - labels_NK.mean(0)
    products_LK, pairs_L = np.zeros((lags, NUM_CLASSES)), np.zeros(lags)
    order = np.argsort(places.product_N, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(places.product_N[order])) + 1):
        grid_KRC = np.zeros((NUM_CLASSES + 1, size, size))
        grid_KRC[:NUM_CLASSES, places.row_N[rows], places.column_N[rows]] = deviation_NK[rows].T
        grid_KRC[NUM_CLASSES, places.row_N[rows], places.column_N[rows]] = 1
        found_KDD = irfft2(np.abs(rfft2(grid_KRC)) ** 2, s=(size, size))
        for position, by_offset_DD in enumerate(found_KDD):
            sums = np.bincount(lag_DD[near_DD] - 1, by_offset_DD[near_DD], lags)
            if position < NUM_CLASSES:
                products_LK[:, position] += sums
            else:
                pairs_L += sums
    # Each pair was found from either side; the counts are whole but for rounding.
    pairs = np.rint(pairs_L / 2).astype(np.int64)
    variance_K = (deviation_NK**2).mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        moran_LK = products_LK / (2 * pairs)[:, None] / variance_K
    moran_LK[:, variance_K == 0] = np.nan
    moran_LK[pairs == 0] = np.nan
    return Correlogram(PATCH_METRES * np.arange(1.0, lags + 1), pairs, moran_LK)


def label_shares(labels_NK: Bools, rows: Integers) -> Floats:
    """Share of some patches that have each class, 0 to 1; (K,)."""
    return labels_NK[rows].mean(0)  # type: ignore[no-any-return]


def divergence(first_K: npt.NDArray[Any], second_K: npt.NDArray[Any]) -> float:
    """Jensen-Shannon divergence of two distributions of labels, bits: 0 where they are equal, 1 where disjoint.

    Lin, "Divergence measures based on the Shannon entropy", 1991.

    Args:
        first_K, second_K: Frequencies of the classes, 0 or more; each is divided by its sum.

    Returns:
        NaN if one of them is 0 throughout.
    """
    if not first_K.sum() or not second_K.sum():
        return float("nan")
    p_K, q_K = first_K / first_K.sum(), second_K / second_K.sum()
    middle_K = (p_K + q_K) / 2
    return float(sum(_relative_entropy(part_K, middle_K) for part_K in (p_K, q_K)) / 2)


def _relative_entropy(p_K: Floats, q_K: Floats) -> float:
    some = p_K > 0
    return float((p_K[some] * np.log2(p_K[some] / q_K[some])).sum())


@dataclass(frozen=True, eq=False)
class Leakage:
    """What a split lets through from train to test.

    Attributes:
        name: Of the split.
        patches: Patches of train, validation and test, and those in none.
        nearness: Distance to the nearest training patch.
        seen: Ground of the test patches that was trained on.
        shares_SK: Share of the patches of train, validation and test that have each class.
    """

    name: str
    patches: tuple[int, int, int, int]
    nearness: Nearness
    seen: SeenGround
    shares_SK: Floats

    def within(self, metres: Sequence[float]) -> list[tuple[float, float]]:
        """Share of test patches with a training patch within some distances: in the same tile, and anywhere."""
        near = self.nearness
        return [(float((near.same_tile_N <= d).mean()), float((near.anywhere_N <= d).mean())) for d in metres]

    def label_divergence(self, split: int) -> float:
        """Jensen-Shannon divergence of the labels of a split (1 validation, 2 test) from those of train, bits."""
        return divergence(self.shares_SK[0], self.shares_SK[split])


def leakage(name: str, places: Geography, labels_NK: Bools, splits_N: npt.NDArray[np.int8]) -> Leakage:
    """Measure a split.

    Args:
        name: Of the split.
        places, labels_NK: Of all patches.
        splits_N: 0 train, 1 validation, 2 test, below 0 none. Train and test may not be empty.
    """
    train, validation, test = (np.flatnonzero(splits_N == split) for split in range(3))
    shares = [
        label_shares(labels_NK, rows) if len(rows) else np.zeros(NUM_CLASSES) for rows in (train, validation, test)
    ]
    return Leakage(
        name,
        (len(train), len(validation), len(test), int((splits_N < 0).sum())),
        nearness(places, test, train),
        seen_ground(places, test, train),
        np.stack(shares),
    )
