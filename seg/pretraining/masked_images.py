"""Masked images: squares of each image are hidden, and a network learns to say what was there.

What it needs for that, edges, textures and what stands beside what, an encoder needs for land cover too, and no labels
are needed to learn it (Xie et al. 2022, SimMIM; He et al. 2022).
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from seg.models.segmenter import Segmenter
from seg.reben.classes import NUM_CLASSES

_PURPOSE = 0x41D3
"""Tells these random numbers from others with the same seed."""


def hidden_cells(rows: Sequence[int], edge: int, share: float, cell: int, seed: int, epoch: int) -> Tensor:
    """What of each image is hidden: whole cells of a grid, as many of them in every image, at least one.

    Which ones depends on seed, epoch and the patch alone.

    Args:
        rows: Rows of the store's index.
        edge: Height and width of the images, pixels.
        share: Of the cells, 0 to 1, without both.
        cell: Edge of a cell, pixels; those at the right and the bottom may be cut.
        seed: Of the run.
        epoch: Of the batch.

    Returns:
        bool (B, 1, H, W).
    """
    cells = -(-edge // cell)
    count = min(max(1, round(share * cells**2)), cells**2)
    grids = np.zeros((len(rows), cells**2), bool)
    for grid, row in zip(grids, rows, strict=True):
        grid[np.random.default_rng((_PURPOSE, seed, epoch, row)).permutation(cells**2)[:count]] = True
    pixels_BHW = grids.reshape(-1, cells, cells).repeat(cell, 1).repeat(cell, 2)[:, :edge, :edge]
    return torch.from_numpy(np.ascontiguousarray(pixels_BHW))[:, None]


def masked_error(restored_BCHW: Tensor, images_BCHW: Tensor, hidden_B1HW: Tensor) -> Tensor:
    """Mean squared error over what was hidden, in variances of the bands: predicting their mean gives about 1.

    Args:
        restored_BCHW: What the network says.
        images_BCHW: Normalised bands.
        hidden_B1HW: What it was not shown, bool.
    """
    errors_BCHW = (restored_BCHW.float() - images_BCHW.float()).square()
    return (errors_BCHW * hidden_B1HW).sum() / (hidden_B1HW.sum() * images_BCHW.shape[1])


def restoring(segmenter: Segmenter) -> Segmenter:
    """A network that gives bands where the one that it is made from gives logits of classes, and has no scene head.

    Args:
        segmenter: The network; not changed.
    """
    network = copy.deepcopy(segmenter)
    network.scene_head = None
    head = network.network.segmentation_head
    (name, last), *others = [
        (name, layer)
        for name, layer in head.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.out_channels == NUM_CLASSES
    ]
    assert not others, "smp's heads end in one convolution"
    bands = nn.Conv2d(last.in_channels, len(network.bands), last.kernel_size, padding=last.padding)  # type: ignore[arg-type]
    parent, _, own = name.rpartition(".")
    setattr(head.get_submodule(parent), own, bands)
    return network
