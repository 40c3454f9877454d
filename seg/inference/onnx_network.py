"""A network of ONNX Runtime over a scene, and the arithmetic of NumPy around it. Without torch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import entr

from seg.config.wording import clipped
from seg.data.transforms import INTERPOLATION, Resampling
from seg.errors import CheckpointError, OutOfMemoryError
from seg.generalise.surprisal import surprisals_of_array
from seg.models.onnx_file import INPUT, PIXEL_OUTPUT, SCENE_OUTPUT, SHARE_16, OnnxModel, open_session
from seg.rasters.layer import Array
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES, SHARE_SCALE

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

_FULL = ("failed to allocate", "bad_alloc", "bad allocation", "out of memory")
"""What ONNX Runtime says when memory runs out; it has no exception for it."""


class NumpyArithmetic:
    """`seg.inference.arithmetic.Arithmetic` of arrays of NumPy."""

    @contextmanager
    def guarded(self, cure: str) -> Iterator[None]:
        """Around all work; memory that runs out is an `OutOfMemoryError` with this cure."""
        try:
            yield
        except MemoryError as error:
            raise OutOfMemoryError(f"out of memory; {cure}") from error
        except Exception as error:
            if any(words in str(error).lower() for words in _FULL):
                raise OutOfMemoryError(f"out of memory; {cure}") from error
            raise

    def empty(self, shape: Sequence[int], windows: bool = False) -> Floats:
        """float32 that is not filled."""
        return np.empty(tuple(shape), np.float32)

    def flags(self, shape: Sequence[int]) -> Flags:
        """Flags that are not set yet."""
        return np.empty(tuple(shape), np.bool_)

    def of(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array itself."""
        return array

    def host(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array itself."""
        return values

    def copy(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A copy."""
        return values.copy()

    def fill(self, values: npt.NDArray[Any], where: Flags, value: float) -> npt.NDArray[Any]:
        """The values, set to one value in place wherever a flag is set."""
        np.copyto(values, values.dtype.type(value), where=where)
        return values

    def stored(self, values: Array) -> Floats:
        """Stored values as float32, a copy."""
        return values.astype(np.float32)

    def resampled(self, coarse_HW: Floats, factor: int, how: Resampling) -> Floats:
        """A band at 10 m."""
        height, width = (edge * factor for edge in coarse_HW.shape)
        fine_HW = np.empty((height, width), np.float32)
        cv2.resize(coarse_HW, (width, height), dst=fine_HW, interpolation=INTERPOLATION[how])
        return fine_HW

    def any_of(self, flags_HW: Flags, factor: int) -> Flags:
        """Whether any 10 m pixel of each coarse pixel has its flag set."""
        height, width = flags_HW.shape
        rows_HW = np.logical_or.reduceat(flags_HW, range(0, height, factor), 0)
        coarse_HW: Flags = np.logical_or.reduceat(rows_HW, range(0, width, factor), 1)
        return coarse_HW

    def moved(self, images_BCHW: Floats, number: int) -> Floats:
        """Images under a symmetry of `seg.data.symmetry.SYMMETRIES`."""
        return _flipped(np.swapaxes(images_BCHW, -1, -2) if number & 4 else images_BCHW, number)

    def moved_back(self, maps_BKHW: Floats, number: int) -> Floats:
        """Maps of images that were moved, as they were before."""
        maps_BKHW = _flipped(maps_BKHW, number)
        return np.swapaxes(maps_BKHW, -1, -2) if number & 4 else maps_BKHW

    def add_weighted(self, target_KHW: Floats, shares_KHW: Floats, weights: tuple[Floats, Floats]) -> None:
        """Add shares in place, times the weights of their rows and of their columns."""
        weights_HW = np.outer(*weights)
        # Class by class, what lies between stays in the processor's cache.
        for number, shares_HW in enumerate(shares_KHW):
            target_KHW[number] += shares_HW * weights_HW

    def highest(self, shares_KHW: Floats) -> tuple[Floats, Bytes]:
        """The largest share of each pixel, and its class, uint8."""
        return shares_KHW.max(0), shares_KHW.argmax(0).astype(np.uint8)

    def entropy(self, shares_KHW: Floats) -> Floats:
        """Of the shares of each pixel, as a share of its largest value."""
        entropy_HW: Floats = entr(shares_KHW).sum(0) / np.float32(math.log(NUM_CLASSES))
        return entropy_HW

    def levels(self, shares: Floats, outside: Flags) -> Bytes:
        """Shares times `SHARE_SCALE`, 255 outside."""
        levels = np.clip(np.rint(shares * np.float32(SHARE_SCALE)), 0, SHARE_SCALE).astype(np.uint8)
        return self.fill(levels, outside, IGNORE_INDEX)

    def surprisals(self, shares_KHW: Floats) -> Bytes:
        """See `seg.generalise.surprisal`, uint8."""
        with np.errstate(divide="ignore"):
            return surprisals_of_array(np.log(shares_KHW))


class OnnxNetwork:
    """`seg.inference.arithmetic.Network` of an ONNX file.

    Args:
        model: The file.
        device: As `seg.config.terms.device_name` takes it.

    Raises:
        CheckpointError: If the file cannot be read.
        WrongUseError: If the device is not there.
    """

    def __init__(self, model: OnnxModel, device: str) -> None:
        self.arithmetic = NumpyArithmetic()
        self.context = model.takes.context
        self._session = open_session(model.path, device)
        taken = {one.name: one.shape for one in self._session.get_inputs()}
        given = {one.name: one.shape for one in self._session.get_outputs()}
        lacking = {PIXEL_OUTPUT, *([SCENE_OUTPUT] if model.scene else ())} - given.keys()
        if lacking or [shape[1:2] for shape in taken.values()] != [[len(model.card.bands)]] or INPUT not in taken:
            raise CheckpointError(
                f"{model.path} has the metadata of another network: it should take {INPUT} of {len(model.card.bands)} "
                f"bands and give {PIXEL_OUTPUT}, but takes {_listed(taken)} and gives {_listed(given)}; make one with: "
                "seg card RUN --out FOLDER --onnx"
            )
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (model.card.mean, model.card.std))
        scale = 1 / np.float32(SHARE_16) if model.values == "share16" else np.float32(1)
        # What is normalised already goes back to what the file takes.
        self._back = None if model.values == "normalised" else (std * scale, mean * scale)

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return bool(self._session.get_providers()[0] == "CUDAExecutionProvider")

    def shares(self, images_BCHW: Floats, used: tuple[slice, slice]) -> Floats:
        """Class probabilities of some rows and columns, calibrated, float32 (B, K, rows, columns)."""
        return self._run(PIXEL_OUTPUT, images_BCHW)[:, :, used[0], used[1]]

    def scene_shares(self, images_BCHW: Floats) -> Floats:
        """Probability that each class occurs, float32 (B, K)."""
        return self._run(SCENE_OUTPUT, images_BCHW)

    def _run(self, output: str, images_BCHW: Floats) -> Floats:
        if self._back is not None:
            std_C11, mean_C11 = self._back
            images_BCHW = images_BCHW * std_C11 + mean_C11
        (found,) = self._session.run([output], {INPUT: np.ascontiguousarray(images_BCHW)})
        values: Floats = found
        return values


def _listed(shapes: Mapping[str, Sequence[int | str]]) -> str:
    """Inputs or outputs and their shapes."""
    return clipped(", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()))


def _flipped(images_BCHW: Floats, number: int) -> Floats:
    axes = tuple(axis for axis, bit in ((-2, 2), (-1, 1)) if number & bit)
    return np.flip(images_BCHW, axes) if axes else images_BCHW
