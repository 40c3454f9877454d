"""What only the values of a scene show: that there are any, and that they are DN and dB."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import rasterio.windows

from seg.reben.bands import BANDS
from seg.scenes.grid import SceneError
from seg.scenes.header import open_raster, readable, shown
from seg.scenes.layer import Array, Layer

_ROWS = 256
_BRIGHTEST = 10.0
"""No reflectance reaches it, and hardly a DN of land is below."""


def require_data(layers: list[Layer]) -> None:
    """Make sure that some pixel has data; small bands are looked at first.

    Raises:
        SceneError: If none has, or a file is damaged.
    """
    for layer in sorted(layers, key=lambda layer: layer.header.width * layer.header.height):
        empty = np.isnan if BANDS[layer.band].sensor == "s1" else partial(np.equal, 0)
        if any(not empty(layer.decode(stored)).all() for stored in _strips(layer)):
            return
    raise SceneError(f"{shown(layers[0].header.path)} holds no data: every pixel is nodata; give another scene")


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
        elif layer.floating and layer.gain == 1 and not any(_reaches_numbers(stored) for stored in _strips(layer)):
            raise SceneError(
                f"{shown(layer.header.path)} holds reflectance from 0 to 1, but models see DN; multiply it by 10000 "
                "(or store it as integers with scale and offset tags)"
            )


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
