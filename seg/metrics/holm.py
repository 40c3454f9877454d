"""Tests that are done together: p-values after Holm."""

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, so that those below a level err together no more often than that level.

    Holm (1979), "A simple sequentially rejective multiple test procedure"; holds whatever the tests have to do with
    each other.

    Args:
        p_values: 0 to 1; NaN where there is no test, which then does not count.

    Returns:
        In the same order, NaN where they were.
    """
    tests = [position for position, p in enumerate(p_values) if not math.isnan(p)]
    adjusted = [math.nan] * len(p_values)
    least = 0.0
    for rank, position in enumerate(sorted(tests, key=lambda position: p_values[position])):
        least = max(least, min(1.0, (len(tests) - rank) * p_values[position]))
        adjusted[position] = least
    return adjusted
