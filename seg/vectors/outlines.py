"""The outlines of the objects of a class map: from pixels to polygons whose neighbours share every vertex.

Coordinates are those of the corners of pixels, in pixels: x is the column and y the row. Pixels of an object hang
together along their edges, see `seg.generalise.objects`; where two of its pixels meet in a corner alone, its rings
touch there, so that polygons are valid as they are. A vertex is where an outline turns, or where three or more meet.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from seg.generalise.objects import NO_OBJECT, Bytes, Ints

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Polygons = npt.NDArray[np.object_]

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Rows and columns of a step ahead along the upper, right, lower and left edge of a pixel that lies to the right."""
_BEGINS = ((0, 0), (0, 1), (1, 1), (1, 0))
"""Row and column of where these edges begin, from the upper left corner of the pixel."""


@dataclass(frozen=True, eq=False)
class Rings:
    """The rings of some objects, object by object; of each the one comes first that lies around it.

    Attributes:
        x_V, y_V: Corners of pixels, int64. A ring is some that follow each other; the last one is not the first again.
        first_R, count_R: Where each ring begins in them, and how many it has, int64.
        object_R: The number of its object, int64, ascending.
    """

    x_V: Ints
    y_V: Ints
    first_R: Ints
    count_R: Ints
    object_R: Ints

    @property
    def outer(self) -> Bools:
        """Which of them lie around an object."""
        outer: Bools = np.diff(self.object_R, prepend=-1) != 0
        return outer

    def of(self, chosen_P: Bools) -> "Rings":
        """The rings of some objects, which keep their numbers."""
        chosen_R = chosen_P[self.object_R]
        return Rings(self.x_V, self.y_V, self.first_R[chosen_R], self.count_R[chosen_R], self.object_R[chosen_R])

    def closed(self) -> tuple[Ints, Ints, Ints]:
        """All rings with their first vertex once more in the end.

        Returns:
            Their vertices, int64, and where each ring ends in these. With rows that count upwards, what is inside of an
            outer ring lies to the left of it, and to the left of the others too.
        """
        points_R = self.count_R + 1
        end_R = np.cumsum(points_R)
        begin_R = end_R - points_R
        # Backwards, because rows count downwards.
        vertex_V = np.repeat(self.first_R + self.count_R + begin_R, points_R) - np.arange(points_R.sum())
        vertex_V[begin_R] = self.first_R
        return self.x_V[vertex_V], self.y_V[vertex_V], end_R

    def polygons(self) -> Polygons:
        """The polygon of each object as shapely's, in the order of their numbers."""
        import shapely

        x_V, y_V, end_R = self.closed()
        ring_V = np.repeat(np.arange(len(end_R)), np.diff(end_R, prepend=0))
        rings_R = shapely.linearrings(np.stack([x_V, y_V], 1).astype(np.float64), indices=ring_V)
        polygons: Polygons = shapely.polygons(rings_R, indices=np.cumsum(self.outer) - 1)
        return polygons


@dataclass(frozen=True, eq=False)
class _Edges:
    """Edges of pixels between two objects, once for each of the two, numbered from 0; it lies to the right.

    Attributes:
        next_E: The edge that the outline goes on with, int64.
        kept_E: Whether its beginning is a vertex.
        x_E, y_E: Where it begins, int64.
        object_E: The object, int64.
    """

    next_E: Ints
    kept_E: Bools
    x_E: Ints
    y_E: Ints
    object_E: Ints


def outlines(numbers_HW: Ints, around_HW: Bytes, corner: tuple[int, int] = (0, 0)) -> Rings:
    """The rings of the objects of a rectangle of a map, cut at its edges.

    Args:
        numbers_HW: The object of each pixel, int64, numbered from 0 without gaps: the objects of this rectangle;
            `NO_OBJECT` for none.
        around_HW: The classes of its pixels and of those around it, uint8 (H + 2, W + 2). Borders that end at an edge
            of the rectangle on the other side end in a vertex.
        corner: Column and row of its upper left corner.
    """
    edges = _edges(numbers_HW, _vertices(around_HW))
    if not len(edges.next_E):
        return Rings(*(np.empty(0, np.int64) for _ in range(5)))
    ring_E, order_E = _rings(edges.next_E)
    order_E = order_E[edges.kept_E[order_E]]
    ring_V, x_V, y_V, object_V = (values[order_E] for values in (ring_E, edges.x_E, edges.y_E, edges.object_E))
    first_R = np.flatnonzero(np.diff(ring_V, prepend=-1))
    following_V = np.arange(1, len(ring_V) + 1)
    following_V[np.append(first_R[1:], len(ring_V)) - 1] = first_R
    area_R = np.add.reduceat(x_V * y_V[following_V] - x_V[following_V] * y_V, first_R)
    object_R, count_R = object_V[first_R], np.diff(first_R, append=len(ring_V))
    # With rows that count downwards, what lies to the right is inside of a ring of positive area. That one comes first.
    sequence_R = np.lexsort((area_R < 0, object_R))
    placed = x_V + corner[0], y_V + corner[1]
    return Rings(*placed, first_R[sequence_R], count_R[sequence_R], object_R[sequence_R])


