"""Patches that a run was validated on, for what is measured without scoring it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from seg.data.transforms import Normaliser
from seg.errors import SegError
from seg.reben.bands import PATCH_SIZE
from seg.runs.folder import read_run
from seg.runs.use import plan_use

_MOST = 32


def validation_patches(run: Path) -> npt.NDArray[np.float32] | None:
    """Some normalised patches of the validation split of a run, float32 (N, C, 120, 120), if its data are at hand."""
    data = read_run(run).config.data
    # What lies around patches is not read here.
    if data.context or data.store is None or not data.store.is_dir():
        return None
    try:
        use = plan_use(run, split="validation", need_maps=None)
        rows = use.rows[:: max(len(use.rows) // _MOST, 1)][:_MOST]
        normalise = Normaliser(use.inputs.bands, use.inputs.resampling)
        patches_NCHW = np.empty((len(rows), len(use.inputs.bands), PATCH_SIZE, PATCH_SIZE), np.float32)
        for row, patch_CHW in zip(rows, patches_NCHW, strict=True):
            normalise(use.store.arrays(int(row)), patch_CHW)
    except SegError:
        # What is wrong with the data is no reason to refuse the weights.
        return None
    return patches_NCHW
