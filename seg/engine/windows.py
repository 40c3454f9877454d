"""Random windows: training sees a square of each patch, at another place each time.

Of few patches it so gets batches of many places in the time that whole ones take for few, and never the same picture
twice. What lies around a patch comes along: a window has as much context as a patch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from seg.config.training import TrainConfig
from seg.data.dataset import Batch
from seg.engine.mixing import implied_labels
from seg.errors import WrongUseError

if TYPE_CHECKING:
    from torch import Tensor

    from seg.models.frame import TakenSizes

_PURPOSE = 0x3B1D
"""Tells these random numbers from others with the same seed."""


def check_window(window: int, sizes: TakenSizes) -> None:
    """Check that a network sees more of a window than its reflection.

    Args:
        window: Edge in pixels; 0 for whole patches.
        sizes: Of images that the network takes.

    Raises:
        WrongUseError: If it pads what is so small.
    """
    least = sizes.least - 2 * sizes.context
    if not window or window >= least:
        return
    named = sizes.config.named
    if sizes.fixed_size is not None:
        raise WrongUseError(
            f"train.window={window} saves nothing with {named}, which takes images of {sizes.fixed_size} x "
            f"{sizes.fixed_size} pixels alone; use --set train.window=0"
        )
    raise WrongUseError(
        f"train.window={window} is less than {named} takes; give {least} or more, or --set train.window=0 for whole "
        "patches"
    )


def windowed(batch: Batch, config: TrainConfig, epoch: int) -> Batch:
    """A batch of one window of each patch.

    Where it lies depends on seed, epoch and the patch alone, and on nothing that changes when a run is resumed.

    Args:
        batch: Whole patches, on any device, which is not waited for.
        config: Edge and seed.
        epoch: Of the batch.

    Returns:
        Images of the window and the context around it, masks of the window, and whether each class has a pixel in it as
        labels; the batch itself if patches are to stay whole.
    """
    size = batch.masks_BHW.shape[-1]
    if config.window in (0, size):
        return batch
    seen = config.window + batch.images_BCHW.shape[-1] - size
    places = [draw(config, epoch, int(row), size) for row in batch.rows_B]
    masks_BHW = _cut(batch.masks_BHW, places, config.window)
    return replace(
        batch,
        images_BCHW=_cut(batch.images_BCHW, places, seen),
        masks_BHW=masks_BHW,
        labels_BK=implied_labels(masks_BHW).to(batch.labels_BK.dtype),
    )


def draw(config: TrainConfig, epoch: int, row: int, size: int) -> tuple[int, int]:
    """First row and column of the window of a patch: every place at which it fits is as likely.

    Args:
        config: Edge and seed.
        epoch: Of the batch.
        row: Of the patch in the store's index.
        size: Edge of the patch, pixels.
    """
    random = np.random.default_rng((_PURPOSE, config.seed, epoch, row))
    top, left = random.integers(0, size - config.window, 2, endpoint=True).tolist()
    return top, left


def _cut(whole_BHW: Tensor, places: list[tuple[int, int]], edge: int) -> Tensor:
    """A square of each image of a batch, whose last two axes are rows and columns."""
    import torch

    pairs = zip(whole_BHW, places, strict=True)
    return torch.stack([image[..., top : top + edge, left : left + edge] for image, (top, left) in pairs])
