"""Radiometric jitter: training patches get brighter or darker, each sensor in the units that it measures in.

Sun, haze, season and moisture change what the same land sends back from tile to tile. Reflectance then changes by a
factor, so that what reflects nothing still does; backscatter changes by a difference in dB, which is a factor too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seg.config.training import TrainConfig
from seg.errors import WrongUseError
from seg.reben.bands import BANDS, of_sensor

if TYPE_CHECKING:
    from torch import Tensor

    from seg.data.dataset import Batch

_PURPOSE = 0x6A17
"""Tells these random numbers from others with the same seed."""
_OWN = 0.5
"""Standard deviation of what a band does by itself, as a share of that of what all bands of its sensor do together."""


def check_jitter(config: TrainConfig, bands: Sequence[str]) -> None:
    """Check that there are bands of the sensor that is to vary.

    Raises:
        WrongUseError: If there are none.
    """
    wanted = {"reflectance_jitter": ("s2", "Sentinel-2"), "backscatter_jitter": ("s1", "Sentinel-1")}
    for setting, (sensor, name) in wanted.items():
        value = getattr(config, setting)
        if value and not of_sensor(bands, sensor):
            raise WrongUseError(
                f"train.{setting}={value:g} needs bands of {name}, but there are {', '.join(bands)}; leave it at 0"
            )


def jittered(batch: Batch, config: TrainConfig, epoch: int, bands: Sequence[str]) -> Batch:
    """A batch each patch of which is brighter or darker.

    What a patch gets depends on seed, epoch and the patch alone, and on nothing that changes when a run is resumed.

    Args:
        batch: Normalised bands, on any device, which is not waited for.
        config: How much, and the seed.
        epoch: Of the batch.
        bands: Names of the channels.

    Returns:
        The batch itself if nothing is to vary.
    """
    if not (config.reflectance_jitter or config.backscatter_jitter):
        return batch
    import torch

    scale_BC, offset_BC = np.stack([_of_normalised(config, epoch, int(row), bands) for row in batch.rows_B], 1)

    def per_channel(values_BC: npt.NDArray[np.float64]) -> Tensor:
        values = torch.from_numpy(values_BC.astype(np.float32))[:, :, None, None]
        return values.to(batch.images_BCHW.device, non_blocking=True)

    return replace(batch, images_BCHW=batch.images_BCHW * per_channel(scale_BC) + per_channel(offset_BC))


def draw(config: TrainConfig, epoch: int, row: int, bands: Sequence[str]) -> npt.NDArray[np.float64]:
    """By what each band of a patch changes.

    Args:
        config: Standard deviations and seed.
        epoch: Of the batch.
        row: Of the patch in the store's index.
        bands: Names of the bands.

    Returns:
        float64 (C,): natural logarithm of the factor of reflectance, or the difference of backscatter in dB. It is the
        sum of a normal number per sensor and one of half its standard deviation per band.
    """
    random = np.random.default_rng((_PURPOSE, config.seed, epoch, row))
    common = dict(zip(("s1", "s2"), random.standard_normal(2), strict=True))
    deviation = {"s1": config.backscatter_jitter, "s2": config.reflectance_jitter}
    sensors = [BANDS[name].sensor for name in bands]
    own_C = random.standard_normal(len(bands))
    return np.array([deviation[s] * (common[s] + _OWN * own) for s, own in zip(sensors, own_C, strict=True)])


def _of_normalised(config: TrainConfig, epoch: int, row: int, bands: Sequence[str]) -> npt.NDArray[np.float64]:
    """The same for normalised values: what they are multiplied by and what is added then, (2, C)."""
    change_C = draw(config, epoch, row, bands)
    is_decibel_C = np.array([BANDS[name].sensor == "s1" for name in bands])
    mean_C, std_C = np.array([(BANDS[name].mean, BANDS[name].std) for name in bands]).T
    factor_C = np.where(is_decibel_C, 1.0, np.exp(np.where(is_decibel_C, 0.0, change_C)))
    added_C = np.where(is_decibel_C, change_C, 0.0)
    # (f (x std + mean) + d - mean) / std
    return np.stack([factor_C, ((factor_C - 1) * mean_C + added_C) / std_C])
