"""Weights of classes from how often they occur."""

import numpy as np
import numpy.typing as npt

from seg.config.loss import Balance
from seg.reben.bands import PATCH_SIZE

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def class_weights(pixels_K: Counts, balance: Balance, beta: float) -> Floats:
    """Weight of each class in a pixel loss.

    ``inverse`` is 1 / n. ``effective`` is (1 - beta) / (1 - beta^n), the inverse of the effective number of samples of
    Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019. Neighbouring pixels tell nearly
    the same, so n counts pixels in units of a whole patch.

    Args:
        pixels_K: Labelled pixels of each class.
        balance: How to weigh.
        beta: 0 to below 1; for ``effective``.

    Returns:
        float64, with a mean of 1 over the classes that occur; 0 for a class that does not.
    """
    present = pixels_K > 0
    weights_K: Floats = np.where(present, _inverse(pixels_K / PATCH_SIZE**2, present, balance, beta), 0.0)
    return weights_K / weights_K[present].mean() if present.any() else weights_K


def positive_weights(positives_K: Counts, patches: int, balance: Balance, beta: float) -> Floats:
    """Weight of the positives of each class in a scene loss, its negatives having weight 1.

    Args:
        positives_K: Patches with each label.
        patches: All patches.
        balance: ``inverse`` gives negatives / positives; ``effective`` the same of effective numbers.
        beta: 0 to below 1; for ``effective``.

    Returns:
        float64, above 0; 1 for a class of which there is no positive to weigh.
    """
    present = positives_K > 0
    # A class that every patch has would otherwise have positives of weight 0, and nothing to learn from.
    negatives_K = np.maximum(patches - positives_K, 1)
    of_positives = _inverse(positives_K, present, balance, beta)
    of_negatives = _inverse(negatives_K, np.ones_like(present), balance, beta)
    return np.where(present, of_positives / of_negatives, 1.0)


def _inverse(numbers_K: Floats | Counts, present_K: npt.NDArray[np.bool_], balance: Balance, beta: float) -> Floats:
    """One over the number or the effective number of each class; what it is for an absent class does not matter."""
    safe_K = np.where(present_K, numbers_K, 1).astype(np.float64)
    if balance == "inverse":
        return 1 / safe_K
    if balance == "none" or beta == 0:
        return np.ones(len(safe_K))
    # expm1 keeps the digits where beta^n is nearly 1.
    effective_K: Floats = -np.expm1(safe_K * np.log(beta)) / (1 - beta)
    return 1 / effective_K
