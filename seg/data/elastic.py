"""Label-only elastic deformation: reference maps are pulled about, as polygons of CORINE lie off by tens of metres.

The image stays, so that training sees every border at many places around the drawn one.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from seg.reben.bands import PATCH_METRES, PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX

_PURPOSE = 0xE1A5
"""Tells these random numbers from others with the same seed."""
_FAR = 3.0
"""Standard deviations beyond which a random number pulls at no pixel."""


def pulled(mask_HW: npt.NDArray[np.uint8], metres: float, scale: float, seed: Sequence[int]) -> npt.NDArray[np.uint8]:
    """A class map under a random elastic deformation (Simard et al. 2003), with the nearest pixel's class.

    Args:
        mask_HW: Class indices of a patch, 255 where unlabelled.
        metres: Standard deviation of the displacement along each axis, the same at every pixel.
        scale: Standard deviation of the Gaussian that smooths the displacements, in metres.
        seed: What the deformation depends on, and nothing else.

    Returns:
        A new map; 255 where it is pulled in from outside of the patch.
    """
    size = PATCH_METRES / PATCH_SIZE
    y_HW, x_HW = displacements(scale / size, seed) * (metres / size)
    along = np.arange(PATCH_SIZE)
    rows_HW = np.rint(along[:, None] + y_HW).astype(np.int64)
    columns_HW = np.rint(along + x_HW).astype(np.int64)
    inside_HW = (np.minimum(rows_HW, columns_HW) >= 0) & (np.maximum(rows_HW, columns_HW) < PATCH_SIZE)
    last = PATCH_SIZE - 1
    found_HW = mask_HW[rows_HW.clip(0, last), columns_HW.clip(0, last)]
    return np.where(inside_HW, found_HW, np.uint8(IGNORE_INDEX))


def displacements(sigma: float, seed: Sequence[int]) -> npt.NDArray[np.float64]:
    """Smooth random fields over a patch, (2, 120, 120): normal numbers of variance 1 at every pixel.

    Those of two pixels d pixels apart correlate by ``exp(-d^2 / (4 sigma^2))``: white noise smoothed by a Gaussian.

    Args:
        sigma: Of the Gaussian, in pixels.
        seed: What they depend on.
    """
    weights_PN = _weights(sigma)
    noise_2NN = np.random.default_rng((_PURPOSE, *seed)).standard_normal((2, *weights_PN.shape[1:] * 2))
    return weights_PN @ noise_2NN @ weights_PN.T


@cache
def _weights(sigma: float) -> npt.NDArray[np.float64]:
    """Gaussian weights of random numbers half a sigma apart at each pixel of a row, (120, N); squares sum to 1."""
    spacing = max(sigma / 2, 1.0)
    beyond = math.ceil(_FAR * sigma / spacing)
    knots_N = spacing * np.arange(-beyond, math.ceil((PATCH_SIZE - 1) / spacing) + beyond + 1)
    weights_PN = np.exp(-(((np.arange(PATCH_SIZE)[:, None] - knots_N) / sigma) ** 2) / 2)
    result: npt.NDArray[np.float64] = weights_PN / np.sqrt((weights_PN**2).sum(1, keepdims=True))
    return result
