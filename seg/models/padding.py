"""Pooling that does not see the padding of `seg.models.frame`."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from seg.models.frame import Frame


def pool_inside(features_BCHW: Tensor, size: int | tuple[int | None, ...] | None, frame: Frame | None) -> Tensor:
    """Adaptive average pooling over the image alone: each feature cell counts by its share inside the image.

    Args:
        features_BCHW: Features of the padded image.
        size: Output size, as of `torch.nn.AdaptiveAvgPool2d`.
        frame: Where the image lies; None or a frame without margins: plain pooling.

    Returns:
        Pooled features, same dtype; 0 for an output cell wholly outside the image.
    """
    # torch's annotations leave out that the size may hold None.
    if frame is None or not frame.is_padded:
        return functional.adaptive_avg_pool2d(features_BCHW, size)  # type: ignore[arg-type]
    height, width = features_BCHW.shape[-2:]
    shares_HW = frame.shares(height, width, features_BCHW.device)
    weighted = functional.adaptive_avg_pool2d(features_BCHW.float() * shares_HW, size)  # type: ignore[arg-type]
    weights = functional.adaptive_avg_pool2d(shares_HW[None, None], size)  # type: ignore[arg-type]
    return (weighted / weights.clamp_min(torch.finfo(torch.float32).tiny)).to(features_BCHW.dtype)


def sum_by_cell(maps_BKHW: Tensor, rows: int, columns: int, frame: Frame) -> Tensor:
    """What of maps of the image lies in each feature cell of the padded image: a pixel counts by its share inside.

    Args:
        maps_BKHW: Maps of the image without its margins, float32.
        rows: Cells into which the padded image is divided from top to bottom.
        columns: The same from left to right.
        frame: Where the image lies.

    Returns:
        (B, K, rows, columns); the sum over all cells is that over all pixels.
    """
    down = _overlaps(rows, frame.full_height, frame.top, frame.height, maps_BKHW.device)
    across = _overlaps(columns, frame.full_width, frame.left, frame.width, maps_BKHW.device)
    return down @ maps_BKHW @ across.T


class InsidePool(nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` that does not see the padding.

    Attributes:
        frame: Where the image lies in what is pooled next; set before each forward pass.
    """

    frame: Frame | None = None

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Pool, see `pool_inside`."""
        return pool_inside(features_BCHW, self.output_size, self.frame)


def replace_pools(module: nn.Module) -> None:
    """Put an `InsidePool` in the place of every adaptive average pool below the module; no weights are involved."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.AdaptiveAvgPool2d:
                setattr(parent, name, InsidePool(child.output_size))


def _overlaps(cells: int, full: int, start: int, length: int, device: torch.device) -> Tensor:
    """Share of each pixel (second axis) that lies in each cell (first axis)."""
    edges = torch.arange(cells + 1, dtype=torch.float32, device=device)[:, None] * (full / cells)
    pixels = torch.arange(length, dtype=torch.float32, device=device) + start
    return (torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)).clamp(min=0)
