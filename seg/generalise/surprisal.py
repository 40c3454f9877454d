"""How little a network expects each class: what decides into which neighbour a small object is merged.

Surprisals are negative logarithms of probabilities. Their sum over the pixels of an object is smallest for the class
that all of them have most probably, each taken by itself. Unlike sums of probabilities they put classes in the same
order whatever temperature the logits are divided by, but for rounding. They are integers, so that sums depend on no
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seg.reben.classes import IGNORE_INDEX

if TYPE_CHECKING:
    from torch import Tensor

PER_NAT = 16
"""Steps of a unit of the natural logarithm. The largest value, 254, stands for probabilities below 1.3e-7."""
_LARGEST = IGNORE_INDEX - 1


def surprisals(logarithms: Tensor) -> Tensor:
    """Surprisals of logarithms of probabilities, uint8, 0 to 254, of the same shape.

    Args:
        logarithms: Natural, float32, 0 or less; minus infinity is taken.
    """
    return (logarithms * -PER_NAT).round_().clamp_(0, _LARGEST).byte()


def surprisals_of_array(logarithms: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same of an array of NumPy."""
    return np.clip(np.rint(logarithms * np.float32(-PER_NAT)), 0, _LARGEST).astype(np.uint8)
