"""How an image is padded by reflection for a network. Without torch, for networks that do not need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from seg.config.sections import ModelConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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
        from torch.nn import functional

        bottom = self.full_height - self.height - self.top
        right = self.full_width - self.width - self.left
        if bottom < self.height and right < self.width:
            return functional.pad(images_BCHW, (self.left, right, self.top, bottom), mode="reflect")
        rows, columns = self._sources(images_BCHW.device)
        return images_BCHW.index_select(2, rows).index_select(3, columns)

    def _sources(self, device: torch.device) -> tuple[Tensor, Tensor]:
        import torch

        rows = torch.arange(self.full_height, device=device) - self.top
        columns = torch.arange(self.full_width, device=device) - self.left
        return _to_and_fro(rows, self.height), _to_and_fro(columns, self.width)

    def sources(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The row of the image that each row of the padded image shows, and the same for columns; int64."""
        rows, columns = np.arange(self.full_height) - self.top, np.arange(self.full_width) - self.left
        return _to_and_fro(rows, self.height), _to_and_fro(columns, self.width)

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
        import torch

        inside_rows = _shares(rows, self.full_height, self.top, self.height, device)
        inside_columns = _shares(columns, self.full_width, self.left, self.width, device)
        return torch.outer(inside_rows, inside_columns)


@dataclass(frozen=True)
class TakenSizes:
    """Sizes of images that a network takes.

    Attributes:
        config: The network.
        multiple: Pixels by which the edges of a padded image are divisible.
        least: Smallest edge of a padded image, pixels.
        fixed_size: Edge of the only padded image that it takes, pixels; None if it takes any.
        pads: Whether it pads what is smaller by itself.
        context: Pixels around what is mapped that images show.
    """

    config: ModelConfig
    multiple: int
    least: int
    fixed_size: int | None = None
    pads: bool = True
    context: int = 0

    def frame(self, height: int, width: int, margin: int = 0) -> Frame:
        """How an image of this size is padded, by at least a margin."""
        return Frame.around(height, width, self.multiple, self.least, margin)


def _to_and_fro(positions: Any, length: int) -> Any:
    """The pixel that each position shows, counted from the first of so many that are reflected at both ends."""
    if length == 1:
        return positions * 0
    turn = length - 1
    return turn - abs(positions % (2 * turn) - turn)


def _shares(cells: int, full: int, start: int, length: int, device: torch.device) -> Tensor:
    import torch

    edges = torch.arange(cells + 1, dtype=torch.float32, device=device) * (full / cells)
    return edges.clamp(start, start + length).diff() * (cells / full)
