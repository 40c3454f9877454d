"""The eight ways in which a square falls onto itself, and how augmentation draws from them."""

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate

import cv2
import numpy as np
import numpy.typing as npt
import xxhash

from seg.config.sections import Augmentation
from seg.errors import WrongUseError
from seg.store.tensors import Array

SYMMETRIES = 8
"""Ways in which a square falls onto itself. Number s: transposed if s & 4, then upside down if s & 2, then mirrored if
s & 1."""
_FLIP = (None, 1, 0, -1)
"""OpenCV's code of each flip."""
_TAKEN = (np.uint8, np.uint16, np.int16, np.float32)
"""What reBEN holds of the types that OpenCV takes; others become float64."""
_TURNS = (0, 6, 3, 5)
"""No, one, two and three quarter turns."""
_NAMED = {
    "HorizontalFlip": ((1,), 0.5),
    "VerticalFlip": ((2,), 0.5),
    "Transpose": ((4,), 0.5),
    "RandomRotate90": (_TURNS, 1.0),
    "D4": (range(SYMMETRIES), 1.0),
    "SquareSymmetry": (range(SYMMETRIES), 1.0),
    "NoOp": ((0,), 1.0),
}
"""What each of these transforms of albumentations draws from, all alike, and its default ``p``: how often it does."""


def symmetric_pixels(size: int) -> npt.NDArray[np.int64]:
    """Where the pixels of a square come from under each symmetry: (`SYMMETRIES`, size x size), row by row."""
    pixels_HW = np.arange(size * size).reshape(size, size)
    sources = np.empty((SYMMETRIES, size * size), np.int64)
    for number in range(SYMMETRIES):
        moved_HW = pixels_HW.T if number & 4 else pixels_HW
        moved_HW = moved_HW[::-1] if number & 2 else moved_HW
        moved_HW = moved_HW[:, ::-1] if number & 1 else moved_HW
        sources[number] = moved_HW.ravel()
    return sources


def moved(array_HW: Array, number: int) -> Array:
    """A square array under a symmetry: a copy, or the array itself under 0. NumPy would take ten times as long."""
    if number and array_HW.dtype not in _TAKEN:
        array_HW = array_HW.astype(np.float64)
    if number & 4:
        array_HW = cv2.transpose(array_HW)
    flip = _FLIP[number & 3]
    return array_HW if flip is None else cv2.flip(array_HW, flip)


def moves_pixels_only(transforms: Sequence[Augmentation]) -> bool:
    """Whether augmentation does nothing but flip, transpose and turn patches by quarters."""
    return all(name in _NAMED for entry in transforms for name in entry)


class Symmetries:
    """Draws symmetries as a series of transforms would: the chances of the eight are known beforehand.

    Args:
        transforms: Name and parameters of each, in order; `moves_pixels_only` holds.

    Raises:
        WrongUseError: If a transform has another parameter than ``p``, or that is no probability.

    Attributes:
        chances: Of each symmetry.
    """

    def __init__(self, transforms: Sequence[Augmentation]) -> None:
        after = _after()
        self.chances = np.eye(SYMMETRIES)[0]
        for name, parameters in (pair for entry in transforms for pair in entry.items()):
            numbers, default = _NAMED[name]
            often = _often(name, dict(parameters or {"p": default}))
            drawn = np.zeros(SYMMETRIES)
            for number in numbers:
                np.add.at(drawn, after[:, number], self.chances / len(numbers))
            self.chances = (1 - often) * self.chances + often * drawn
        self._ends = list(accumulate(self.chances))[:-1]

    def draw(self, seed: Sequence[int]) -> int:
        """The symmetry that belongs to a seed, and to nothing else."""
        return bisect(self._ends, xxhash.xxh3_64_intdigest(repr(tuple(seed)).encode()) / 2**64)


def _often(name: str, parameters: dict[str, object]) -> float:
    often = parameters.pop("p", None)
    if parameters or isinstance(often, bool) or not isinstance(often, int | float) or not 0 <= often <= 1:
        raise WrongUseError(f"{name} refuses its parameters: it takes p alone, a probability from 0 to 1")
    return float(often)


def _after() -> npt.NDArray[np.int64]:
    """The symmetry that two make, the second of which comes after the first: (first, second)."""
    sources = symmetric_pixels(3)
    numbers = {pixels.tobytes(): number for number, pixels in enumerate(sources)}
    return np.array([[numbers[first[second].tobytes()] for second in sources] for first in sources])
