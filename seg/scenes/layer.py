"""One band of a scene: where it stands, and how its stored values become those of reBEN."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.reben.bands import BANDS
from seg.reben.patch import GeoRef
from seg.scenes.grid import FACTORS, PIXEL_METRES, SceneError
from seg.scenes.header import Header, shown
from seg.scenes.place import grid_of, warp_advice

Array = npt.NDArray[Any]
REFLECTANCE_SCALE = 10_000
"""reBEN's DN of reflectance 1."""
_TOLERANCE = 0.01
"""How far corners may be apart, metres: file formats round coordinates."""

_STORED = np.arange(65536, dtype=np.uint16)


@dataclass(frozen=True, slots=True)
class Layer:
    """A band in a file.

    Attributes:
        band: Its name in `seg.reben.bands`.
        header: Of the file.
        index: Of the band in the file, from 1.
        gain, offset: reBEN's value of a stored value v is ``gain * v + offset``.
    """

    band: str
    header: Header
    index: int = 1
    gain: float = 1.0
    offset: float = 0.0

    @property
    def nodata(self) -> float | None:
        """The declared stored value of pixels without data."""
        return self.header.nodata[self.index - 1]

    @property
    def floating(self) -> bool:
        """Whether stored values are floating-point numbers."""
        return self.header.dtypes[self.index - 1].startswith("float")

    @property
    def factor(self) -> int:
        """10 m pixels per pixel of the band along an edge."""
        return round(self.header.pixel_size / PIXEL_METRES)

    def decode(self, stored: Array) -> Array:
        """Values as in reBEN of stored ones.

        Returns:
            Same shape. Sentinel-2: uint16 DN, 0 without data, 1 to 65535 elsewhere. Sentinel-1: float32 dB, NaN
            without data.
        """
        return self._decibels(stored) if BANDS[self.band].sensor == "s1" else self._numbers(stored)

    def _numbers(self, stored: Array) -> npt.NDArray[np.uint16]:
        if stored.dtype == np.uint16 and stored.size > _STORED.size:
            return np.take(self._numbers(_STORED), stored)
        empty = stored == 0
        if self.nodata is not None and self.nodata != 0:
            empty |= stored == self.nodata
        if self.floating:
            empty |= ~np.isfinite(stored)
        # Data darker than the offset stay data.
        values = stored.astype(np.float64) * self.gain + self.offset
        numbers = np.clip(np.rint(np.nan_to_num(values, nan=1)), 1, 65535).astype(np.uint16)
        numbers[empty] = 0
        return numbers

    def _decibels(self, stored: Array) -> npt.NDArray[np.float32]:
        values = stored.astype(np.float32)
        # Zero is what tools fill with that declare nothing; a measurement is never exactly 0 dB.
        empty = values == np.float32(0 if self.nodata is None else self.nodata)
        if (self.gain, self.offset) != (1.0, 0.0):
            values = values * np.float32(self.gain) + np.float32(self.offset)
        empty |= ~np.isfinite(values)
        values[empty] = np.nan
        return values


def tagged_layer(band: str, header: Header, index: int = 1) -> Layer:
    """A band whose scale and offset stand in the file's tags.

    By GDAL's convention ``stored * scale + offset`` is the physical value: a reflectance for Sentinel-2, dB for
    Sentinel-1. Sentinel-2 values without a scale are DN.
    """
    scale, offset = header.scales[index - 1], header.offsets[index - 1]
    if BANDS[band].sensor == "s2" and scale != 1:
        scale, offset = scale * REFLECTANCE_SCALE, offset * REFLECTANCE_SCALE
    return Layer(band, header, index, scale, offset)


def common_grid(layers: Sequence[Layer]) -> GeoRef:
    """The 10 m grid of bands of one scene.

    Raises:
        SceneError: If a band has no usable georeference, its pixel size is none of 10, 20 and 60 m or coarser than that
            of reBEN, or the bands do not cover the same place.
    """
    grids = [grid_of(layer.header, radar=BANDS[layer.band].sensor == "s1") for layer in layers]
    for layer, grid in zip(layers, grids, strict=True):
        _require_pixel_size(layer, grid.pixel_size)
    finest = min(range(len(layers)), key=lambda i: layers[i].factor)
    factor, first = layers[finest].factor, grids[finest]
    common = GeoRef(first.epsg, first.x_min, first.y_max, PIXEL_METRES, first.width * factor, first.height * factor)
    for layer, grid in zip(layers, grids, strict=True):
        size = (-(-common.width // layer.factor), -(-common.height // layer.factor))
        if grid.epsg != common.epsg:
            how = f"EPSG:{grid.epsg} is not EPSG:{common.epsg}"
        elif max(abs(grid.x_min - common.x_min), abs(grid.y_max - common.y_max)) > _TOLERANCE:
            how = f"its corner is {grid.x_min:.10g} {grid.y_max:.10g}, not {common.x_min:.10g} {common.y_max:.10g}"
        elif (grid.width, grid.height) != size:
            how = f"it has {grid.width} x {grid.height} pixels, not {size[0]} x {size[1]}"
        else:
            continue
        raise SceneError(
            f"{shown(layer.header.path)} does not lie on the grid of {shown(layers[finest].header.path)}: {how}; "
            "give bands of one product, all cut alike"
        )
    return common


def _require_pixel_size(layer: Layer, metres: float) -> None:
    own = BANDS[layer.band].pixel_size
    if layer.factor not in FACTORS or abs(metres - layer.factor * PIXEL_METRES) > 1e-6:
        raise SceneError(
            f"{shown(layer.header.path)} has pixels of {metres:g} m; the bands of a scene have 10, 20 or 60 m: "
            f"{warp_advice(layer.header, own)}"
        )
    if layer.factor * PIXEL_METRES > own:
        raise SceneError(
            f"{shown(layer.header.path)} holds {layer.band} with pixels of {metres:g} m, coarser than the {own} m that "
            "models see; give the file of that resolution"
        )
