"""Patches as they are stored, to be made into network inputs on the device; see `seg.data.on_device`.

Stored values take up less than half of what network inputs do: two bytes instead of four, and bands of 20 m and 60 m at
their own resolution. So the way to a GPU is shorter, and the CPU has less to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seg.data.context import margin, require_shape
from seg.reben.bands import BANDS, PATCH_SIZE
from seg.store.tensors import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Items = list[tuple[tuple[int, ...], npt.DTypeLike]]
"""Shape and dtype of one sample in each array of a batch."""


@dataclass(frozen=True)
class BandGroup:
    """Bands that are stored alike.

    Attributes:
        names: The bands.
        size: Pixels along an edge.
        dtype: ``uint16`` or ``float32``.
    """

    names: tuple[str, ...]
    size: int
    dtype: str


def band_groups(bands: Sequence[str]) -> tuple[BandGroup, ...]:
    """The bands by pixel size and dtype, in the order in which these first occur."""
    groups: dict[tuple[int, str], list[str]] = {}
    for name in bands:
        groups.setdefault((BANDS[name].size, BANDS[name].dtype), []).append(name)
    return tuple(BandGroup(tuple(names), size, dtype) for (size, dtype), names in groups.items())


@dataclass(frozen=True)
class RawBatch:
    """Patches as they are stored.

    Attributes:
        groups: One tensor per group of `band_groups`, (B, bands, size, size), with the margins of the context: float32
            in dB, or the bits of uint16 digital numbers as int16, because not every device computes with uint16.
        symmetries_B: What augmentation does to each patch, uint8, see `seg.data.symmetry.SYMMETRIES`.
        masks_BHW: Class indices before augmentation, uint8, 255 where unlabelled.
        labels_BK: Official multi-label, float32, 0 or 1.
        rows_B: Rows of the store's index, int64; always on the CPU, which alone looks at them.
    """

    groups: tuple[Tensor, ...]
    symmetries_B: Tensor
    masks_BHW: Tensor
    labels_BK: Tensor
    rows_B: Tensor

    def __len__(self) -> int:
        return len(self.rows_B)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the batch."""
        return (*self.groups, self.symmetries_B, self.masks_BHW, self.labels_BK, self.rows_B)

    def to(self, device: torch.device) -> RawBatch:
        """The batch on a device, but for its rows; the copy runs beside the computation where the memory is pinned."""
        *moved, rows_B = self.tensors
        return self._of((*(tensor.to(device, non_blocking=True) for tensor in moved), rows_B))

    def pin_memory(self) -> RawBatch:
        """The batch in page-locked memory; called by the loader."""
        return self._of(tensor.pin_memory() for tensor in self.tensors)

    @staticmethod
    def _of(tensors: Iterable[Tensor]) -> RawBatch:
        *groups, symmetries_B, masks_BHW, labels_BK, rows_B = tensors
        return RawBatch(tuple(groups), symmetries_B, masks_BHW, labels_BK, rows_B)


class RawForm:
    """Puts stored bands into the arrays of a batch: one per group, then symmetries and masks.

    Args:
        bands: Bands in the order of the network's input channels.
        context: Pixels of 10 m around a patch, see `seg.data.context`.

    Attributes:
        items: Shape and dtype of one sample in each array.
    """

    def __init__(self, bands: Sequence[str], context: int = 0) -> None:
        self._groups = band_groups(bands)
        edges = [g.size + 2 * margin(g.size, context) for g in self._groups]
        self.items: Items = [
            *(
                ((len(g.names), edge, edge), np.int16 if g.dtype == "uint16" else np.float32)
                for g, edge in zip(self._groups, edges, strict=True)
            ),
            ((), np.uint8),
            ((PATCH_SIZE, PATCH_SIZE), np.uint8),
        ]

    def write(self, tensors: Mapping[str, Array], arrays: Sequence[npt.NDArray[Any]], sample: int) -> None:
        """Fill one sample of the groups.

        Args:
            tensors: Stored arrays by band name, (row, column), at native resolution, with the margins of the context.
            arrays: The arrays of the batch.
            sample: Which sample.

        Raises:
            KeyError: If a band is missing.
            DamagedError: If a band has another shape than reBEN's.
            TypeError: If a band has values that its dtype does not hold.
        """
        for group, array in zip(self._groups, arrays, strict=False):
            target = array[sample].view(group.dtype)
            for channel_HW, name in zip(target, group.names, strict=True):
                require_shape(name, tensors[name], channel_HW.shape)
                np.copyto(channel_HW, tensors[name], casting="same_kind")
