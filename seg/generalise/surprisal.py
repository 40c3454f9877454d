"""How little a network expects each class: what decides into which neighbour a small object is merged.

Surprisals are negative logarithms of probabilities. Their sum over the pixels of an object is smallest for the class
that all of them have most probably, each taken by itself. Unlike sums of probabilities they put classes in the same
order whatever temperature the logits are divided by, but for rounding. They are integers, so that sums depend on no
order.
"""

from torch import Tensor

from seg.reben.classes import IGNORE_INDEX

PER_NAT = 16
"""Steps of a unit of the natural logarithm. The largest value, 254, stands for probabilities below 1.3e-7."""
_LARGEST = IGNORE_INDEX - 1


def surprisals(logarithms: Tensor) -> Tensor:
    """Surprisals of logarithms of probabilities, uint8, 0 to 254, of the same shape.

    Args:
        logarithms: Natural, float32, 0 or less; minus infinity is taken.
    """
    return (logarithms * -PER_NAT).round_().clamp_(0, _LARGEST).byte()
