"""Average precision of many resamples of the same patches at once."""

import numpy as np
import numpy.typing as npt

from seg.metrics.ratio import Bools, Floats, ratio
from seg.metrics.scene import Probabilities
from seg.metrics.sparse import Counts, offsets_of

LEVELS_AT_ONCE = 128
"""Thresholds that are worked on together: 1 MB per thousand resamples and array, which the cache of a core holds."""


def resampled_average_precision(
    scores_N: Probabilities, positive_N: Bools, group_N: npt.NDArray[np.int64], times_RG: Counts
) -> Floats:
    """`seg.metrics.scene.average_precision` of resamples that take whole groups of patches, each some times.

    Patches are ranked once for all resamples. Only thresholds at the score of a positive add to average precision:
    from one such level down to the next, each resample gains the patches in between as often as it takes their
    groups. These are sums of integers, exact in float64.

    Args:
        scores_N: The higher, the more likely.
        positive_N: bool, which are positive.
        group_N: Group of each patch, 0 to G - 1.
        times_RG: How often each of R resamples takes each group, int64, not negative.

    Returns:
        float64 (R,), 0 to 1; NaN for a resample without a positive.
    """
    assert len(scores_N) == len(positive_N) == len(group_N), "one score, label and group per patch"
    levels = np.unique(scores_N[positive_N])
    # The first level from the top that a patch reaches; those that reach none come last and are never looked at.
    level_N = len(levels) - np.searchsorted(levels, scores_N, side="right")
    ranked = np.argsort(level_N, kind="stable")
    bounds = np.searchsorted(level_N[ranked], np.arange(len(levels) + 1))
    times_GR = np.ascontiguousarray(times_RG.T, dtype=np.float64)
    decided_R, hits_R, summed_R = np.zeros((3, len(times_RG)))
    hits_LR = np.empty((LEVELS_AT_ONCE, len(times_RG)))
    for first in range(0, len(levels), LEVELS_AT_ONCE):
        number = min(LEVELS_AT_ONCE, len(levels) - first)
        rows = ranked[bounds[first] : bounds[first + number]]
        positive = rows[positive_N[rows]]
        decided_LR = _taken(level_N[rows] - first, group_N[rows], number, times_GR)
        gained_LR = _taken(level_N[positive] - first, group_N[positive], number, times_GR)
        # Row by row, because NumPy's cumulative sum down the columns is slower than all the rest together.
        for i in range(number):
            decided_R = np.add(decided_R, decided_LR[i], out=decided_LR[i])
            hits_R = np.add(hits_R, gained_LR[i], out=hits_LR[i])
        decided_R, hits_R = decided_R.copy(), hits_R.copy()
        # Where nothing is decided nothing is hit, so that it does not matter what 0 is divided by.
        np.maximum(decided_LR, 1, out=decided_LR)
        precision_LR = np.divide(hits_LR[:number], decided_LR, out=hits_LR[:number])
        summed_R += np.einsum("lr,lr->r", gained_LR, precision_LR)
    return ratio(summed_R, hits_R.astype(np.int64), hits_R > 0)


def _taken(level_P: npt.NDArray[np.int64], group_P: npt.NDArray[np.int64], levels: int, times_GR: Floats) -> Floats:
    """How many patches of each level each resample takes, float64 (L, R); the patches are sorted by level."""
    from scipy.sparse import csr_array  # slow to import, and needed for no other score

    offsets = offsets_of(np.bincount(level_P, minlength=levels))
    taken: Floats = csr_array((np.ones(len(group_P)), group_P, offsets), shape=(levels, len(times_GR))) @ times_GR
    return taken
