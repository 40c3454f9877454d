"""A minimum mapping unit for class maps, whole ones or such as are read from top to bottom."""

import math

import numpy as np

from seg.generalise.merging import merged
from seg.generalise.objects import NO_OBJECT, Bytes, Ints, Objects, find_objects, touching
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES

_SQUARE_METRES = 10_000
_NEW = np.iinfo(np.int64).max
_MOST = 2**48
"""Pixels that no map has; sums of many such are whole numbers still."""


def unit_pixels(hectares: float, pixel_metres: float) -> int:
    """Pixels that an object of a minimum mapping unit has at least, or more than any map has.

    Args:
        hectares: The unit.
        pixel_metres: Edge of a pixel.
    """
    return math.ceil(min(hectares * _SQUARE_METRES / pixel_metres**2, _MOST))


class Generalisation:
    """Brings a map to a minimum mapping unit while its rows come in from top to bottom.

    What is remembered of the rows above are objects, not pixels: those of the last row, those whose neighbours are not
    known yet, and the class of each that has been found. The result does not depend on how many rows come at a time.
    """

    def __init__(self, unit: int) -> None:
        """Begin a map.

        Args:
            unit: Pixels that an object must have to stay.
        """
        self._unit, self._end = unit, 0
        self._objects, self._bottom_W = _no_objects(), np.zeros(0, np.int64)
        # Objects have names for all of the map: of those that are remembered, what became of each, and its class.
        self._names, self._became, self._classes = (np.zeros(0, np.int64) for _ in range(3))

    def add(self, classes_HW: Bytes, costs_KHW: Bytes, top: int) -> Ints:
        """Take the next rows.

        Args:
            classes_HW: Classes 0 to 18, or 255 without data, uint8; as wide as all of the map.
            costs_KHW: Surprisals of the classes, uint8 (19, H, W); anything without data.
            top: Rows of the map above. What lies in rows that were never added is taken to have no data.

        Returns:
            What `classes` turns into the map of these rows, int64 (H, W).
        """
        found, numbers_HW = find_objects(classes_HW, costs_KHW, top)
        inside_HW = numbers_HW != NO_OBJECT
        found.growing_N[numbers_HW[-1][inside_HW[-1]]] = True
        numbers_HW[inside_HW] += len(self._objects)
        goes_on = top == self._end and len(self._bottom_W)
        seam_P2 = touching(self._bottom_W, numbers_HW[0]) if goes_on else np.zeros((0, 2), np.int64)
        numbers_N = self._advance(found, seam_P2)
        numbers_HW[inside_HW] = numbers_N[numbers_HW[inside_HW]]
        names_HW = numbers_HW.copy()
        names_HW[inside_HW] = self._names[numbers_HW[inside_HW]]
        self._end = top + len(classes_HW)
        self._forget(numbers_HW[-1])
        return names_HW

    def finish(self) -> None:
        """Say that no rows follow."""
        self._advance(_no_objects(), np.zeros((0, 2), np.int64))
        self._forget(np.zeros(0, np.int64))
        while not np.array_equal(self._became, further := self._became[self._became]):
            self._became = further

    def classes(self, names_HW: Ints) -> Bytes:
        """The map of some rows, uint8, 255 without data, once it is finished.

        Args:
            names_HW: What `add` has returned.
        """
        inside_HW = names_HW != NO_OBJECT
        classes_HW = np.full(names_HW.shape, IGNORE_INDEX, np.uint8)
        classes_HW[inside_HW] = self._classes[self._became[names_HW[inside_HW]]]
        return classes_HW

    def _advance(self, found: Objects, seam_P2: Ints) -> Ints:
        """Merge what is remembered and what was found, as far as possible.

        Args:
            found: The objects of the new rows.
            seam_P2: Which objects touch across the seam; those of the new rows are numbered after the others.

        Returns:
            The new number of each object.
        """
        old, known = self._objects, len(self._objects)
        # What goes on is grown by what it is joined with.
        old.growing_N[:] = False
        whole = Objects(
            np.concatenate([old.classes_N, found.classes_N]),
            np.concatenate([old.pixels_N, found.pixels_N]),
            np.concatenate([old.first_N, found.first_N]),
            np.concatenate([old.costs_NK, found.costs_NK]),
            np.concatenate([old.growing_N, found.growing_N]),
            np.concatenate([old.pairs_P2, found.pairs_P2 + known, seam_P2]),
        )
        one_P, other_P = whole.classes_N[seam_P2].T
        self._objects, numbers_N = merged(whole, self._unit, seam_P2[one_P == other_P])
        names_N = np.full(len(self._objects), _NEW)
        np.minimum.at(names_N, numbers_N[:known], self._names)
        fresh_N = names_N == _NEW
        names_N[fresh_N] = len(self._became) + np.arange(fresh_N.sum())
        self._became[self._names] = names_N[numbers_N[:known]]
        self._became = np.concatenate([self._became, names_N[fresh_N]])
        self._classes = np.concatenate([self._classes, np.zeros(fresh_N.sum(), np.int64)])
        self._classes[names_N] = self._objects.classes_N
        self._names = names_N
        return numbers_N

    def _forget(self, bottom_W: Ints) -> None:
        """Keep the objects only that anything may happen to; `bottom_W` are the numbers in the last row."""
        objects = self._objects
        kept_N = objects.growing_N.copy()
        kept_N[objects.pairs_P2] = True
        numbers_N = np.cumsum(kept_N) - 1
        self._objects = Objects(
            objects.classes_N[kept_N],
            objects.pixels_N[kept_N],
            objects.first_N[kept_N],
            objects.costs_NK[kept_N],
            objects.growing_N[kept_N],
            numbers_N[objects.pairs_P2],
        )
        self._names = self._names[kept_N]
        self._bottom_W = np.full_like(bottom_W, NO_OBJECT)
        inside_W = bottom_W != NO_OBJECT
        self._bottom_W[inside_W] = numbers_N[bottom_W[inside_W]]


def generalised(classes_HW: Bytes, costs_KHW: Bytes, unit: int, *, cut: bool) -> Bytes:
    """A class map brought to a minimum mapping unit, uint8 (H, W).

    Pixels without data keep 255. Of the others every one belongs to an object of at least the unit, except where an
    object has no neighbour. No class appears that was not there.

    Args:
        classes_HW: Classes 0 to 18, or 255 without data, uint8.
        costs_KHW: Surprisals of the classes, uint8 (19, H, W), see `seg.generalise.surprisal`.
        unit: Pixels that an object must have to stay.
        cut: The map was cut out of a larger one, so objects at its edge are larger than they seem: they stay.
    """
    objects, numbers_HW = find_objects(classes_HW, costs_KHW, 0)
    inside_HW = numbers_HW != NO_OBJECT
    if cut:
        edge_HW = inside_HW.copy()
        edge_HW[1:-1, 1:-1] = False
        objects.pixels_N[numbers_HW[edge_HW]] = unit
    rest, numbers_N = merged(objects, unit)
    classes_HW = classes_HW.copy()
    classes_HW[inside_HW] = rest.classes_N[numbers_N[numbers_HW[inside_HW]]]
    return classes_HW


def _no_objects() -> Objects:
    nothing = np.zeros(0, np.int64)
    return Objects(
        nothing,
        nothing,
        nothing,
        np.zeros((0, NUM_CLASSES), np.int64),
        np.zeros(0, np.bool_),
        np.zeros((0, 2), np.int64),
    )
