"""Which samples an epoch draws when rare classes are to be seen more often."""

import numpy as np
import numpy.typing as npt

from seg.store.index import BoolArray, Rows

Floats = npt.NDArray[np.float64]


def repeat_factors(labels_NK: BoolArray, share: float) -> Floats:
    """How often each sample is to come, relative to one that has no rare class.

    The repeat factor of Gupta et al., "LVIS: a dataset for large vocabulary instance segmentation", CVPR 2019: of a
    class, ``max(1, sqrt(share / f))`` with f the share of samples that have it; of a sample, the largest among its
    classes.

    Args:
        labels_NK: Multi-label of each sample.
        share: Share of samples below which a class is rare; the paper's t.

    Returns:
        float64 (N,), 1 or more.
    """
    shares_K = labels_NK.mean(axis=0) if len(labels_NK) else np.zeros(labels_NK.shape[1])
    factors_K = np.maximum(1, np.sqrt(share / np.where(shares_K > 0, shares_K, share)))
    factors_N: Floats = (labels_NK * factors_K).max(axis=1, initial=1.0)
    return factors_N


def draw(factors_N: Floats, random: np.random.Generator) -> Rows:
    """As many samples as there are, each in proportion to its factor.

    Systematic sampling in random order: sample i comes ``N * factor_i / sum`` times, rounded down or up at random so
    that it is right on average.

    Args:
        factors_N: Above 0.
        random: Decides the rounding.

    Returns:
        Positions in the order of the data set; repeated ones stand together.
    """
    count = len(factors_N)
    # In the order of the data set, it would be the same few choices again and again.
    places = random.permutation(count)
    ends_N = np.cumsum(factors_N[places])
    points_N = (np.arange(count) + random.random()) * (ends_N[-1] / count if count else 0)
    return np.sort(places[np.minimum(np.searchsorted(ends_N, points_N, side="right"), count - 1)])
