"""Padding by reflection, and pooling that does not see it."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Frame:
    """Where an image lies within its padded form.

    The margins of opposite sides are equal (to one pixel), so that flipping the image flips its padded form.

    Attributes:
        height, width: The image, pixels.
        full_height, full_width: The padded image, pixels.
    """

    height: int
    width: int
    full_height: int
    full_width: int

    @classmethod
    def around(cls, height: int, width: int, multiple: int, least: int, margin: int = 0) -> Self:
        """The smallest frame whose edges are multiples of ``multiple`` pixels and not below ``least`` pixels.

        With a ``margin``, at least so many pixels lie beyond every edge of the image.
        """
        edges = (edge + 2 * margin for edge in (height, width))
        return cls(height, width, *(max(-(-edge // multiple) * multiple, least) for edge in edges))

    def within(self, margin: int) -> Self:
        """The frame of the image without so many pixels at each of its edges, in the same padded image."""
        height, width = self.height - 2 * margin, self.width - 2 * margin
        return type(self)(height, width, self.full_height, self.full_width)

    @property
    def top(self) -> int:
        """Rows above the image."""
        return (self.full_height - self.height) // 2

    @property
    def left(self) -> int:
        """Columns left of the image."""
        return (self.full_width - self.width) // 2

    @property
    def is_padded(self) -> bool:
        """Whether there is any margin."""
        return (self.height, self.width) != (self.full_height, self.full_width)

    def pad(self, images_BCHW: Tensor) -> Tensor:
        """The images with their margins filled by reflection about the outermost pixels.

        A margin wider than the image is filled by reflecting to and fro.
        """
        if not self.is_padded:
            return images_BCHW
        bottom = self.full_height - self.height - self.top
        right = self.full_width - self.width - self.left
        if bottom < self.height and right < self.width:
            return functional.pad(images_BCHW, (self.left, right, self.top, bottom), mode="reflect")
        rows, columns = self.sources(images_BCHW.device)
        return images_BCHW.index_select(2, rows).index_select(3, columns)

    def sources(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The row of the image that each row of the padded image shows, and the same for columns; int64."""
        return (
            _to_and_fro(self.height, self.top, self.full_height, device),
            _to_and_fro(self.width, self.left, self.full_width, device),
        )

    def crop(self, full_BCHW: Tensor) -> Tensor:
        """The part of a padded map that belongs to the image, as a view."""
        return full_BCHW[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def shares(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """Share of each feature cell that lies inside the image.

        Args:
            rows: Cells into which the padded image is divided from top to bottom.
            columns: The same from left to right.
            device: Where the answer is needed.

        Returns:
            float32 (rows, columns), 0 to 1.
        """
        inside_rows = _shares(rows, self.full_height, self.top, self.height, device)
        inside_columns = _shares(columns, self.full_width, self.left, self.width, device)
        return torch.outer(inside_rows, inside_columns)


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


def _to_and_fro(length: int, before: int, full: int, device: torch.device) -> Tensor:
    if length == 1:
        return torch.zeros(full, dtype=torch.long, device=device)
    period = 2 * (length - 1)
    position = (torch.arange(full, device=device) - before) % period
    return torch.minimum(position, period - position)


def _shares(cells: int, full: int, start: int, length: int, device: torch.device) -> Tensor:
    edges = torch.arange(cells + 1, dtype=torch.float32, device=device) * (full / cells)
    return edges.clamp(start, start + length).diff() * (cells / full)


def _overlaps(cells: int, full: int, start: int, length: int, device: torch.device) -> Tensor:
    """Share of each pixel (second axis) that lies in each cell (first axis)."""
    edges = torch.arange(cells + 1, dtype=torch.float32, device=device)[:, None] * (full / cells)
    pixels = torch.arange(length, dtype=torch.float32, device=device) + start
    return (torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)).clamp(min=0)
