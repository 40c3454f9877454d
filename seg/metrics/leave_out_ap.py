"""Average precision of a set of patches without each of its groups at once."""

import numpy as np
import numpy.typing as npt

from seg.metrics.ratio import Bools, Floats, ratio
from seg.metrics.scene import Probabilities

CELLS_AT_ONCE = 1 << 20
"""Thresholds times groups that are worked on together: 8 MB per array."""


def average_precision_without_each(
    scores_N: Probabilities, positive_N: Bools, group_N: npt.NDArray[np.int64], groups: int
) -> Floats:
    """`seg.metrics.scene.average_precision` of all patches, then of those outside each group in turn.

    Patches are ranked once. Only thresholds at the score of a positive add to average precision: from one such level
    down to the next, the patches in between are decided. Without a group, what it had decided by then is taken off.
    These are sums of integers, exact in int64.

    Args:
        scores_N: The higher, the more likely.
        positive_N: bool, which are positive.
        group_N: Group of each patch, 0 to G - 1.
        groups: Number G of groups.

    Returns:
        float64 (1 + G,), 0 to 1; NaN where no positive is left.
    """
    assert len(scores_N) == len(positive_N) == len(group_N), "one score, label and group per patch"
    levels = np.unique(scores_N[positive_N])
    # The first level from the top that a patch reaches; those that reach none come last and are never looked at.
    level_N = len(levels) - np.searchsorted(levels, scores_N, side="right")
    ranked = np.argsort(level_N, kind="stable")
    bounds = np.searchsorted(level_N[ranked], np.arange(len(levels) + 1))
    decided_G, hits_G = np.zeros((2, groups), np.int64)
    summed_R = np.zeros(1 + groups)
    at_once = max(1, CELLS_AT_ONCE // max(groups, 1))
    for first in range(0, len(levels), at_once):
        number = min(at_once, len(levels) - first)
        rows = ranked[bounds[first] : bounds[first + number]]
        cells = group_N[rows] * number + level_N[rows] - first
        decided_GL = _counted(cells, groups, number).cumsum(axis=1) + decided_G[:, None]
        gained_GL = _counted(cells[positive_N[rows]], groups, number)
        hits_GL = gained_GL.cumsum(axis=1) + hits_G[:, None]
        decided_G, hits_G = decided_GL[:, -1], hits_GL[:, -1]
        decided_L, gained_L, hits_L = (array.sum(axis=0) for array in (decided_GL, gained_GL, hits_GL))
        summed_R[0] += (gained_L * (hits_L / decided_L)).sum()
        # Where nothing is decided nothing is hit, so that it does not matter what 0 is divided by.
        precision_GL = (hits_L - hits_GL) / np.maximum(decided_L - decided_GL, 1)
        summed_R[1:] += np.einsum("gl,gl->g", gained_L - gained_GL, precision_GL)
    hits_R = np.concatenate([[hits_G.sum()], hits_G.sum() - hits_G])
    return ratio(summed_R, hits_R, hits_R > 0)


def _counted(cells: npt.NDArray[np.int64], groups: int, levels: int) -> npt.NDArray[np.int64]:
    """How many patches each group has at each level: int64 (G, L)."""
    return np.bincount(cells, minlength=groups * levels).reshape(groups, levels)
