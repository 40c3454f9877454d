"""What was predicted of the pixels of a patch, as files made elsewhere hold it, and the contract of their readers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seg.errors import PredictionError, UnknownNameError
from seg.predictions.numbering import NOTHING
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import PatchId, s1_scene

SIZE = (PATCH_SIZE, PATCH_SIZE)
MAP_ENDINGS = ("_map", "_pred", "_prediction", "_predicted", "_mask", "_reference_map")
"""Endings that the name of a class map may have after that of its patch."""
SHARE_ENDINGS = ("_probabilities", "_probs", "_prob")
"""The same of probabilities."""


@dataclass(frozen=True, eq=False)
class PatchPixels:
    """What was predicted of a patch.

    Attributes:
        values_HW: Numbers of classes, int32, `NOTHING` where the file has nodata; None: there is no class map.
        shares_KHW: Probabilities, float32, 19 bands in the order of the numbering, 0 in all where the file has nodata;
            None: there are none.
    """

    values_HW: npt.NDArray[np.int32] | None = None
    shares_KHW: npt.NDArray[np.float32] | None = None


Read = Callable[[str, PatchId], PatchPixels]
"""What was predicted of a patch, by the name that its source gives it, and by its id."""


class Source(Protocol):
    """Predictions of many patches. It can be sent to another process.

    Attributes:
        what: What they are, in a few words.
        files: How many files they are.
        stamp: Changes when the files do.
        names: Names of the patches, in the order in which they are read best.
        masks, shares: Whether there are class maps and probabilities.
        remarks: What makes one doubt that they are what they are said to be.
    """

    @property
    def what(self) -> str: ...  # noqa: D102
    @property
    def files(self) -> int: ...  # noqa: D102
    @property
    def stamp(self) -> str: ...  # noqa: D102
    @property
    def names(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def masks(self) -> bool: ...  # noqa: D102
    @property
    def shares(self) -> bool: ...  # noqa: D102
    @property
    def remarks(self) -> Sequence[str]: ...  # noqa: D102

    def only(self, names: Sequence[str]) -> "Source":
        """The same of some patches, in that order."""
        ...

    def opened(self) -> AbstractContextManager[Read]:
        """Reads patches, in whatever order.

        Raises:
            PredictionError: Within, if what was predicted of a patch cannot be used.
            EvidenceError: If all of it cannot.
        """
        ...


def split_name(stem: str) -> tuple[str, bool]:
    """The name of a patch from that of a file or array, and whether it holds probabilities."""
    for endings, shares in ((SHARE_ENDINGS, True), (MAP_ENDINGS, False)):
        for ending in sorted(endings, key=len, reverse=True):
            if stem.endswith(ending):
                return stem.removesuffix(ending), shares
    return stem, False


def is_patch(name: str) -> bool:
    """Whether a name is built like that of a Sentinel-2 or Sentinel-1 patch, there or not."""
    for parse in (PatchId.parse, s1_scene):
        with suppress(UnknownNameError):
            parse(name)
            return True
    return False


def class_map(
    array: npt.NDArray[Any], nodata: float | None = None, empty_HW: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int32]:
    """Numbers of a class map.

    Args:
        array: One number per pixel; whole ones, whatever their dtype.
        nodata: What stands where there is none.
        empty_HW: Where there is none, too.

    Raises:
        PredictionError: If it has another size, or holds something else than whole numbers.
    """
    array = np.squeeze(array) if array.size == PATCH_SIZE * PATCH_SIZE and array.ndim > 2 else array
    if array.shape != SIZE:
        raise PredictionError(f"is {_size(array.shape)}, and a patch has {PATCH_SIZE} x {PATCH_SIZE} pixels")
    if array.dtype.kind not in "uif":
        raise PredictionError(f"is of dtype {array.dtype}, and class maps hold whole numbers")
    empty = np.zeros(SIZE, bool) if empty_HW is None else empty_HW
    if nodata is not None:
        empty = empty | (np.isnan(array) if np.isnan(nodata) else array == nodata)
    if array.dtype.kind == "f":
        array = np.where(empty, 0, array).astype(np.float64)  # half-precision knows no 2^31
        if np.isnan(array).any():
            raise PredictionError("holds NaN")
        if not (np.abs(array) < 2**31).all() or (array != np.rint(array)).any():
            raise PredictionError("holds fractions, and class maps hold whole numbers")
    elif array.dtype.itemsize >= 4:
        array = np.clip(array, -(2**31) + 1, 2**31 - 1)  # what is beyond means nothing in any numbering
    return np.where(empty, np.int32(NOTHING), array.astype(np.int32))


def probabilities(
    array: npt.NDArray[Any],
    scale: float | None = None,
    nodata: float | None = None,
    empty_HW: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """Probabilities of 19 classes.

    Args:
        array: Bands x rows x columns.
        scale: What a stored 1 stands for; None: stored values are fractions.
        nodata: What stands in all bands where there are none.
        empty_HW: Where there are none, too.

    Raises:
        PredictionError: If it has another size, is NaN or not from 0 to 1, or whole numbers have no scale.
    """
    expected = (NUM_CLASSES, *SIZE)
    if array.shape != expected:
        raise PredictionError(f"is {_size(array.shape)}, and probabilities are {_size(expected)}, classes first")
    if array.dtype.kind not in "uif" or (array.dtype.kind != "f" and scale is None):
        raise PredictionError(
            f"holds probabilities of dtype {array.dtype} without a scale; store fractions as floats, or say what a "
            "stored 1 stands for: 'scale' beside arrays, the scale of its bands in a GeoTIFF"
        )
    empty = np.zeros(SIZE, bool) if empty_HW is None else empty_HW
    if nodata is not None and not np.isnan(nodata):
        empty = empty | (array == nodata).all(axis=0)
    shares = array.astype(np.float32) * np.float32(1 if scale is None else scale)
    shares[:, empty] = 0
    if np.isnan(shares).any():
        raise PredictionError("holds NaN")
    if shares.min() < -_ROUNDING or shares.max() > 1 + _ROUNDING:
        raise PredictionError(f"holds probabilities that are not from 0 to 1; {way_to_fractions(shares)}")
    clipped: npt.NDArray[np.float32] = np.clip(shares, 0, 1)
    return clipped


def way_to_fractions(shares_KHW: npt.NDArray[np.float32]) -> str:
    """What makes probabilities of numbers that are none, as far as the numbers tell."""
    if shares_KHW.min() < 0:
        return "apply softmax to logits first"
    sums_HW = shares_KHW.sum(0)
    total = float(np.median(sums_HW[sums_HW > 0])) if sums_HW.any() else 0.0
    if abs(total - 1) < _SAME_SUM:
        return (
            "those of a pixel add up to nearly 1, as of rounded numbers: divide them by their sum, or round them less"
        )
    if total and np.isclose(sums_HW, total, rtol=_SAME_SUM).mean() > 0.5:
        return f"those of a pixel add up to about {total:.3g}: divide them by that"
    return "apply softmax to logits first, or divide those of a pixel by their sum"


_SAME_SUM = 0.05
"""How far sums of scaled probabilities are apart at most, by rounding to whole numbers."""
_ROUNDING = 1e-3
"""How far outside of 0 to 1 half-precision may be."""


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
