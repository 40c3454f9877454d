"""Modality dropout: training patches lose one of their two sensors, so that the network learns to do without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seg.errors import WrongUseError
from seg.reben.bands import SENSORS, of_sensor
from seg.store.index import Rows

if TYPE_CHECKING:
    from torch import Tensor

_PURPOSE = 0x5E15
"""Tells these random numbers from others with the same seed."""


def check_modality_dropout(probability: float, bands: Sequence[str]) -> None:
    """Check that there are two sensors of which one can be lost.

    Raises:
        WrongUseError: If there is only one.
    """
    if probability and not all(of_sensor(bands, sensor) for sensor in SENSORS):
        raise WrongUseError(
            f"train.modality_dropout={probability:g} needs bands of Sentinel-1 and of Sentinel-2, but there are "
            f"{', '.join(bands)}; use --modality s1s2, or leave it at 0"
        )


def sensors_present(probability: float, seed: int, epoch: int, rows_B: Rows) -> Tensor | None:
    """Which sensors each patch of a batch keeps.

    A function of its arguments alone: a resumed run, another batch size and any number of processes lose the same.

    Args:
        probability: That a patch loses one of its sensors, either of them equally likely; never both.
        seed: Of the run.
        epoch: Of the batch.
        rows_B: Rows of the patches in the store's index.

    Returns:
        bool (B, 2) in the order of `SENSORS`, on the CPU; None where none can be lost.
    """
    import torch

    if not probability:
        return None
    drawn_B2 = np.array([np.random.default_rng((_PURPOSE, seed, epoch, int(row))).random(2) for row in rows_B])
    loses_B, first_B = drawn_B2[:, 0] < probability, drawn_B2[:, 1] < 0.5
    return torch.from_numpy(~np.stack([loses_B & first_B, loses_B & ~first_B], 1))
