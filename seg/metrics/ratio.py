"""The one rule for what is undefined: a class without reference is NaN, never 0, and no mean counts it."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.integer[Any]]


def ratio(numerator: Integers | Floats, denominator: Integers, defined: Bools) -> Floats:
    """Element-wise quotient, NaN where it is undefined.

    Args:
        numerator: Counts, or sums of what was counted.
        denominator: Counts of the same shape.
        defined: False where the quotient has no meaning, whatever the counts say.

    Returns:
        float64 of that shape; NaN where `defined` is False or the denominator is 0.
    """
    quotient: Floats = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=defined & (denominator > 0))
    return quotient


def mean_of_defined(values: Floats) -> float:
    """Mean over the values that are not NaN; NaN if there are none."""
    return float(means_of_defined(values.ravel()))


def means_of_defined(values_XK: Floats) -> Floats:
    """Mean over the last axis of the values that are not NaN: float64 (X,); NaN where there are none."""
    defined = ~np.isnan(values_XK)
    number = defined.sum(axis=-1)
    return ratio(np.where(defined, values_XK, 0).sum(axis=-1), number, number > 0)
