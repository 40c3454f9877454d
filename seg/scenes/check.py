"""What only the values of a scene show: that there are any, and that they are DN and dB."""

from collections.abc import Iterator

import numpy as np
import rasterio.windows

from seg.reben.bands import BANDS
from seg.scenes.grid import SceneError
from seg.scenes.header import open_raster, readable, shown
from seg.scenes.layer import Array, Layer
from seg.scenes.sample import sample_of

_ROWS = 256
_DARK, _FEW = 950.0, 0.001
"""DN that noise below zero hardly reaches with the offset of 1000, and the share of pixels that may."""
_BRIGHTEST = 10.0
"""No reflectance reaches it, and hardly a DN of land is below."""


def require_data(layers: list[Layer]) -> None:
    """Make sure that some pixel of every band has data.

    Raises:
        SceneError: If a band has none, or a file is damaged.
    """
    empty = [layer for layer in layers if not sample_of(layer).valid]
    if not empty:
        return
    path = shown(empty[0].header.path)
    if len(empty) == len(layers):
        raise SceneError(f"{path} holds no data: every pixel is nodata; give another scene")
    names = ", ".join(layer.band for layer in empty)
    raise SceneError(
        f"{path} holds no data in {names}: every pixel is nodata, NaN or masked; give a scene that has data in all of "
        f"{', '.join(layer.band for layer in layers)}"
    )


def require_units(layers: list[Layer]) -> None:
    """Make sure that Sentinel-2 values are no untagged reflectance and Sentinel-1 values no linear power.

    Raises:
        SceneError: If they are, or a file is damaged.
    """
    for layer in layers:
        if BANDS[layer.band].sensor == "s1":
            # Backscatter of land lies around -10 dB; only a few bright targets are above 0.
            if not any((layer.decode(stored) < 0).any() for stored in _strips(layer)):
                raise SceneError(
                    f"{shown(layer.header.path)}: every value of {layer.band} is positive, so it is linear power or "
                    "amplitude; give it in dB, 10 * log10(power)"
                )
        elif layer.header.dtypes[layer.index - 1] in ("uint8", "int8") and layer.gain == 1:
            raise SceneError(
                f"{shown(layer.header.path)} holds 8-bit values, but models see DN of reflectance times 10000; give "
                "the product's own values, not a picture"
            )
        elif layer.floating and layer.gain == 1 and not any(_reaches_numbers(stored) for stored in _strips(layer)):
            raise SceneError(
                f"{shown(layer.header.path)} holds reflectance from 0 to 1, but models see DN; multiply it by 10000 "
                "(or store it as integers with scale and offset tags)"
            )


def offset_remarks(layers: list[Layer]) -> list[str]:
    """A warning if Sentinel-2 values look as if they still had the offset of 1000.

    Files that were taken out of a product do not say whether it was removed. Without it, the darkest pixels of a scene
    (water, shadow, forest in blue and red) are far below; with it, hardly a pixel is below 1000.
    """
    found = [layer for layer in layers if BANDS[layer.band].sensor == "s2" and layer.gain == 1 and layer.offset == 0]
    if not found or any(_has_dark(stored) for layer in found for stored in _strips(layer)):
        return []
    return [
        f"No value of {shown(found[0].header.path)} and its like is below {_DARK:g}, as if they still had the offset "
        "of 1000 that products have since 2022; if so, say it in tags: gdal_edit.py -scale 0.0001 -offset -0.1 FILE."
    ]


def _has_dark(stored: Array) -> bool:
    """Whether more than a few pixels are darker than anything with the offset is."""
    present = stored[(stored > 0) & np.isfinite(stored)]
    return bool((present < _DARK).sum() > _FEW * max(present.size, 1))


def _reaches_numbers(stored: Array) -> bool:
    return bool((stored[np.isfinite(stored)] > _BRIGHTEST).any())


def _strips(layer: Layer) -> Iterator[Array]:
    """Stored values of a band, strip by strip, from the middle outwards."""
    header = layer.header
    rows = max(_ROWS, header.block[0] if header.block[0] < header.height else _ROWS)
    tops = sorted(range(0, header.height, rows), key=lambda top: abs(top + rows // 2 - header.height // 2))
    with open_raster(header.path) as raster, readable(header.path):
        for top in tops:
            window = rasterio.windows.Window(0, top, header.width, min(rows, header.height - top))
            yield raster.read(layer.index, window=window)
