"""What is taken for what: the largest cells of the confusion counts, and the counts as shares of the true class."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg.metrics.ratio import Floats, ratio


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """Pixels of one class that were predicted as another.

    Attributes:
        true: Class of the reference.
        predicted: Class of the prediction, another one.
        pixels: How many, greater than 0.
        share_of_true: Share of the reference pixels of the true class, 0 to 1.
        share_of_errors: Share of all wrong pixels, 0 to 1.
    """

    true: int
    predicted: int
    pixels: int
    share_of_true: float
    share_of_errors: float


def most_confused(counts_KK: npt.NDArray[np.int64], most: int = 15) -> tuple[ConfusedPair, ...]:
    """The pairs of classes that cost the most pixels, the most frequent first, in the order of the classes if equal.

    Args:
        counts_KK: int64 (K, K), true x predicted.
        most: Largest number of pairs; pairs without a pixel are left out.
    """
    wrong_KK = _checked(counts_KK).copy()
    np.fill_diagonal(wrong_KK, 0)
    errors, reference = int(wrong_KK.sum()), counts_KK.sum(axis=1)
    ranked = np.argsort(-wrong_KK, axis=None, kind="stable")[: min(most, np.count_nonzero(wrong_KK))]
    pairs = []
    for true, predicted in zip(*(axis.tolist() for axis in np.unravel_index(ranked, wrong_KK.shape)), strict=True):
        pixels = int(wrong_KK[true, predicted])
        pairs.append(ConfusedPair(true, predicted, pixels, pixels / int(reference[true]), pixels / errors))
    return tuple(pairs)


def normalised(counts_KK: npt.NDArray[np.int64]) -> Floats:
    """Confusion counts as shares of the true class.

    Args:
        counts_KK: int64 (K, K), true x predicted.

    Returns:
        float64 (K, K); each row sums to 1, and is NaN where the class is absent from the reference.
    """
    reference_KK = np.broadcast_to(_checked(counts_KK).sum(axis=1, keepdims=True), counts_KK.shape)
    return ratio(counts_KK, reference_KK, reference_KK > 0)


def _checked(counts_KK: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    assert counts_KK.ndim == 2, f"expected (K, K), got {counts_KK.shape}"
    assert counts_KK.shape[0] == counts_KK.shape[1], f"expected (K, K), got {counts_KK.shape}"
    assert counts_KK.dtype == np.int64, f"counts are int64, not {counts_KK.dtype}"
    return counts_KK
