"""One band of a scene: where it stands, and how its stored values become those of reBEN."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.errors import SceneError
from seg.rasters.grid import FACTORS, PIXEL_METRES
from seg.rasters.header import Header, shown
from seg.rasters.place import grid_of, warp_advice
from seg.reben.bands import BANDS
from seg.reben.patch import GeoRef

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
REFLECTANCE_SCALE = 10_000
"""reBEN's DN of reflectance 1."""
POSSIBLE: Mapping[str, tuple[float, float]] = {"s1": (-80.0, 60.0), "s2": (-2000.0, 65535.5)}
"""Values by sensor, in dB and DN, beyond which there is no measurement: the noise of Sentinel-1 lies above -60 dB, DN
without the offset cannot be below -1000 and are stored in 16 bits."""
MEASURED: Mapping[str, tuple[float, float]] = {"s1": POSSIBLE["s1"], "s2": (-400.0, 30_000.0)}
"""The same but for single pixels of Sentinel-2: corrections err by 200 DN at most in shadow and over water, and even
clouds have no reflectance of 3."""
_TOLERANCE = 0.01
"""How far corners may be apart, metres: file formats round coordinates."""

_SINGLE = float(np.finfo(np.float32).max)
_STORED = np.arange(65536, dtype=np.uint16)


@dataclass(frozen=True, slots=True)
class Layer:
    """A band in a file.

    Attributes:
        band: Its name in `seg.reben.bands`.
        header: Of the file.
        index: Of the band in the file, from 1.
        gain, offset: reBEN's value of a stored value v is ``gain * v + offset``.
        alpha: Band of the file that is 0 where this one has no data, from 1; None if there is none.
        fills: Stored values that stand for no data though the file does not declare them; see `seg.rasters.fill`.
        constants: Stored values that stand for no data where all bands of Sentinel-2 in the scene have theirs: the
            first of each band belong together, and so on.
        names: Of all bands of the file in their order, as it or the user says, ``-`` for those that are none of
            reBEN's; empty where they are not told from each other by names.
    """

    band: str
    header: Header
    index: int = 1
    gain: float = 1.0
    offset: float = 0.0
    alpha: int | None = None
    fills: tuple[float, ...] = ()
    constants: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def dtype(self) -> str:
        """Of stored values."""
        return self.header.dtypes[self.index - 1]

    @property
    def nodata(self) -> float | None:
        """The declared stored value of pixels without data; None also if the data type cannot hold what is declared."""
        value = self.header.nodata[self.index - 1]
        return value if value is None or self.floating or float(value).is_integer() else None

    @property
    def masked(self) -> bool:
        """Whether the file has a mask or an alpha band for it."""
        return self.alpha is not None or self.index in self.header.masked

    @property
    def zero_is_empty(self) -> bool:
        """Whether a stored 0 is no data: it is what tools fill with that declare nothing, and products do."""
        return not self.nodata

    @property
    def floating(self) -> bool:
        """Whether stored values are floating-point numbers."""
        return self.dtype.startswith("float")

    @property
    def factor(self) -> int:
        """10 m pixels per pixel of the band along an edge."""
        return round(self.header.pixel_size / PIXEL_METRES)

    def present(self, stored: Array, mask: Mask | None = None) -> Mask:
        """Which stored values are data, as far as the file and its undeclared fills tell: finite, and none of them.

        Args:
            stored: Values as the file holds them.
            mask: Where its masks have data, as `seg.rasters.validity.read_bands` gives them; None: everywhere.
        """
        present: Mask = np.isfinite(stored) if self.floating else np.ones(stored.shape, np.bool_)
        declared = 0.0 if self.zero_is_empty else self.nodata or 0.0
        for value in (declared, *self.fills):
            # Integers are compared as such, which is faster; a NaN differs from everything.
            present &= stored != (value if self.floating else int(value))
            if stored.dtype == np.float64 and abs(value) <= _SINGLE:
                # What was declared, or computed, in single precision.
                present &= stored != float(np.float32(value))
        return present if mask is None else present & mask

    def possible(self, values: Array) -> Mask:
        """Which values in reBEN's unit can be measured."""
        low, high = POSSIBLE[BANDS[self.band].sensor]
        return np.asarray((values >= low) & (values <= high), np.bool_)

    def in_units(self, stored: Array) -> npt.NDArray[np.float64]:
        """Stored values in reBEN's unit, neither clipped nor rounded."""
        values: npt.NDArray[np.float64] = stored.astype(np.float64) * self.gain + self.offset
        return values

    def decode(self, stored: Array, mask: Mask | None = None, lost: list[Mask] | None = None) -> Array:
        """Values as in reBEN of stored ones.

        Args:
            stored: Values as the file holds them.
            mask: As `present` takes it.
            lost: Is given which pixels have values that cannot be measured, if there are any.

        Returns:
            Same shape. Sentinel-2: uint16 DN, 0 without data, 1 to 65535 elsewhere. Sentinel-1: float32 dB, NaN
            without data. What cannot be measured is no data.
        """
        if stored.dtype == np.uint16 and stored.size > _STORED.size:
            strange: list[Mask] = []
            values: Array = np.take(self.decode(_STORED, None, strange), stored)
            if mask is not None:
                values[~mask] = self._nothing
            impossible = np.take(strange[0], stored) if strange else None
            if impossible is not None and mask is not None:
                impossible &= mask
        else:
            present, sentinel1 = self.present(stored, mask), BANDS[self.band].sensor == "s1"
            values = stored.astype(np.float32 if sentinel1 else np.float64)
            if (self.gain, self.offset) != (1.0, 0.0):
                values = values * values.dtype.type(self.gain) + values.dtype.type(self.offset)
            possible = self.possible(values)
            impossible = present & ~possible
            present &= possible
            if not sentinel1:
                # Data darker than the offset stay data.
                values = np.clip(np.rint(np.where(present, values, 1)), 1, 65535).astype(np.uint16)
            values[~present] = self._nothing
        if lost is not None and impossible is not None and impossible.any():
            lost.append(impossible)
        return values

    @property
    def _nothing(self) -> float:
        return math.nan if BANDS[self.band].sensor == "s1" else 0


