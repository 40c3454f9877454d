"""Images pixel by pixel: of bands, of classes, and as data URIs for an HTML page."""

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.image import imsave

from seg.figures.style import PALETTE, RIGHT, UNLABELLED, WRONG
from seg.reben.classes import IGNORE_INDEX

LIMITS = {"B04": 2050, "B03": 1800, "B02": 1600}
"""DN that are shown at full brightness, red first: rounded 98th percentiles of 80 patches of the test split."""
_GAMMA = 1.8
_VV_LIMITS = (-25.0, 0.0)
"""Backscatter in dB that is shown black and white."""
_MARKS = np.array([UNLABELLED, WRONG, RIGHT], dtype=np.uint8)


def true_colour(bands: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8] | None:
    """``255 * clip(DN / limit, 0, 1) ** (1 / 1.8)`` of red, green and blue; fixed limits, so that neighbours match.

    Args:
        bands: DN by band, height x width.

    Returns:
        uint8, height x width x 3; None without these bands.
    """
    if not LIMITS.keys() <= bands.keys():
        return None
    dn_HW3 = np.stack([bands[band] for band in LIMITS], axis=-1).astype(np.float32)
    share_HW3 = np.clip(dn_HW3 / np.array(list(LIMITS.values()), dtype=np.float32), 0, 1) ** (1 / _GAMMA)
    return np.rint(255 * share_HW3).astype(np.uint8)


def backscatter(bands: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8] | None:
    """VV, dB, as grey: uint8, height x width; None without it."""
    low, high = _VV_LIMITS
    return np.rint(255 * np.clip((bands["VV"] - low) / (high - low), 0, 1)).astype(np.uint8) if "VV" in bands else None


def class_image(classes_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A class map in the official colours, grey where unlabelled: uint8, height x width x 3."""
    image: npt.NDArray[np.uint8] = PALETTE[classes_HW]
    return image


def agreement_image(reference_HW: npt.NDArray[np.uint8], predicted_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Where two class maps agree: uint8, height x width x 3 in the colours of `RIGHT`, `WRONG` and `UNLABELLED`."""
    compared_HW = (reference_HW != IGNORE_INDEX) & (predicted_HW != IGNORE_INDEX)
    image: npt.NDArray[np.uint8] = _MARKS[compared_HW.astype(np.uint8) + (compared_HW & (reference_HW == predicted_HW))]
    return image


def png_uri(image: npt.NDArray[np.uint8]) -> str:
    """An image as a PNG data URI; the same image always gives the same text.

    Args:
        image: uint8, height x width (grey) or height x width x 3.
    """
    buffer = BytesIO()
    rgb_HW3 = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
    without_version: dict[str, Any] = {"Software": None}
    imsave(buffer, rgb_HW3, format="png", metadata=without_version)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
