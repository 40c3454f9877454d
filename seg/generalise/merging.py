"""Objects below a minimum mapping unit are merged into neighbours, the smallest first.

An object takes the class of a neighbour: of the classes that touch it, the one under which all of its pixels together
are the least surprising, that is the most probable. It then is one with all its neighbours of that class.

Smallest first needs no queue. An object that precedes all of its neighbours keeps its sums and the classes around it
until it is merged, whatever else is merged before: nothing that touches it precedes it, and what others are merged
into only grows. So all such objects may be merged at once, some of them long before smaller ones elsewhere, and the
result is that of a queue. For the same reason a map may be looked at in parts.
"""

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from seg.generalise.objects import Ints, Objects, each_once
from seg.reben.classes import NUM_CLASSES

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""An odd number (2 ** 64 over the golden ratio): multiplying by it brings numbers into another order, each to its own
place. In the order of the rows objects of a size would have to wait for each other all across the map."""


_NO_PAIRS = np.zeros((0, 2), np.int64)


def merged(objects: Objects, unit: int, parts_P2: Ints = _NO_PAIRS) -> tuple[Objects, Ints]:
    """Merge the objects below a unit, as far as what is known of them suffices.

    Left below the unit are objects that grow, such as wait for these, and such as touch no other object.

    Args:
        objects: The objects.
        unit: Pixels that an object must have to stay.
        parts_P2: Pairs of a class that are parts of one object, int64.

    Returns:
        The objects that are left, and for each that was given the number of the one that it is part of, int64 (N,).
    """
    classes_N, pixels_N, first_N = objects.classes_N.copy(), objects.pixels_N.copy(), objects.first_N.copy()
    costs_NK, growing_N = objects.costs_NK.copy(), objects.growing_N.copy()
    became_N, pairs_P2 = np.arange(len(objects)), objects.pairs_P2
    one_P, other_P = parts_P2.T
    while True:
        moved, into = _joined(one_P, other_P)
        np.add.at(pixels_N, into, pixels_N[moved])
        np.add.at(costs_NK, into, costs_NK[moved])
        np.minimum.at(first_N, into, first_N[moved])
        np.logical_or.at(growing_N, into, growing_N[moved])
        became_N[moved] = into
        pairs_P2 = each_once(became_N[pairs_P2])
        # Between objects that are large enough nothing happens any more.
        pairs_P2 = pairs_P2[np.minimum(*pixels_N[pairs_P2].T) < unit]
        swapped_P = _precedes(pixels_N, first_N, pairs_P2[:, 1], pairs_P2[:, 0])
        before_P, after_P = np.where(swapped_P[:, None], pairs_P2[:, ::-1], pairs_P2).T
        ready_N = (pixels_N < unit) & ~growing_N
        ready_N[after_P] = False
        ready_P = ready_N[before_P]
        if not ready_P.any():
            break
        one_P, other_P = before_P[ready_P], after_P[ready_P]
        preferred_P = _preferred(costs_NK, one_P, classes_N[other_P])
        one_P, other_P = one_P[preferred_P], other_P[preferred_P]
        classes_N[one_P] = classes_N[other_P]
    while not np.array_equal(became_N, further_N := became_N[became_N]):
        became_N = further_N
    left = np.flatnonzero(became_N == np.arange(len(objects)))
    new_N = np.empty(len(objects), np.int64)
    new_N[left] = np.arange(len(left))
    rest = Objects(
        classes_N[left], pixels_N[left], first_N[left], costs_NK[left], growing_N[left], new_N[became_N[pairs_P2]]
    )
    return rest, new_N[became_N]


def _precedes(pixels_N: Ints, first_N: Ints, one_P: Ints, other_P: Ints) -> npt.NDArray[np.bool_]:
    """Whether an object is merged before another: the smaller one; of equal ones as their first pixels say."""
    one, other = (first_N[each].astype(np.uint64) * _SPREAD for each in (one_P, other_P))
    precedes: npt.NDArray[np.bool_] = (pixels_N[one_P] < pixels_N[other_P]) | (
        (pixels_N[one_P] == pixels_N[other_P]) & (one < other)
    )
    return precedes


def _preferred(costs_NK: Ints, one_P: Ints, classes_P: Ints) -> npt.NDArray[np.bool_]:
    """Of pairs of an object and the class of a neighbour, those with the class that is the least surprising.

    Of equal ones the first in the order of the classes.
    """
    keys_P = costs_NK[one_P, classes_P] * NUM_CLASSES + classes_P
    best_N = np.full(len(costs_NK), np.iinfo(np.int64).max)
    np.minimum.at(best_N, one_P, keys_P)
    preferred: npt.NDArray[np.bool_] = keys_P == best_N[one_P]
    return preferred


def _joined(one_P: Ints, other_P: Ints) -> tuple[Ints, Ints]:
    """What becomes of objects that are one in pairs: those that are taken up, and the one that takes each of them up.

    Args:
        one_P, other_P: The numbers of each pair.
    """
    if not len(one_P):
        return one_P, other_P
    numbers, places = np.unique(np.concatenate([one_P, other_P]), return_inverse=True)
    one, other = np.split(places.ravel(), 2)
    links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(len(numbers),) * 2)
    _, group = connected_components(links, directed=False)
    lowest = numbers[np.unique(group, return_index=True)[1]][group]
    moved = lowest != numbers
    return numbers[moved], lowest[moved]
