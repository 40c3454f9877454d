"""A network of torch over a scene, and the arithmetic of torch around it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from seg.data.transforms import INTERPOLATION, Resampling
from seg.engine.device import Compute, named_when_full
from seg.generalise.surprisal import surprisals
from seg.inference.scratch import Scratch
from seg.models.segmenter import Segmenter
from seg.rasters.layer import Array
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES, SHARE_SCALE


class TorchArithmetic:
    """`seg.inference.arithmetic.Arithmetic` on a device.

    Args:
        compute: Device and formats.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute, self._device = compute, compute.device
        self._stored, self._fine = Scratch(), Scratch()

    @contextmanager
    def guarded(self, cure: str) -> Iterator[None]:
        """Around all work: no gradients, and memory that runs out is an `OutOfMemoryError` with this cure."""
        with named_when_full(cure), torch.inference_mode():
            yield

    def empty(self, shape: Sequence[int], windows: bool = False) -> Tensor:
        """float32 that is not filled; as ``windows`` in the number and memory format of the network."""
        if not windows:
            return torch.empty(tuple(shape), device=self._device)
        compute = self._compute
        return torch.empty(tuple(shape), dtype=compute.dtype, device=self._device, memory_format=compute.memory_format)

    def flags(self, shape: Sequence[int]) -> Tensor:
        """Flags that are not set yet."""
        return torch.empty(tuple(shape), dtype=torch.bool, device=self._device)

    def of(self, array: npt.NDArray[Any]) -> Tensor:
        """An array of NumPy on the device."""
        return torch.from_numpy(array).to(self._device)

    def host(self, values: Tensor) -> npt.NDArray[Any]:
        """Values as an array of NumPy."""
        array: npt.NDArray[Any] = values.cpu().numpy()
        return array

    def copy(self, values: Tensor) -> Tensor:
        """A copy."""
        return values.clone()

    def fill(self, values: Tensor, where: Tensor, value: float) -> Tensor:
        """The values, set to one value in place wherever a flag is set."""
        return values.masked_fill_(where, value)

    def stored(self, values: Array) -> Tensor:
        """Stored values as float32, good until the next ones."""
        stored = np.ascontiguousarray(values)
        if stored.dtype != np.uint16:
            # A copy: it is changed, and what is stored is not.
            return torch.from_numpy(stored).to(self._device, copy=True)
        if self._device.type == "cpu":
            return self._stored(stored.shape, self._device).copy_(torch.from_numpy(stored))
        # Half as much to move, but not every device computes with uint16.
        return torch.from_numpy(stored.view(np.int16)).to(self._device).int().bitwise_and_(0xFFFF).float()

    def resampled(self, coarse_HW: Tensor, factor: int, how: Resampling) -> Tensor:
        """A band at 10 m, good until the next one."""
        height, width = (edge * factor for edge in coarse_HW.shape)
        if coarse_HW.device.type == "cpu":
            # As `seg.data.transforms` does; torch takes several times as long for a single band.
            fine_HW = self._fine((height, width), self._device)
            cv2.resize(coarse_HW.numpy(), (width, height), dst=fine_HW.numpy(), interpolation=INTERPOLATION[how])
            return fine_HW
        align = False if how == "bilinear" else None
        return functional.interpolate(coarse_HW[None, None], (height, width), mode=how, align_corners=align)[0, 0]

    def any_of(self, flags_HW: Tensor, factor: int) -> Tensor:
        """Whether any 10 m pixel of each coarse pixel has its flag set."""
        if factor == 1:
            return flags_HW
        pooled = functional.max_pool2d(flags_HW[None, None].float(), factor, ceil_mode=True)
        coarse_HW: Tensor = pooled[0, 0] > 0
        return coarse_HW

    def moved(self, images_BCHW: Tensor, number: int) -> Tensor:
        """Images under a symmetry of `seg.data.symmetry.SYMMETRIES`."""
        if number & 4:
            images_BCHW = images_BCHW.transpose(-1, -2)
        axes = [axis for axis, bit in ((-2, 2), (-1, 1)) if number & bit]
        return images_BCHW.flip(axes) if axes else images_BCHW

    def moved_back(self, maps_BKHW: Tensor, number: int) -> Tensor:
        """Maps of images that were moved, as they were before."""
        axes = [axis for axis, bit in ((-2, 2), (-1, 1)) if number & bit]
        maps_BKHW = maps_BKHW.flip(axes) if axes else maps_BKHW
        return maps_BKHW.transpose(-1, -2) if number & 4 else maps_BKHW

    def add_weighted(self, target_KHW: Tensor, shares_KHW: Tensor, weights: tuple[Tensor, Tensor]) -> None:
        """Add shares in place, times the weights of their rows and of their columns."""
        target_KHW.addcmul_(shares_KHW, torch.outer(*weights))

    def highest(self, shares_KHW: Tensor) -> tuple[Tensor, Tensor]:
        """The largest share of each pixel, and its class, uint8."""
        highest = shares_KHW.max(0)
        return highest.values, highest.indices.byte()

    def entropy(self, shares_KHW: Tensor) -> Tensor:
        """Of the shares of each pixel, as a share of its largest value."""
        entropy_HW: Tensor = torch.special.entr(shares_KHW).sum(0)
        return entropy_HW / math.log(NUM_CLASSES)

    def levels(self, shares: Tensor, outside: Tensor) -> npt.NDArray[np.uint8]:
        """Shares times `SHARE_SCALE`, 255 outside."""
        levels = (shares * SHARE_SCALE).round_().clamp_(0, SHARE_SCALE).byte()
        return self.host(levels.masked_fill_(outside, IGNORE_INDEX))

    def surprisals(self, shares_KHW: Tensor) -> Tensor:
        """See `seg.generalise.surprisal`, uint8."""
        return surprisals(shares_KHW.log())


class TorchNetwork:
    """`seg.inference.arithmetic.Network` of a `Segmenter`.

    Args:
        model: In evaluation mode, on its device.
        compute: Device and formats.
        temperature: What pixel logits are divided by to be calibrated.
    """

    def __init__(self, model: Segmenter, compute: Compute, temperature: float = 1.0) -> None:
        self.arithmetic = TorchArithmetic(compute)
        self._model, self._compute, self._temperature = model, compute, temperature
        self._logits, self._shares = Scratch(), Scratch()

    @property
    def context(self) -> int:
        """Pixels around what is mapped that it looks at."""
        return self._model.context

    def shares(self, images_BCHW: Tensor, used: tuple[slice, slice]) -> Tensor:
        """Class probabilities of some rows and columns, in memory that the next call uses again."""
        compute = self._compute
        with compute.autocast():
            logits_BKHW = self._model.pixel_logits(images_BCHW.contiguous(memory_format=compute.memory_format))
        logits_BKHW = logits_BKHW[:, :, used[0], used[1]]
        shape, device = logits_BKHW.shape, logits_BKHW.device
        # In this order in memory, whatever the order of the logits: blending goes class by class.
        scaled_BKHW = self._logits(shape, device).copy_(logits_BKHW)
        if self._temperature != 1:
            scaled_BKHW.div_(self._temperature)
        return torch.softmax(scaled_BKHW, 1, out=self._shares(shape, device))

    def scene_shares(self, images_BCHW: Tensor) -> npt.NDArray[np.float32]:
        """Probability that each class occurs, float32 (B, K)."""
        compute = self._compute
        with compute.autocast():
            _, scene_logits = self._model(images_BCHW.contiguous(memory_format=compute.memory_format))
            return self.arithmetic.host(scene_logits.float().sigmoid())
