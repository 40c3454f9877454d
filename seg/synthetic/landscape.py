"""The land-cover map of a block: polygons of raw CLC level-3 codes, as CORINE would map them.

The block is cut into cells of a few hectares (a Voronoi diagram with warped edges). Polygons grow cell by cell until
they reach a target size, so that the shares of the region are met; coasts, beaches, rivers and national borders are
laid over them; and whatever is left below CORINE's minimum mapping unit is given to its neighbours.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import UNLABELLED_CODES, UNLABELLED_LIMIT
from seg.synthetic.places import Region

MINIMUM_MAPPING_UNIT = 2500
"""Smallest CLC polygon, 25 ha in 10 m pixels (CLC 2018 technical guidelines)."""

_CELL = 26
_SMALLEST_CUT = 300  # a polygon that the block's edge cuts may be smaller, but not a sliver
# Mean size of a polygon in pixels, where it is not the default. Forests and fields form large polygons, artificial
# surfaces small ones.
_DEFAULT_POLYGON = 15000
_POLYGON = {
    111: 3500, 112: 6000, 121: 3500, 211: 34000, 212: 18000, 222: 6000, 231: 20000, 244: 32000, 311: 28000, 312: 22000,
    313: 20000, 324: 10000, 331: 3500, 412: 8000, 512: 15000, 321: 7000, 333: 5000, 322: 8000, 323: 8000,
} | dict.fromkeys(UNLABELLED_CODES, 2500)  # fmt: skip

Codes = npt.NDArray[np.uint16]
Field = npt.NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Field:
    """Smooth random field with zero mean and about unit standard deviation.

    Args:
        rng: Source of randomness.
        shape: Height and width, pixels.
        scale: Distance in pixels over which values become independent.

    Returns:
        float32 of that shape.
    """
    lattice = (int(shape[0] / scale) + 5, int(shape[1] / scale) + 5)
    grid = rng.standard_normal(lattice, dtype=np.float32)
    # Where the lattice falls must not be the same in every field, or its points would line up.
    top, left = (scale * (1 + rng.random(2))).astype(int).tolist()
    size = (round(lattice[1] * scale), round(lattice[0] * scale))
    wide = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    # Cubic interpolation leaves 0.86 of the standard deviation (measured; all of it at the lattice points).
    return np.asarray(wide[top : top + shape[0], left : left + shape[1]] * np.float32(1 / 0.86), dtype=np.float32)


def land_cover(region: Region, rows: int, columns: int, rng: np.random.Generator) -> Codes:
    """Land-cover map of a block.

    Args:
        region: What occurs and how often.
        rows: Height of the block in patches.
        columns: Width of the block in patches.
        rng: Source of randomness.

    Returns:
        uint16 CLC level-3 codes, (120 * rows, 120 * columns), 10 m pixels. Every 4-connected region of one code that
        does not touch the block's edge has at least `MINIMUM_MAPPING_UNIT` pixels; no patch holds
        `UNLABELLED_LIMIT` or more of unlabelled area.
    """
    shape = (rows * PATCH_SIZE, columns * PATCH_SIZE)
    codes = _grow_polygons(region, _cells(shape, rng), rng)
    if region.river:
        _draw_river(codes, rng)
    if region.sea:
        _draw_coast(codes, region.sea, rng)
    if region.frontier:
        edge = 12 + 5 * smooth_noise(rng, (shape[0], 1), 60)
        codes[np.arange(shape[1])[None] < edge] = 999
    absorb_small(codes)
    _thin_out_unlabelled(codes)
    return codes


def displacement(rng: np.random.Generator, shape: tuple[int, int], size: float, scale: float) -> tuple[Field, Field]:
    """Two fields of `smooth_noise` with a standard deviation of `size` pixels, downwards and to the right."""
    return np.float32(size) * smooth_noise(rng, shape, scale), np.float32(size) * smooth_noise(rng, shape, scale)


def warp(
    image: npt.NDArray[Any], shape: tuple[int, int], margin: int, fields: list[tuple[Field, Field]]
) -> npt.NDArray[Any]:
    """Cut the middle out of an image, displaced by random fields, nearest neighbour.

    Args:
        image: Array at least `margin` larger than `shape` on every side; uint8 or uint16.
        shape: Height and width of the result.
        margin: Offset of the result's corner in the image, pixels.
        fields: Pairs of displacements (y, x) in pixels, added up.

    Returns:
        Array of that shape and the image's dtype.
    """
    y = np.repeat(np.arange(margin, margin + shape[0], dtype=np.float32)[:, None], shape[1], axis=1)
    x = np.repeat(np.arange(margin, margin + shape[1], dtype=np.float32)[None], shape[0], axis=0)
    for dy, dx in fields:
        y += dy
        x += dx
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))


def _cells(shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Cell number per pixel: nearest of jittered seeds, with winding edges."""
    margin = 24
    height, width = shape[0] + 2 * margin, shape[1] + 2 * margin
    y, x = np.mgrid[_CELL // 2 : height : _CELL, _CELL // 2 : width : _CELL]
    jitter = rng.uniform(-0.42 * _CELL, 0.42 * _CELL, (2, *y.shape))
    seeds = np.ones((height, width), dtype=np.uint8)
    seeds[np.clip(y + jitter[0], 0, height - 1).astype(int), np.clip(x + jitter[1], 0, width - 1).astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    winding = [displacement(rng, shape, size, scale) for size, scale in ((4.0, 22.0), (1.3, 6.0))]
    cells = warp(labels.astype(np.uint16), shape, margin, winding)
    _, numbered = np.unique(cells, return_inverse=True)
    return numbered.reshape(shape).astype(np.uint16)


def _neighbours(cells: npt.NDArray[np.uint16], count: int) -> list[list[int]]:
    """Which cells touch which."""
    pairs = []
    for a, b in ((cells[:, :-1], cells[:, 1:]), (cells[:-1], cells[1:])):
        edge = a != b
        pairs.append(a[edge].astype(np.int64) * count + b[edge])
    touching: list[list[int]] = [[] for _ in range(count)]
    for pair in np.unique(np.concatenate(pairs)).tolist():
        first, second = divmod(pair, count)
        if second not in touching[first]:
            touching[first].append(second)
            touching[second].append(first)
    return touching


def _grow_polygons(region: Region, cells: npt.NDArray[np.uint16], rng: np.random.Generator) -> Codes:
    """Give every cell a code: polygon after polygon, always of a code that is short of its share."""
    count = int(cells.max()) + 1
    area = np.bincount(cells.reshape(-1), minlength=count)
    touching = _neighbours(cells, count)
    codes = list(region.shares)
    shares = np.array([region.shares[c] for c in codes]) / sum(region.shares.values())
    missing = shares * cells.size
    code_of_cell = np.zeros(count, dtype=np.uint16)
    # Codes whose share is less than a polygon come about with the probability that makes up for their size.
    expected = shares * cells.size / np.array([_POLYGON.get(c, _DEFAULT_POLYGON) for c in codes])
    waiting = [k for k in np.flatnonzero(rng.random(len(codes)) < expected).tolist() if expected[k] < 0.5]
    waiting += [codes.index(c) for c in region.always]
    free = set(range(count))
    while free:
        k = waiting.pop() if waiting else int(np.argmax(missing + rng.uniform(0, 6000, len(codes))))
        target = max(1.15 * MINIMUM_MAPPING_UNIT, _POLYGON.get(codes[k], _DEFAULT_POLYGON) * rng.lognormal(-0.12, 0.5))
        polygon = _grow(free, touching, area, target, rng)
        code_of_cell[polygon] = codes[k]
        missing[k] -= area[polygon].sum()
    return code_of_cell[cells]


def _grow(
    free: set[int], touching: list[list[int]], area: npt.NDArray[np.intp], target: float, rng: np.random.Generator
) -> list[int]:
    """Take free cells, one beside the other, until they reach an area; compact shapes are preferred."""
    # Beginning where few free neighbours are left keeps the remaining free land in one piece.
    candidates = rng.choice(sorted(free), min(6, len(free)), replace=False).tolist()
    start = min(candidates, key=lambda c: sum(n in free for n in touching[c]))
    polygon, total = [start], area[start]
    free.discard(start)
    frontier = {n: 1.0 for n in touching[start] if n in free}
    while frontier and total < target:
        names = list(frontier)
        weights = np.array([frontier[n] for n in names]) ** 2 * rng.uniform(0.3, 1.0, len(names))
        cell = names[int(np.argmax(weights))]
        del frontier[cell]
        free.discard(cell)
        polygon.append(cell)
        total += area[cell]
        for n in touching[cell]:
            if n in free:
                frontier[n] = frontier.get(n, 0.0) + 1.0
    return polygon


def _draw_river(codes: Codes, rng: np.random.Generator) -> None:
    """Lay a winding river of 110 to 170 m across the block, code 511."""
    height, width = codes.shape
    along = np.arange(-40, max(height, width) + 41, 10)
    winding = np.cumsum(rng.normal(0, 3.0, len(along)))
    winding = np.convolve(winding, np.ones(7) / 7, mode="same") + rng.uniform(0.25, 0.75) * min(height, width)
    points = np.stack([along, winding], axis=1)
    if rng.random() < 0.5:
        points = points[:, ::-1]
    mask = np.zeros(codes.shape, dtype=np.uint8)
    cv2.polylines(mask, [np.ascontiguousarray(points).astype(np.int32)], False, 1, int(rng.integers(11, 18)))
    codes[mask > 0] = 511


def _draw_coast(codes: Codes, share: float, rng: np.random.Generator) -> None:
    """Flood a share of the block and line part of the coast with beaches and coastal wetlands."""
    shape = (codes.shape[0], codes.shape[1])
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.add.outer(
        np.linspace(-1, 1, shape[0], dtype=np.float32) * np.float32(np.sin(angle)),
        np.linspace(-1, 1, shape[1], dtype=np.float32) * np.float32(np.cos(angle)),
    )
    height = ramp + np.float32(0.45) * smooth_noise(rng, shape, 130) + np.float32(0.14) * smooth_noise(rng, shape, 34)
    land = (height > np.quantile(height[::4, ::4], share)).astype(np.uint8)
    inland = cv2.distanceTransform(land, cv2.DIST_L2, 5)
    if 323 in codes:  # the open, southern coast has sands and lagoons, the northern ones are rock and wood
        place = smooth_noise(rng, shape, 110)
        low = np.quantile(place[::4, ::4], 0.45)
        codes[(inland > 0) & (inland < 13 + 3 * smooth_noise(rng, shape, 25)) & (place < low)] = 331
        marsh = (inland > 0) & (inland < 60) & (place > np.quantile(place[::4, ::4], 0.84))
        codes[marsh] = np.where(smooth_noise(rng, shape, 90)[marsh] > 0.1, 421, 422)
    codes[land == 0] = 523


def absorb_small(codes: Codes) -> None:
    """Give regions below the minimum mapping unit to the neighbour they share most edge with, in place.

    Regions that the block's edge cuts may be smaller, since the rest of them lies outside.
    """
    changed = True
    while changed:
        small = [piece for code in np.unique(codes).tolist() for piece in _pieces(codes, code)]
        small.sort(key=lambda piece: piece[0])
        changed = sum(_absorb(codes, *where) for _, where in small) > 0


_Region = tuple[tuple[slice, slice], npt.NDArray[np.uint8], int]
"""A window of the map, which of its pixels belong to the region, and the code of that."""


def _pieces(codes: Codes, code: int) -> Iterator[tuple[int, _Region]]:
    """Regions of one code that are too small, with their area."""
    height, width = codes.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats((codes == code).view(np.uint8), connectivity=4)
    for label in range(1, count):
        x, y, w, h, area = stats[label].tolist()
        cut = x == 0 or y == 0 or x + w == width or y + h == height
        if area < (_SMALLEST_CUT if cut else MINIMUM_MAPPING_UNIT):
            window = (slice(max(0, y - 1), y + h + 1), slice(max(0, x - 1), x + w + 1))
            yield area, (window, (labels[window] == label).view(np.uint8), code)


def _absorb(codes: Codes, window: tuple[slice, slice], mask: npt.NDArray[np.uint8], code: int) -> bool:
    """Recode one region to the code that touches it most; False where a neighbour has joined it meanwhile."""
    inside = mask > 0
    view = codes[window]
    ring = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) > 0
    around = view[ring & ~inside]
    if not around.size or (around == code).any():
        return bool(around.size)
    view[inside] = np.bincount(around).argmax()
    return True


def _thin_out_unlabelled(codes: Codes) -> None:
    """Recode unlabelled regions in patches that would otherwise not be part of reBEN, in place."""
    unlabelled_codes = np.array(sorted(UNLABELLED_CODES), dtype=np.uint16)
    while True:
        unlabelled = np.isin(codes, unlabelled_codes)
        share = unlabelled.reshape(codes.shape[0] // PATCH_SIZE, PATCH_SIZE, -1, PATCH_SIZE).mean(axis=(1, 3))
        if share.max() < UNLABELLED_LIMIT:
            return
        row, column = (int(i) * PATCH_SIZE for i in np.unravel_index(int(share.argmax()), share.shape))
        patch = (slice(row, row + PATCH_SIZE), slice(column, column + PATCH_SIZE))
        code = np.bincount(codes[patch][unlabelled[patch]]).argmax()
        # The whole region goes, so that the minimum mapping unit holds on both sides of the patch's edge.
        _, labels = cv2.connectedComponents((codes == code).view(np.uint8), connectivity=4)
        label = np.bincount(labels[patch][labels[patch] > 0]).argmax()
        _absorb(codes, (slice(None), slice(None)), (labels == label).view(np.uint8), int(code))
