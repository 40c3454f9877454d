"""Stored values to network inputs on the device: upsampling, normalisation, flips and turns.

The values are those of `seg.data.transforms` up to the rounding of float32, and the random decisions are the same.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seg.data.context import picture_size
from seg.data.dataset import Batch, PatchDataset
from seg.data.raw import RawBatch, band_groups
from seg.data.symmetry import symmetric_pixels
from seg.data.transforms import Resampling
from seg.reben.bands import BANDS, PATCH_SIZE


class DevicePreparation:
    """Makes network inputs of raw batches, without waiting for the device.

    Args:
        bands: Bands in the order of the output channels.
        resampling: How 20 m and 60 m bands are brought to 10 m.
        device: Where.
        context: Pixels of 10 m around a patch, see `seg.data.context`.
    """

    def __init__(self, bands: Sequence[str], resampling: Resampling, device: torch.device, context: int = 0) -> None:
        self._edge = picture_size(context)
        self._resampling = resampling
        self._groups = band_groups(bands)
        scale_and_offset = [
            np.array([(1 / BANDS[n].std, -BANDS[n].mean / BANDS[n].std) for n in group.names], np.float32)
            for group in self._groups
        ]
        self._scale_and_offset = [
            tuple(torch.from_numpy(column.copy()).view(-1, 1, 1).to(device) for column in values.T)
            for values in scale_and_offset
        ]
        grouped = [name for group in self._groups for name in group.names]
        channels = [grouped.index(name) for name in bands]
        self._channels = None if channels == list(range(len(bands))) else torch.tensor(channels, device=device)
        self._sources, self._mask_sources = (
            torch.from_numpy(symmetric_pixels(edge)).to(device) for edge in (self._edge, PATCH_SIZE)
        )

    def __call__(self, raw: RawBatch) -> Batch:
        """The batch that `seg.data.dataset.PatchDataset` would have made on the CPU.

        Args:
            raw: A batch on the device.
        """
        images = torch.cat([self._normalised(i, values_BCHW) for i, values_BCHW in enumerate(raw.groups)], 1)
        if self._channels is not None:
            images = images.index_select(1, self._channels)
        symmetries_B = raw.symmetries_B.long()
        sources_B1P = self._sources[symmetries_B].unsqueeze(1)
        images_BCHW = images.flatten(2).gather(2, sources_B1P.expand(-1, images.shape[1], -1)).view_as(images)
        masks_BHW = raw.masks_BHW.flatten(1).gather(1, self._mask_sources[symmetries_B]).view_as(raw.masks_BHW)
        return Batch(images_BCHW, masks_BHW, raw.labels_BK, raw.rows_B)

    def _normalised(self, group: int, values_BCHW: Tensor) -> Tensor:
        scale, offset = self._scale_and_offset[group]
        if values_BCHW.dtype == torch.int16:
            values_BCHW = values_BCHW.int().bitwise_and_(0xFFFF)
        normalised = values_BCHW * scale + offset
        if self._groups[group].size == PATCH_SIZE:
            return normalised
        # Pixel edges are aligned, as in OpenCV: see `seg.data.transforms`.
        align = False if self._resampling == "bilinear" else None
        edge = normalised.shape[-1] * (PATCH_SIZE // self._groups[group].size)
        fine = functional.interpolate(normalised, size=(edge, edge), mode=self._resampling, align_corners=align)
        beyond = (edge - self._edge) // 2
        return fine[..., beyond : edge - beyond, beyond : edge - beyond]


def preparation(dataset: PatchDataset, device: torch.device) -> DevicePreparation | None:
    """What the batches of a data set need on the device; None if they are network inputs already."""
    if not dataset.raw:
        return None
    return DevicePreparation(dataset.bands, dataset.resampling, device, dataset.context)
