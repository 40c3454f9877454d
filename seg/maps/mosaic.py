"""Patch maps put side by side, and compared with their reference."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from seg.errors import MapError
from seg.maps.geotiff import write_values
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX
from seg.reben.patch import GeoRef, PatchId
from seg.styles.palette import RIGHT, UNLABELLED, WRONG, Palette


def assemble(maps: Mapping[PatchId, npt.NDArray[np.uint8]]) -> tuple[npt.NDArray[np.uint8], GeoRef]:
    """One map of the patches of one Sentinel-2 product, cropped to the rectangle that they cover.

    Args:
        maps: Class indices of every patch, uint8, 120 x 120.

    Returns:
        Class indices, uint8, height x width, 255 where no patch lies, and where the map lies. At most 10,920 pixels
        along an edge, which takes 119 MB.

    Raises:
        MapError: If there is no patch, the patches are of several products, or a map is not 120 x 120 uint8.
    """
    products = sorted({patch.product for patch in maps})
    if not products:
        raise MapError("there are no patch maps to put together; export at least one patch")
    if len(products) > 1:
        raise MapError(
            f"patches of one product make a mosaic, but these are of {len(products)}, such as {products[0]} and "
            f"{products[1]}; group the patches by product"
        )
    columns, rows = {patch.column for patch in maps}, {patch.row for patch in maps}
    corner = replace(next(iter(maps)), column=min(columns), row=min(rows))
    height, width = (max(rows) - corner.row + 1) * PATCH_SIZE, (max(columns) - corner.column + 1) * PATCH_SIZE
    mosaic_HW = np.full((height, width), IGNORE_INDEX, dtype=np.uint8)
    for patch, classes_HW in maps.items():
        if classes_HW.shape != (PATCH_SIZE, PATCH_SIZE) or classes_HW.dtype != np.uint8:
            raise MapError(f"the map of {patch} is {classes_HW.dtype} {classes_HW.shape}; pass uint8 120 x 120")
        top, left = (patch.row - corner.row) * PATCH_SIZE, (patch.column - corner.column) * PATCH_SIZE
        mosaic_HW[top : top + PATCH_SIZE, left : left + PATCH_SIZE] = classes_HW
    return mosaic_HW, replace(corner.georef, width=width, height=height)


def agreement(reference_HW: npt.NDArray[np.uint8], predicted_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Where a predicted map agrees with its reference.

    Args:
        reference_HW: Class indices, uint8; 255 where unlabelled.
        predicted_HW: Class indices, uint8; 255 where there is no prediction.

    Returns:
        uint8, height x width: 1 right, 0 wrong, 2 predicted but unlabelled, 255 without a prediction.
    """
    marks_HW = np.where(reference_HW == predicted_HW, RIGHT, WRONG).astype(np.uint8)
    marks_HW[reference_HW == IGNORE_INDEX] = UNLABELLED
    marks_HW[predicted_HW == IGNORE_INDEX] = IGNORE_INDEX
    return marks_HW


def write_strips(folder: Path, files: Mapping[PatchId, Path], palette: Palette | None) -> list[Path]:
    """One GeoTIFF for each row of patches of a product, so that a mosaic has ninety parts and not eight thousand.

    Only one row, at most 19 bands of 1.3 MB, is held at a time.

    Args:
        folder: Where the strips are written; made if need be.
        files: Map of each patch, uint8, 120 x 120, on the grid that its id implies. All of one product.
        palette: What their values mean; None: they are probabilities.

    Returns:
        The strips from north to south, all as wide as the product's patches reach, 255 where no patch lies.

    Raises:
        OSError: If a map cannot be read or a strip not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = {patch.column for patch in files}
    width = (max(columns) - min(columns) + 1) * PATCH_SIZE
    strips = []
    for row, patches in groupby(sorted(files, key=lambda patch: patch.row), lambda patch: patch.row):
        values_KHW, names = read_row(list(patches), files, min(columns), width)
        corner = replace(next(iter(files)), column=min(columns), row=row)
        strips.append(folder / f"{row:02d}.tif")
        write_values(strips[-1], values_KHW, replace(corner.georef, width=width), {}, names, palette)
    return strips


def read_row(
    patches: Sequence[PatchId], files: Mapping[PatchId, Path], first_column: int, width: int
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """A row of the patches of a product.

    Args:
        patches: Of one row.
        files: Map of each.
        first_column: Column of patches that the mosaic begins with.
        width: Of the mosaic, pixels.

    Returns:
        Values, uint8, bands x 120 x width, 255 where no patch lies, and the names of the bands.

    Raises:
        OSError: If a map cannot be read.
    """
    values_KHW, names = np.empty((0, PATCH_SIZE, width), np.uint8), ()
    for patch in patches:
        with rasterio.open(files[patch]) as dataset:
            if not len(values_KHW):
                values_KHW = np.full((dataset.count, PATCH_SIZE, width), IGNORE_INDEX, dtype=np.uint8)
                names = dataset.descriptions
            left = (patch.column - first_column) * PATCH_SIZE
            values_KHW[:, :, left : left + PATCH_SIZE] = dataset.read()
    return values_KHW, names