def tagged_layer(band: str, header: Header, index: int = 1, alpha: int | None = None) -> Layer:
    """A band whose scale and offset stand in the file's tags.

    By GDAL's convention ``stored * scale + offset`` is the physical value: a reflectance for Sentinel-2, dB for
    Sentinel-1. Sentinel-2 values without a scale are DN.

    Raises:
        SceneError: If the scale is 0 or a tag no number, or the values are complex.
    """
    return scaled_layer(band, header, (header.scales[index - 1], header.offsets[index - 1]), index, alpha)


def scaled_layer(
    band: str, header: Header, values: tuple[float, float], index: int = 1, alpha: int | None = None
) -> Layer:
    """A band whose scale and offset are said anywhere; see `tagged_layer`.

    Raises:
        SceneError: As there.
    """
    scale, offset = values
    if header.dtypes[index - 1].startswith("complex"):
        raise SceneError(
            f"{shown(header.path)} holds complex numbers for {band}; give "
            + ("calibrated backscatter in dB" if BANDS[band].sensor == "s1" else "DN of reflectance")
        )
    if not scale or not math.isfinite(scale) or not math.isfinite(offset):
        raise SceneError(
            f"{shown(header.path)} gives {band} a scale of {scale:g} and an offset of {offset:g}, which leave nothing "
            "of its values; set these tags right, or write the file anew without them"
        )
    if BANDS[band].sensor == "s2" and scale != 1:
        scale, offset = scale * REFLECTANCE_SCALE, offset * REFLECTANCE_SCALE
    return Layer(band, header, index, scale, offset, alpha)


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
        # All bands of one file become alike, so that the finest decides.
        wanted = own if len(layer.header.dtypes) == 1 else round(PIXEL_METRES)
        raise SceneError(
            f"{shown(layer.header.path)} has pixels of {metres:g} m; the bands of a scene have 10, 20 or 60 m: "
            f"{warp_advice(layer.header, wanted)}"
        )
    if layer.factor * PIXEL_METRES > own:
        raise SceneError(
            f"{shown(layer.header.path)} holds {layer.band} with pixels of {metres:g} m, coarser than the {own} m that "
            "models see; give the file of that resolution"
        )
