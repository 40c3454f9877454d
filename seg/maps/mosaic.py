"""Patch maps put side by side."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX
from seg.reben.patch import GeoRef, PatchId


def assemble(maps: Mapping[PatchId, npt.NDArray[np.uint8]]) -> tuple[npt.NDArray[np.uint8], GeoRef]:
    """One map of the patches of one Sentinel-2 product, cropped to the rectangle that they cover.

    Args:
        maps: Class indices of every patch, uint8, 120 x 120.

    Returns:
        Class indices, uint8, height x width, 255 where no patch lies, and where the map lies. At most 10,920 pixels
        along an edge, which takes 119 MB.

    Raises:
        ValueError: If there is no patch, the patches are of several products, or a map is not 120 x 120 uint8.
    """
    products = sorted({patch.product for patch in maps})
    if not products:
        raise ValueError("there are no patch maps to put together; export at least one patch")
    if len(products) > 1:
        raise ValueError(
            f"patches of one product make a mosaic, but these are of {len(products)}, such as {products[0]} and "
            f"{products[1]}; group the patches by product"
        )
    columns, rows = {patch.column for patch in maps}, {patch.row for patch in maps}
    corner = replace(next(iter(maps)), column=min(columns), row=min(rows))
    height, width = (max(rows) - corner.row + 1) * PATCH_SIZE, (max(columns) - corner.column + 1) * PATCH_SIZE
    mosaic_HW = np.full((height, width), IGNORE_INDEX, dtype=np.uint8)
    for patch, classes_HW in maps.items():
        if classes_HW.shape != (PATCH_SIZE, PATCH_SIZE) or classes_HW.dtype != np.uint8:
            raise ValueError(f"the map of {patch} is {classes_HW.dtype} {classes_HW.shape}; pass uint8 120 x 120")
        top, left = (patch.row - corner.row) * PATCH_SIZE, (patch.column - corner.column) * PATCH_SIZE
        mosaic_HW[top : top + PATCH_SIZE, left : left + PATCH_SIZE] = classes_HW
    return mosaic_HW, replace(corner.georef, width=width, height=height)
