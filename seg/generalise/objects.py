"""The objects of a class map: areas of one class that hang together, and which of them touch.

Pixels hang together along their edges. Areas that meet in a corner alone are two polygons, as in CORINE's vector maps.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

NO_OBJECT = -1
"""Number of the object of a pixel without data."""


@dataclass(frozen=True, eq=False)
class Objects:
    """Some objects, numbered from 0.

    Attributes:
        classes_N: Class of each, int64, 0 to 18.
        pixels_N: Its size, int64.
        first_N: Its first pixel in the order of the whole map, row by row, int64.
        costs_NK: Surprisals of each class, summed over its pixels, int64; see `seg.generalise.surprisal`.
        growing_N: Whether more of it may be found, bool.
        pairs_P2: Objects of different classes that touch, int64, each pair at least once.
    """

    classes_N: Ints
    pixels_N: Ints
    first_N: Ints
    costs_NK: Ints
    growing_N: npt.NDArray[np.bool_]
    pairs_P2: Ints

    def __len__(self) -> int:
        return len(self.classes_N)


def number_objects(classes_HW: Bytes, nodata: bool = False) -> tuple[Ints, Ints]:
    """Number the objects of some rows of a map.

    Args:
        classes_HW: Classes 0 to 18, or 255 without data, uint8.
        nodata: Whether areas without data are objects too, numbered after the others.

    Returns:
        The number of each pixel, int64 (H, W), `NO_OBJECT` where there is none, and the class of each object, int64.
    """
    # Pixels of one class side by side are runs; runs of two rows hang together where one of them begins above or below
    # the other. So what is to be linked are runs, not pixels, and all classes at once.
    begins_HW = np.ones(classes_HW.shape, np.bool_)
    np.not_equal(classes_HW[:, 1:], classes_HW[:, :-1], out=begins_HW[:, 1:])
    first_R, run_HW = np.flatnonzero(begins_HW), np.cumsum(begins_HW, dtype=np.int32).reshape(begins_HW.shape) - 1
    linked_HW = (classes_HW[1:] == classes_HW[:-1]) & (begins_HW[1:] | begins_HW[:-1])
    links = coo_array(
        (np.ones(linked_HW.sum(), np.bool_), (run_HW[1:][linked_HW], run_HW[:-1][linked_HW])), (len(first_R),) * 2
    )
    count, object_R = connected_components(links, directed=False)
    class_R = classes_HW.ravel()[first_R]
    class_N = np.empty(count, np.int64)
    class_N[object_R] = class_R
    # By class; of one class in the order of their first pixels, as they were found.
    order_N = np.argsort(class_N, kind="stable")
    number_N = np.empty(count, np.int64)
    number_N[order_N] = np.arange(count)
    number_R, class_N = number_N[object_R], class_N[order_N]
    if not nodata:
        number_R[class_R == IGNORE_INDEX] = NO_OBJECT
        class_N = class_N[class_N != IGNORE_INDEX]
    numbers_HW: Ints = np.repeat(number_R, np.diff(first_R, append=classes_HW.size)).reshape(classes_HW.shape)
    return numbers_HW, class_N


def find_objects(classes_HW: Bytes, costs_KHW: Bytes, top: int) -> tuple[Objects, Ints]:
    """The objects of some rows of a map, and the number of that of each pixel.

    Args:
        classes_HW: Classes 0 to 18, or 255 without data, uint8.
        costs_KHW: Surprisals, uint8; anything without data.
        top: Rows of the map above.

    Returns:
        The objects, of which none is taken to grow, and numbers, int64 (H, W), `NO_OBJECT` without data.
    """
    numbers_HW, classes_N = number_objects(classes_HW)
    inside_HW = classes_HW != IGNORE_INDEX
    places = np.flatnonzero(inside_HW)
    numbers = numbers_HW.ravel()[places]
    count = len(classes_N)
    first_N = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first_N, numbers, places + top * classes_HW.shape[1])
    costs_NK = np.empty((count, NUM_CLASSES), np.int64)
    for k in range(NUM_CLASSES):
        # Sums of integers below 2 ** 53 are exact in float64.
        costs_NK[:, k] = np.bincount(numbers, costs_KHW[k].ravel()[places], minlength=count)
    objects = Objects(
        classes_N=classes_N,
        pixels_N=np.bincount(numbers, minlength=count),
        first_N=first_N,
        costs_NK=costs_NK,
        growing_N=np.zeros(count, np.bool_),
        pairs_P2=np.concatenate(
            [touching(numbers_HW[:, :-1], numbers_HW[:, 1:]), touching(numbers_HW[:-1], numbers_HW[1:])]
        ),
    )
    return objects, numbers_HW


def touching(one_HW: Ints, other_HW: Ints) -> Ints:
    """The different pairs of objects of pixels that lie side by side, int64 (P, 2), each once.

    Args:
        one_HW, other_HW: Numbers of objects, `NO_OBJECT` without data.
    """
    side_by_side = (one_HW != other_HW) & (one_HW != NO_OBJECT) & (other_HW != NO_OBJECT)
    return each_once(np.stack([one_HW[side_by_side], other_HW[side_by_side]], axis=1))


def each_once(pairs_P2: Ints) -> Ints:
    """Pairs of two objects, each once, whatever the order in which the two are named."""
    low_P, high_P = np.minimum(*pairs_P2.T), np.maximum(*pairs_P2.T)
    size = int(high_P.max(initial=0)) + 1
    keys = np.sort((low_P * size + high_P)[low_P != high_P])
    # Faster than the hashing of np.unique by a factor of ten.
    keys = keys[np.diff(keys, prepend=-1) > 0]
    return np.stack([keys // size, keys % size], axis=1)
