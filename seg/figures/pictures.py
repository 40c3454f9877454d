"""Images as data URIs for an HTML page, pixel by pixel."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.image import imsave

from seg.figures.style import PALETTE, RIGHT, UNLABELLED, WRONG
from seg.reben.classes import IGNORE_INDEX

_MARKS = np.array([UNLABELLED, WRONG, RIGHT], dtype=np.uint8)


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
    imsave(buffer, rgb_HW3, format="png", metadata=without_version, pil_kwargs={"compress_level": 9})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