def _vertices(around_HW: Bytes) -> Bools:
    """Which corners of the pixels of a rectangle are vertices, (H + 1, W + 1)."""
    down, along = around_HW[:, 1:] != around_HW[:, :-1], around_HW[1:] != around_HW[:-1]
    down[1:-1, [0, -1]] = along[[0, -1], 1:-1] = True
    up, down, left, right = down[:-1], down[1:], along[:, :-1], along[:, 1:]
    straight = (up & down & ~left & ~right) | (left & right & ~up & ~down)
    vertices: Bools = (up | down | left | right) & ~straight
    return vertices


def _edges(numbers_HW: Ints, vertices: Bools) -> _Edges:
    """All edges: what follows on each is found by looking ahead, and to the left of that.

    Where the pixel there is of the same object, the outline turns to it, even if the object does not go on ahead. So no
    ring meets itself: of the two sides of a corner in which pixels of one object meet, one is enclosed by the object.
    """
    padded = np.pad(numbers_HW, 1, constant_values=NO_OBJECT)
    height, width = numbers_HW.shape

    def beside(step: tuple[int, int]) -> Ints:
        return padded[1 + step[0] : 1 + step[0] + height, 1 + step[1] : 1 + step[1] + width]

    # The pixel on the other side of an edge lies a step ahead of the edge before it.
    known_HW = numbers_HW != NO_OBJECT
    pixels = [np.flatnonzero(known_HW & (numbers_HW != beside(_STEPS[side - 1]))) for side in range(4)]
    starts = np.cumsum([0, *map(len, pixels)])
    numbered = np.full((4, height * width), -1, np.int32)
    for side, places in enumerate(pixels):
        numbered[side, places] = np.arange(starts[side], starts[side + 1])
    flat, wide = numbers_HW.ravel(), padded.ravel()
    parts = []
    for side, places in enumerate(pixels):
        ahead, left = _STEPS[side], _STEPS[side - 1]
        across = (ahead[0] + left[0], ahead[1] + left[1])
        rows, columns = np.divmod(places, width)
        inside = (rows + 1) * (width + 2) + columns + 1
        own = flat[places]
        to_left = wide[inside + across[0] * (width + 2) + across[1]] == own
        goes_on = wide[inside + ahead[0] * (width + 2) + ahead[1]] == own
        next_pixel = places + np.where(to_left, across[0] * width + across[1], goes_on * (ahead[0] * width + ahead[1]))
        next_side = np.where(to_left, (side + 3) % 4, np.where(goes_on, side, (side + 1) % 4))
        y, x = rows + _BEGINS[side][0], columns + _BEGINS[side][1]
        parts.append((numbered[next_side, next_pixel], vertices[y, x], x, y, own))
    return _Edges(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _rings(next_E: Ints) -> tuple[Ints, Ints]:
    """The ring of each edge, and all edges in the order of the rings, each from its first vertex on."""
    count = len(next_E)
    ones, pointers = np.ones(count, np.int8), np.arange(count + 1, dtype=np.int32)
    rings, ring_E = connected_components(csr_array((ones, next_E, pointers), shape=(count, count)), directed=False)
    first_R = np.empty(rings, np.int64)
    # Of values for one place, the last one stays.
    first_R[ring_E[::-1]] = np.arange(count - 1, -1, -1)
    before_E = np.empty(count, np.int32)
    before_E[next_E] = np.arange(count)
    # With every ring cut open and the next one joined on, one walk visits all of them.
    chain_E = next_E.astype(np.int32)
    chain_E[before_E[first_R]] = np.roll(first_R, -1)
    walk = csr_array((ones, chain_E, pointers), shape=(count, count))
    order_E: Any = breadth_first_order(walk, first_R[0], return_predecessors=False)
    return ring_E, order_E
