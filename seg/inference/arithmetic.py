"""What a scene needs of the arrays in which it is computed: those of torch on any device, or NumPy's without torch.

Whoever lays windows, blends and crops does so once, for both. Slices, indices, comparisons and in-place operators are
written alike in the two; what is not stands here.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seg.data.transforms import Resampling
from seg.rasters.layer import Array

Values = Any
"""An array where the arithmetic is done: a tensor on the device, or an array of NumPy."""


class Arithmetic(Protocol):
    """Arrays, and what is done with them."""

    def guarded(self, cure: str) -> AbstractContextManager[None]:
        """Around all work; memory that runs out is an `OutOfMemoryError` with this cure."""

    def empty(self, shape: Sequence[int], windows: bool = False) -> Values:
        """float32 that is not filled; as ``windows`` in the formats that the network is shown."""

    def flags(self, shape: Sequence[int]) -> Values:
        """Flags that are not set yet."""

    def of(self, array: npt.NDArray[Any]) -> Values:
        """An array of NumPy, bool, int64 or float32."""

    def host(self, values: Values) -> npt.NDArray[Any]:
        """Values as an array of NumPy."""

    def copy(self, values: Values) -> Values:
        """A copy."""

    def fill(self, values: Values, where: Values, value: float) -> Values:
        """The values, set to one value in place wherever a flag is set."""

    def stored(self, values: Array) -> Values:
        """Stored values as float32 that may be changed, good until the next ones of this shape or a larger one."""

    def resampled(self, coarse_HW: Values, factor: int, how: Resampling) -> Values:
        """A band at 10 m, good until the next one; edges of pixels aligned, as `seg.data.transforms` has them."""

    def any_of(self, flags_HW: Values, factor: int) -> Values:
        """Whether any 10 m pixel of each coarse pixel has its flag set."""

    def moved(self, images_BCHW: Values, number: int) -> Values:
        """Images under a symmetry of `seg.data.symmetry.SYMMETRIES`."""

    def moved_back(self, maps_BKHW: Values, number: int) -> Values:
        """Maps of images that were moved, as they were before."""

    def add_weighted(self, target_KHW: Values, shares_KHW: Values, weights: tuple[Values, Values]) -> None:
        """Add shares in place, times the weights of their rows and of their columns."""

    def highest(self, shares_KHW: Values) -> tuple[Values, Values]:
        """The largest share of each pixel, and its class, uint8."""

    def entropy(self, shares_KHW: Values) -> Values:
        """Of the shares of each pixel, as a share of its largest value."""

    def levels(self, shares: Values, outside: Values) -> npt.NDArray[np.uint8]:
        """Shares times `SHARE_SCALE`, 255 outside."""

    def surprisals(self, shares_KHW: Values) -> Values:
        """See `seg.generalise.surprisal`, uint8."""


class Network(Protocol):
    """A network, from normalised bands to probabilities."""

    @property
    def arithmetic(self) -> Arithmetic:
        """The arrays that it takes and gives."""

    @property
    def context(self) -> int:
        """Pixels around what is mapped that it looks at."""

    def shares(self, images_BCHW: Values, used: tuple[slice, slice]) -> Values:
        """Class probabilities, calibrated.

        Args:
            images_BCHW: Normalised bands, from ``arithmetic.empty(..., windows=True)``.
            used: Rows and columns that are needed.

        Returns:
            float32 (B, K, rows, columns), good until the next call.
        """

    def scene_shares(self, images_BCHW: Values) -> npt.NDArray[np.float32]:
        """Probability that each class occurs, float32 (B, K), of a network with a scene head."""
