"""CutMix and copy-paste: training patches get parts of others, image and reference map alike.

What a mixed patch shows decides its scene labels: they are those that its mixed map implies, by reBEN's own rule that a
single pixel is enough. A patch that is not mixed keeps its official ones.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seg.config.training import TrainConfig
from seg.data.dataset import Batch
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES

if TYPE_CHECKING:
    from torch import Tensor

_PURPOSE = 0x3117
"""Tells these random numbers from others with the same seed."""
_PASTED = 0.5
"""Probability that copy-paste takes a class."""


def mixed(batch: Batch, config: TrainConfig, epoch: int) -> Batch:
    """A batch some patches of which have parts of the next one; the last one's next is the first.

    What each patch gets depends on seed, epoch and the patch alone, and on nothing that changes when a run is resumed.
    Patches of other processes take no part.

    Args:
        batch: On any device, which is not waited for.
        config: Probabilities and seed.
        epoch: Of the batch.

    Returns:
        The batch itself if nothing is to be mixed, or there is nothing to mix with.
    """
    if len(batch.rows_B) < 2 or not (config.cutmix or config.copy_paste):
        return batch
    import torch

    draws = [draw(config, epoch, int(row)) for row in batch.rows_B]
    device = batch.masks_BHW.device
    boxes_B4, classes_BK = (
        torch.from_numpy(np.stack(part)).to(device, non_blocking=True) for part in zip(*draws, strict=True)
    )
    others_BHW = batch.masks_BHW.roll(-1, 0)
    pasted_BHW = _within(boxes_B4, others_BHW) | _of_classes(classes_BK, others_BHW)
    masks_BHW = others_BHW.where(pasted_BHW, batch.masks_BHW)
    # Nothing is known of what lies around a patch, so it stays.
    context = (batch.images_BCHW.shape[-1] - batch.masks_BHW.shape[-1]) // 2
    seen_BHW = torch.nn.functional.pad(pasted_BHW, (context,) * 4) if context else pasted_BHW
    images_BCHW = batch.images_BCHW.roll(-1, 0).where(seen_BHW[:, None], batch.images_BCHW)
    is_mixed_B1 = pasted_BHW.flatten(1).any(1, keepdim=True)
    labels_BK = implied_labels(masks_BHW).to(batch.labels_BK.dtype).where(is_mixed_B1, batch.labels_BK)
    return replace(batch, images_BCHW=images_BCHW, masks_BHW=masks_BHW, labels_BK=labels_BK)


def draw(config: TrainConfig, epoch: int, row: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """What a patch, or its window, gets of the next one.

    CutMix (Yun et al. 2019): a rectangle with the proportions of the patch, of the area 1 - lambda with lambda from
    Beta(alpha, alpha), around a centre that is drawn from everywhere; what is outside of the patch is cut off.
    Copy-paste (Ghiasi et al. 2021) takes a random subset of the objects of another picture. A class map has no objects,
    so it takes all of a class or nothing, as ClassMix (Olsson et al. 2021), and neither scales nor moves it.

    Args:
        config: Probabilities and seed.
        epoch: Of the batch.
        row: Of the patch in the store's index.

    Returns:
        The rectangle, int64: first row, row after the last, likewise columns; all 0 for none. And whether each class is
        taken, bool (K,).
    """
    random = np.random.default_rng((_PURPOSE, config.seed, epoch, row))
    way = random.random()
    box, classes_K = np.zeros(4, np.int64), np.zeros(NUM_CLASSES, np.bool_)
    if way < config.cutmix:
        size = config.window or PATCH_SIZE
        edge = size * math.sqrt(1 - random.beta(config.cutmix_alpha, config.cutmix_alpha))
        centre_2 = random.random(2) * size
        ends = np.stack([centre_2 - edge / 2, centre_2 + edge / 2], 1).ravel()
        box = np.rint(ends).clip(0, size).astype(np.int64)
    elif way < config.cutmix + config.copy_paste:
        classes_K = random.random(NUM_CLASSES) < _PASTED
    return box, classes_K


def implied_labels(masks_BHW: Tensor) -> Tensor:
    """Whether each class has a pixel in each map: bool (B, K)."""
    import torch

    classes_K11 = torch.arange(NUM_CLASSES, device=masks_BHW.device, dtype=masks_BHW.dtype)[:, None, None]
    return (masks_BHW[:, None] == classes_K11).flatten(2).any(2)


def _within(boxes_B4: Tensor, masks_BHW: Tensor) -> Tensor:
    """Whether each pixel lies within the rectangle of its patch."""
    import torch

    top, bottom, left, right = boxes_B4[:, :, None, None].unbind(1)
    height, width = masks_BHW.shape[1:]
    rows = torch.arange(height, device=masks_BHW.device)[:, None]
    columns = torch.arange(width, device=masks_BHW.device)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _of_classes(classes_BK: Tensor, masks_BHW: Tensor) -> Tensor:
    """Whether the class of each pixel is taken; never where it is unlabelled."""
    from torch.nn import functional

    table_BV = functional.pad(classes_BK, (0, 256 - NUM_CLASSES))
    return table_BV.gather(1, masks_BHW.flatten(1).long()).view_as(masks_BHW)
