"""What a map is seen over: the scene or the patches in true colour, or the backscatter where they have none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine

from seg.rasters.layer import Array
from seg.reben.bands import PATCH_SIZE
from seg.reben.patch import PatchId
from seg.scenes.grid import Window
from seg.scenes.reader import Scene
from seg.store.patches import PatchReader

Image = npt.NDArray[np.uint8]

_ROWS = 480
"""Of a scene that are read at a time: whole pixels of all bands."""
_SOMEWHERE = Affine.scale(2)
"""Rasterio warns of rasters that lie nowhere."""


def write_scene_picture(scene: Scene, inner: Window, path: Path) -> bool:
    """Write what a part of a scene looks like as a raster of three bands with overviews, 0 without data.

    Args:
        scene: The scene.
        inner: The part.
        path: The raster.

    Returns:
        Whether the scene has bands of which a picture can be made.

    Raises:
        SceneError: If a file of the scene is damaged.
        OSError: If the raster cannot be written.
    """
    bands = _seen(scene.bands)
    if not bands:
        return False
    step = max(scene.factors.values())
    left = inner.left // step * step
    # Rows of the scene at a time, from where all of its bands have a whole pixel.
    tops = range(inner.top // step * step, inner.top + inner.height, _ROWS)
    with scene.open() as reader:

        def rows() -> Iterator[tuple[int, Image]]:
            for top in tops:
                below = min(top + _ROWS, inner.top + inner.height)
                window = Window(left, top, inner.left + inner.width - left, below - top)
                read = reader.read(window, bands)
                first = max(top, inner.top)
                image_HW3 = image_of({band: _fine(read[band], scene.factors[band], window) for band in bands})
                yield first - inner.top, image_HW3[first - top :, inner.left - left :]

        _write(path, inner.height, inner.width, rows)
    return True


def write_patches_picture(reader: PatchReader, patches: Sequence[PatchId], path: Path) -> bool:
    """Write what the patches of a product look like, on the rectangle that they cover; else as `write_scene_picture`.

    Args:
        reader: The store.
        patches: The patches, all of one product.
        path: The raster.
    """
    if not _seen(tuple(reader.tensors(str(patches[0])))):
        return False
    first_column, first_row = min(patch.column for patch in patches), min(patch.row for patch in patches)
    width = (max(patch.column for patch in patches) - first_column + 1) * PATCH_SIZE
    height = (max(patch.row for patch in patches) - first_row + 1) * PATCH_SIZE

    def rows() -> Iterator[tuple[int, Image]]:
        for row in sorted({patch.row for patch in patches}):
            image_HW3 = np.zeros((PATCH_SIZE, width, 3), np.uint8)
            for patch in (patch for patch in patches if patch.row == row):
                left = (patch.column - first_column) * PATCH_SIZE
                image_HW3[:, left : left + PATCH_SIZE] = image_of(reader.tensors(str(patch)))
            yield (row - first_row) * PATCH_SIZE, image_HW3

    _write(path, height, width, rows)
    return True


def image_of(bands: Mapping[str, npt.NDArray[Any]]) -> Image:
    """The picture of some bands at 10 m, uint8, height x width x 3; 0 in all three where there is no data."""
    from seg.figures.pictures import backscatter, true_colour  # loads matplotlib

    colours_HW3 = true_colour(bands)
    if colours_HW3 is not None:
        return colours_HW3
    seen_HW = np.isfinite(bands["VV"])
    grey_HW = backscatter({"VV": np.where(seen_HW, bands["VV"], 0)})
    assert grey_HW is not None, "there are bands to make a picture of"
    # Dark is no lack of data.
    lit_HW = np.where(seen_HW, np.maximum(grey_HW, 1), 0).astype(np.uint8)
    return np.repeat(lit_HW[..., None], 3, axis=-1)


def _seen(bands: Sequence[str]) -> list[str]:
    """Which of some bands a picture is made of."""
    from seg.figures.pictures import LIMITS

    if LIMITS.keys() <= set(bands):
        return list(LIMITS)
    return ["VV"] if "VV" in bands else []


def _fine(values_HW: Array, factor: int, window: Window) -> Array:
    """A band at 10 m, for the eye."""
    if factor > 1:
        values_HW = values_HW.repeat(factor, axis=0).repeat(factor, axis=1)
    return values_HW[: window.height, : window.width]


def _write(path: Path, height: int, width: int, rows: Callable[[], Iterator[tuple[int, Image]]]) -> None:
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "nodata": 0, "transform": _SOMEWHERE}
    blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256, "bigtiff": "if_safer", "photometric": "rgb"}
    with rasterio.open(path, "w", height=height, width=width, **profile, **blocks) as raster:
        for top, image_HW3 in rows():
            window = rasterio.windows.Window(0, top, width, image_HW3.shape[0])
            raster.write(np.moveaxis(image_HW3, -1, 0), window=window)
    factors = [2**n for n in range(1, 16) if max(height, width) >> n >= 128]
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews(factors, Resampling.average)
