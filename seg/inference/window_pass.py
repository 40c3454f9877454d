"""Windows through a network: class probabilities, plain or as the mean over the symmetries of the square."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seg.config.track import Track, silent
from seg.data.symmetry import SYMMETRIES
from seg.engine.device import Compute
from seg.inference.scratch import Scratch
from seg.models.segmenter import Segmenter


@dataclass(frozen=True)
class ScenePass:
    """How a network goes over a scene.

    Attributes:
        compute: Device and formats.
        batch_size: Windows at a time, all of one row of windows; or cells.
        temperature: What pixel logits are divided by to be calibrated.
        tta: Mean over the 8 symmetries of the square.
        probabilities, certainty, surprisals: Whether these are wanted, see `seg.inference.tiled.Piece`.
        track: Progress over windows, or rows of cells.
    """

    compute: Compute
    batch_size: int
    temperature: float = 1.0
    tta: bool = False
    probabilities: bool = False
    certainty: bool = False
    surprisals: bool = False
    track: Track = silent


class Softmax:
    """Softmax over the classes, in memory that the next call uses again."""

    def __init__(self) -> None:
        self._logits, self._shares = Scratch(), Scratch()

    def __call__(self, logits_BKHW: Tensor, temperature: float) -> Tensor:
        """Class probabilities of pixel logits, float32 (B, K, H, W), good until the next call."""
        shape, device = logits_BKHW.shape, logits_BKHW.device
        # In this order in memory, whatever the order of the logits: blending goes class by class.
        scaled_BKHW = self._logits(shape, device).copy_(logits_BKHW)
        if temperature != 1:
            scaled_BKHW.div_(temperature)
        return torch.softmax(scaled_BKHW, 1, out=self._shares(shape, device))


_WHOLE = (slice(None), slice(None))


def window_probabilities(
    model: Segmenter,
    images_BCHW: Tensor,
    how: ScenePass,
    softmax: Softmax | None = None,
    used: tuple[slice, slice] = _WHOLE,
) -> Tensor:
    """Class probabilities of windows; with test-time augmentation the mean over 8 symmetries.

    Args:
        model: In evaluation mode, on the device of the images.
        images_BCHW: Normalised bands, in the number format of the pass.
        how: The pass.
        softmax: Memory for the result; None: its own.
        used: Rows and columns that are needed.

    Returns:
        float32 (B, K, rows, columns), good until `softmax` is called again.
    """
    softmax = softmax or Softmax()
    if not how.tta:
        return softmax(_logits(model, images_BCHW, how)[:, :, used[0], used[1]], how.temperature)
    total_BKHW: Tensor | None = None
    for number in range(SYMMETRIES):
        shares_BKHW = softmax(_logits(model, _moved(images_BCHW, number), how), how.temperature)
        back_BKHW = _moved_back(shares_BKHW, number)[:, :, used[0], used[1]]
        total_BKHW = back_BKHW.clone() if total_BKHW is None else total_BKHW.add_(back_BKHW)
    assert total_BKHW is not None, "a square has symmetries"
    return total_BKHW.div_(SYMMETRIES)


def _logits(model: Segmenter, images_BCHW: Tensor, how: ScenePass) -> Tensor:
    with how.compute.autocast():
        return model.pixel_logits(images_BCHW.contiguous(memory_format=how.compute.memory_format))


def _moved(images_BCHW: Tensor, number: int) -> Tensor:
    """Images under a symmetry of `seg.data.symmetry.SYMMETRIES`."""
    if number & 4:
        images_BCHW = images_BCHW.transpose(-1, -2)
    axes = [axis for axis, bit in ((-2, 2), (-1, 1)) if number & bit]
    return images_BCHW.flip(axes) if axes else images_BCHW


def _moved_back(maps_BKHW: Tensor, number: int) -> Tensor:
    axes = [axis for axis, bit in ((-2, 2), (-1, 1)) if number & bit]
    maps_BKHW = maps_BKHW.flip(axes) if axes else maps_BKHW
    return maps_BKHW.transpose(-1, -2) if number & 4 else maps_BKHW
