"""Objects of a class map whose rows come in from top to bottom: what goes on below is kept until it ends."""

from dataclasses import astuple, dataclass, field

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from seg.generalise.objects import NO_OBJECT, Ints
from seg.reben.ground import Floats
from seg.vectors.outlines import Bools, Polygons


@dataclass(frozen=True, eq=False)
class Measured:
    """What is counted of some objects.

    Attributes:
        class_N: Their classes, int64.
        pixels_N: Their pixels.
        hectares_N: Their area on the ground.
        confidence_N: Sum of the confidence of their pixels, 0 to 1 each.
    """

    class_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    pixels_N: Floats = field(default_factory=lambda: np.empty(0))
    hectares_N: Floats = field(default_factory=lambda: np.empty(0))
    confidence_N: Floats = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.class_N)

    def of(self, chosen_N: Bools | Ints | slice) -> "Measured":
        """Some of them."""
        return Measured(*(values[chosen_N] for values in astuple(self)))


class Growing:
    """Objects that go on below the rows that have been read.

    Args:
        size: Rows and columns of the rectangles that pieces are cut by, from the corner of the map.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._pieces, self._object_P = np.empty(0, np.object_), np.empty(0, np.int64)
        self._objects, self._bottom_W = Measured(), np.empty(0, np.int64)

    def add(
        self, found: Measured, pieces: tuple[Polygons, Ints], numbers_HW: Ints, last: bool
    ) -> tuple[Measured, Polygons]:
        """Take the objects of the next rows; gives those that are complete, and their polygons.

        Args:
            found: The objects, as far as they are in these rows.
            pieces: Their polygons in pixels, and the object that each is a piece of.
            numbers_HW: Which object each pixel belongs to, `NO_OBJECT` for none; of the first and last row at least.
            last: No rows follow.
        """
        known = len(self._objects)
        count, became_N = self._joined(found, numbers_HW[0])
        polygons_P = np.concatenate([self._pieces, pieces[0]])
        object_P = became_N[np.concatenate([self._object_P, known + pieces[1]])]
        class_N = np.empty(count, np.int64)
        class_N[became_N] = np.concatenate([self._objects.class_N, found.class_N])
        sums = (np.concatenate(pair) for pair in list(zip(astuple(self._objects), astuple(found), strict=True))[1:])
        objects = Measured(class_N, *(sums_of(became_N, values, count) for values in sums))
        bottom_W, growing_N = numbers_HW[-1].copy(), np.zeros(count, np.bool_)
        inside_W = bottom_W != NO_OBJECT
        bottom_W[inside_W] = became_N[known + bottom_W[inside_W]]
        growing_N[bottom_W[inside_W]] = not last
        numbers_N, stays_P = np.cumsum(growing_N) - 1, growing_N[object_P]
        bottom_W[inside_W] = numbers_N[bottom_W[inside_W]]
        self._pieces, self._object_P = polygons_P[stays_P], numbers_N[object_P[stays_P]]
        self._objects, self._bottom_W = objects.of(growing_N), bottom_W
        return objects.of(~growing_N), dissolved(polygons_P[~stays_P], object_P[~stays_P], self._size)

    def _joined(self, found: Measured, top_W: Ints) -> tuple[int, Ints]:
        """How many objects there are, and which one each known and each new one is of, those in this order."""
        known = len(self._objects)
        if not known or not len(found):
            return known + len(found), np.arange(known + len(found))
        touch_W = (self._bottom_W != NO_OBJECT) & (top_W != NO_OBJECT)
        above_T, below_T = self._bottom_W[touch_W], top_W[touch_W]
        same_T = self._objects.class_N[above_T] == found.class_N[below_T]
        one, other = above_T[same_T], below_T[same_T] + known
        links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(known + len(found),) * 2)
        count, became_N = connected_components(links, directed=False)
        return count, became_N.astype(np.int64)


def sums_of(number_N: Ints, values_N: Floats, count: int) -> Floats:
    """Sum of the values of each number below ``count``."""
    sums: Floats = np.bincount(number_N, values_N, minlength=count).astype(np.float64)
    return sums


def dissolved(pieces: Polygons, object_P: Ints, size: tuple[int, int]) -> Polygons:
    """One polygon for each object, in the order of their numbers.

    Args:
        pieces: Polygons in pixels, the neighbours of which share every vertex.
        object_P: The object that each is a piece of.
        size: Rows and columns of the rectangles that they are cut by.
    """
    order_P = np.argsort(object_P, kind="stable")
    pieces = pieces[order_P]
    _, first_N, count_N = np.unique(object_P[order_P], return_index=True, return_counts=True)
    polygons_N: Polygons = pieces[first_N]
    for count in np.unique(count_N[count_N > 1]).tolist():
        alike = np.flatnonzero(count_N == count)
        polygons_N[alike] = _united(pieces[first_N[alike][:, None] + np.arange(count)], size)
    return polygons_N


def _united(pieces_NC: Polygons, size: tuple[int, int]) -> Polygons:
    """Polygons that consist of equally many pieces.

    Holes that no cut touches stay as they are, so they are put aside first: a class that reaches over all of a map has
    hundreds of thousands.
    """
    import shapely

    (rows, columns), shape = size, pieces_NC.shape
    rings_R, piece_R = shapely.get_rings(pieces_NC.ravel(), return_index=True)
    aside_R = (np.diff(piece_R, prepend=-1) == 0) & (shapely.bounds(rings_R) % (columns, rows, columns, rows)).all(1)
    touched = shapely.polygons(rings_R[~aside_R], indices=piece_R[~aside_R]).reshape(shape)
    united_N: Polygons = shapely.coverage_union_all(touched, axis=1)
    if not aside_R.any():
        return united_N
    left_R, owner_R = shapely.get_rings(united_N, return_index=True)
    owners = np.concatenate([owner_R, piece_R[aside_R] // shape[1]])
    # What lies around a polygon stays before its holes.
    order = np.argsort(owners, kind="stable")
    whole_N: Polygons = shapely.polygons(np.concatenate([left_R, rings_R[aside_R]])[order], indices=owners[order])
    return whole_N
