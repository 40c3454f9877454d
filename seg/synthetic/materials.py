"""What each kind of ground looks like to Sentinel-2 and Sentinel-1, through the year.

Reflectance is a linear mixture of two spectra, the ground without its green leaves and the green canopy; backscatter
goes over from a leafless to a leafy value in the same way (in dB, as in a water-cloud model to first order). The share
of green follows the season, the latitude and, within a material, the parcel.

The spectra are typical Sentinel-2 L2A values, set so that the classes come out near what was measured on 84 official
patches (B02, B03, B04, B08, VV and VH per class; all bands on four patches), and the band statistics near those of the
official train split. They are not taken from a spectral library.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

VARIANTS = 6
"""Kinds of parcel within a material: how far its plants are, and how bright it is."""

Table = npt.NDArray[np.float32]

# DN in B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12.
_SPECTRA: dict[str, tuple[int, ...]] = {
    "clear": (125, 125, 165, 140, 165, 130, 135, 115, 115, 130, 70, 50),
    "turbid": (420, 500, 720, 540, 520, 480, 500, 420, 440, 560, 230, 140),
    "salt": (230, 180, 155, 75, 72, 60, 62, 52, 50, 70, 45, 38),
    "wet": (450, 500, 680, 760, 850, 900, 920, 950, 970, 1000, 900, 640),
    "lush": (280, 290, 660, 330, 1110, 3300, 4100, 4300, 4380, 4300, 1900, 840),
    "crop": (280, 280, 600, 310, 1050, 3150, 3900, 4050, 4150, 4100, 1850, 820),
    "bloom": (330, 400, 1080, 980, 1700, 3000, 3500, 3700, 3800, 3750, 1900, 950),
    "leaves": (220, 225, 425, 250, 730, 2450, 3050, 3220, 3320, 3300, 1560, 720),
    "needles": (190, 190, 335, 235, 550, 1520, 1850, 1950, 2010, 2000, 960, 460),
    "shrubs": (240, 250, 480, 340, 850, 2150, 2600, 2750, 2850, 2850, 1700, 880),
    "sclero": (230, 240, 440, 360, 760, 1650, 1950, 2080, 2200, 2200, 1600, 880),
    "straw": (430, 520, 850, 1040, 1480, 1900, 2080, 2270, 2400, 2400, 3250, 2400),
    "litter": (230, 250, 410, 490, 740, 1030, 1180, 1370, 1480, 1530, 1780, 1130),
    "pale": (370, 410, 680, 720, 1100, 1700, 1950, 2080, 2180, 2180, 2150, 1350),
    "humus": (420, 470, 660, 800, 980, 1140, 1240, 1370, 1480, 1480, 1950, 1550),
    "loam": (580, 740, 1130, 1370, 1700, 1940, 2100, 2280, 2420, 2410, 3300, 2750),
    "peat": (240, 270, 450, 490, 800, 1280, 1480, 1620, 1720, 1740, 1700, 980),
    "rock": (620, 760, 980, 1130, 1290, 1420, 1520, 1640, 1720, 1680, 2150, 1850),
    "sand": (1150, 1600, 2150, 2500, 2750, 2900, 3000, 3150, 3220, 3050, 3700, 3250),
    "tiles": (680, 820, 1020, 1280, 1520, 1720, 1860, 2020, 2120, 2150, 2250, 1900),
    "asphalt": (620, 680, 820, 870, 1020, 1110, 1200, 1310, 1360, 1380, 1500, 1330),
    "metal": (1400, 1800, 2050, 2250, 2420, 2520, 2620, 2750, 2800, 2750, 2900, 2600),
    "salt pan": (900, 1050, 1250, 1350, 1350, 1300, 1280, 1250, 1230, 1200, 800, 560),
    "charcoal": (280, 310, 390, 450, 560, 700, 800, 900, 980, 1000, 1700, 1600),
}
SNOW_SPECTRUM: Table = np.array(
    (6700, 6900, 6750, 6900, 6800, 6700, 6650, 6500, 6350, 6100, 850, 800), dtype=np.float32
)
CLOUD_SPECTRUM: Table = np.array(
    (5400, 5300, 5100, 5250, 5450, 5600, 5700, 5800, 5850, 5700, 4200, 3200), dtype=np.float32
)


def _rise(day: float, middle: float, width: float) -> float:
    """Smooth step from 0 to 1 around a day of the year."""
    return float(1 / (1 + np.exp(-(day - middle) / width)))


def _hump(day: float, start: float, end: float, width: float = 8.0) -> float:
    return _rise(day, start, width) * (1 - _rise(day, end, width))


def _grass(day: float, north: float) -> float:
    late = 2.5 * (north - 45)
    return 0.33 + 0.6 * _hump(day, 85 + late, 315 - late, 14) - 0.15 * _hump(day, 180, 230)


def _winter_crop(day: float, north: float) -> float:
    late = 2.2 * (north - 46)
    spring = (0.3 + 0.7 * _rise(day, 95 + late, 12)) * (1 - _rise(day, 182 + late, 6))
    return max(0.3 * _rise(day, 305 - late, 12), spring)


_SEASONS: dict[str, Callable[[float, float], float]] = {
    "never": lambda day, north: 0.0,
    "evergreen": lambda day, north: 0.8 + 0.2 * _hump(day, 100, 300, 20),
    "leaves": lambda day, north: 0.04 + 0.96 * _hump(day, 105 + (late := 3.0 * (north - 45)), 298 - 0.5 * late, 7),
    "grass": _grass,
    # Dries out in the Mediterranean summer and is green in winter.
    "rain grass": lambda day, north: 0.8 * _grass(day, north) if north > 45 else 0.75 - 0.68 * _hump(day, 140, 305, 10),
    "winter crop": _winter_crop,
    "summer crop": lambda day, north: 0.03 + 0.93 * _hump(day, 160 + (late := 1.5 * (north - 46)), 258 + 0.5 * late, 9),
    "bloom": lambda day, north: max(
        0.6 * _rise(day, 290 - (late := 2.2 * (north - 46)), 10), _hump(day, 60 + late, 175 + late, 10)
    ),
}
"""Share of green, 0 to 1, from the day of the year and the latitude. Spring comes about three days later per degree of
latitude (Hopkins' law is four), autumn earlier."""


class Material(NamedTuple):
    """One kind of ground.

    Attributes:
        name: As in the mixtures of `seg.synthetic.surface`.
        ground, canopy: Spectra without and with green leaves.
        season: Of the green share.
        spread, contrast: How far parcels differ in their green share, and in brightness, relative.
        texture: Relative standard deviation of a pixel's reflectance within a parcel.
        bare_db, green_db: Backscatter (VV, VH) in dB without and with leaves.
        rough_db: Standard deviation of backscatter within a parcel before speckle, dB.
        snow: Share of the ground that a snow cover hides.
        moist: How far backscatter follows soil moisture, 0 to 1.
    """

    name: str
    ground: str
    canopy: str
    season: str
    spread: float
    contrast: float
    texture: float
    bare_db: tuple[float, float]
    green_db: tuple[float, float]
    rough_db: float
    snow: float
    moist: float


_M = Material
MATERIALS: tuple[Material, ...] = (
    # Water: lakes are browner than the sea, rivers muddier; backscatter is set by the wind, see `backscatter_table`.
    _M("lake", "clear", "turbid", "never", 0.16, 0, 0.05, (-18.8, -24.8), (-18.8, -24.8), 0.8, 0.75, 0),
    _M("river", "turbid", "clear", "never", 0.3, 0, 0.05, (-18, -25), (-18, -25), 0.8, 0.2, 0),
    _M("sea", "salt", "turbid", "never", 0.1, 0, 0.05, (-19, -28), (-19, -28), 0.6, 0.15, 0),
    _M("conifer", "litter", "needles", "evergreen", 0.12, 0.13, 0.17, (-10.6, -16.4), (-9.6, -15.2), 1.1, 0.3, 0.1),
    _M("broadleaf", "litter", "leaves", "leaves", 0.15, 0.1, 0.14, (-9.9, -15.6), (-10.4, -15.9), 1.1, 0.55, 0.1),
    _M("young wood", "straw", "shrubs", "leaves", 0.35, 0.12, 0.16, (-11.2, -17.6), (-10.9, -16.8), 1.2, 0.7, 0.3),
    _M("shrub", "litter", "shrubs", "grass", 0.35, 0.14, 0.15, (-11.6, -18.2), (-11.0, -17.2), 1.2, 0.75, 0.3),
    _M("clearcut", "straw", "shrubs", "grass", 0.4, 0.18, 0.13, (-12.5, -19.5), (-11.9, -18.3), 1.3, 0.92, 0.6),
    _M("meadow", "pale", "lush", "grass", 0.3, 0.09, 0.06, (-13.0, -20.2), (-12.6, -19.4), 1.2, 0.97, 0.7),
    _M("rough grass", "straw", "lush", "rain grass", 0.3, 0.13, 0.11, (-12.2, -19.6), (-11.8, -18.8), 1.2, 0.9, 0.5),
    _M("dry grass", "straw", "lush", "rain grass", 0.2, 0.13, 0.1, (-13.4, -21.2), (-12.6, -20.0), 0.9, 0.9, 0.6),
    _M("winter crop", "loam", "crop", "winter crop", 0.35, 0.22, 0.05, (-11.4, -19.6), (-13.0, -19.0), 1.2, 0.97, 1),
    _M("summer crop", "humus", "crop", "summer crop", 0.35, 0.25, 0.05, (-11.6, -19.8), (-10.4, -16.9), 1.2, 0.97, 1),
    _M("rape", "loam", "bloom", "bloom", 0.15, 0.06, 0.05, (-11.6, -19.4), (-10.6, -15.8), 0.7, 0.97, 0.8),
    _M("rice", "wet", "crop", "summer crop", 0.25, 0.1, 0.05, (-17.0, -24.0), (-10.8, -17.8), 0.8, 0.9, 0.2),
    _M("vineyard", "loam", "shrubs", "leaves", 0.3, 0.14, 0.1, (-11.2, -18.6), (-10.8, -17.6), 1.3, 0.9, 0.6),
    _M("orchard", "pale", "leaves", "leaves", 0.25, 0.12, 0.16, (-10.9, -17.6), (-10.6, -17.0), 1.2, 0.8, 0.4),
    _M("olive", "loam", "sclero", "evergreen", 0.3, 0.12, 0.17, (-11.4, -18.2), (-10.8, -17.2), 1.3, 0.8, 0.4),
    _M("montado", "straw", "sclero", "evergreen", 0.45, 0.12, 0.17, (-12.0, -18.8), (-11.2, -17.4), 1.4, 0.8, 0.4),
    _M("heath", "peat", "sclero", "grass", 0.3, 0.13, 0.12, (-11.8, -18.4), (-11.2, -17.6), 1.1, 0.9, 0.4),
    _M("maquis", "rock", "sclero", "evergreen", 0.25, 0.13, 0.14, (-10.9, -17.2), (-10.2, -16.1), 1.1, 0.8, 0.3),
    _M("bog", "peat", "pale", "grass", 0.35, 0.12, 0.1, (-11.0, -19.0), (-10.8, -18.4), 1.0, 0.95, 0.4),
    _M("reed", "straw", "shrubs", "grass", 0.3, 0.12, 0.1, (-9.6, -17.6), (-10.2, -17.4), 1.2, 0.9, 0.1),
    _M("salt marsh", "wet", "shrubs", "grass", 0.3, 0.14, 0.11, (-13.2, -20.6), (-12.4, -19.6), 1.1, 0.8, 0.1),
    _M("mud", "wet", "turbid", "never", 0.5, 0.15, 0.06, (-15.5, -23.5), (-15.5, -23.5), 1.0, 0.3, 0),
    _M("saline", "salt pan", "turbid", "never", 0.9, 0.22, 0.05, (-18.0, -25.5), (-18.0, -25.5), 0.8, 0.3, 0),
    _M("sand", "sand", "straw", "never", 0.2, 0.12, 0.06, (-15.8, -24.0), (-15.8, -24.0), 1.0, 0.95, 0.2),
    _M("rock", "rock", "straw", "never", 0.3, 0.18, 0.14, (-10.4, -18.6), (-10.4, -18.6), 1.8, 0.85, 0.1),
    _M("roof", "tiles", "metal", "never", 0.25, 0.22, 0.16, (-5.0, -13.6), (-5.0, -13.6), 3.4, 0.7, 0),
    _M("garden", "pale", "leaves", "leaves", 0.35, 0.12, 0.14, (-10.4, -16.8), (-10.4, -16.6), 1.6, 0.9, 0.3),
    _M("asphalt", "asphalt", "tiles", "never", 0.2, 0.15, 0.1, (-12.5, -20.0), (-12.5, -20.0), 2.4, 0.6, 0),
    _M("hall", "metal", "asphalt", "never", 0.5, 0.3, 0.08, (-4.5, -14.0), (-4.5, -14.0), 4.0, 0.85, 0),
    _M("yard", "asphalt", "metal", "never", 0.3, 0.15, 0.12, (-9.0, -17.4), (-9.0, -17.4), 3.2, 0.6, 0),
    _M("bare", "loam", "sand", "never", 0.5, 0.2, 0.08, (-12.6, -21.0), (-12.6, -21.0), 1.6, 0.95, 0.8),
    _M("burnt", "charcoal", "straw", "grass", 0.3, 0.15, 0.1, (-12.0, -19.6), (-11.8, -19.0), 1.1, 0.9, 0.5),
)  # fmt: skip
MATERIAL_NUMBER: dict[str, int] = {m.name: i for i, m in enumerate(MATERIALS)}
WATER: tuple[str, ...] = ("lake", "river", "sea")
# Offsets of the variants. Brightness is dealt in another order than greenness, so that the two are not tied.
_GREEN_OFFSET = np.array([-1.4, -0.7, -0.2, 0.2, 0.7, 1.4])
_BRIGHT_OFFSET = np.array([0.7, -1.7, 1.5, -0.6, -1.2, 1.3])


def _per_state(values: Sequence[Any]) -> npt.NDArray[Any]:
    """One value or row per material, for each of its states."""
    return np.repeat(np.array(values), VARIANTS, axis=0)


def _green(day: int, latitude: float) -> Table:
    """Share of green canopy, float32 (states, 1)."""
    base = np.array([_SEASONS[m.season](day, latitude) for m in MATERIALS])
    spread = np.array([m.spread for m in MATERIALS])
    green = np.clip(base[:, None] + spread[:, None] * 0.7 * _GREEN_OFFSET, 0, 1)
    return np.asarray(green.reshape(-1, 1), dtype=np.float32)


def reflectance_table(day: int, latitude: float, wet: float) -> Table:
    """Mean reflectance per state.

    Args:
        day: Day of the year.
        latitude: Degrees north.
        wet: Soil moisture, -1 to 1; wet ground is darker, most of all in the short-wave infrared.

    Returns:
        float32 (12, 256), DN, bands in the order of `seg.reben.bands.S2_BANDS`; states that do not occur are 0.
    """
    green = _green(day, latitude)
    moist = _per_state([[m.moist] for m in MATERIALS])
    ground = _per_state([_SPECTRA[m.ground] for m in MATERIALS])
    ground = ground * (1 - 0.25 * wet * moist * np.array([0.7] * 4 + [0.8] * 6 + [1.2, 1.4]))
    canopy = _per_state([_SPECTRA[m.canopy] for m in MATERIALS])
    bright = 1 + np.outer([m.contrast for m in MATERIALS], _BRIGHT_OFFSET).reshape(-1, 1)
    return _by_state((((1 - green) * ground + green * canopy) * bright).T)


def backscatter_table(day: int, latitude: float, wind: float, wet: float, frozen: bool) -> Table:
    """Mean backscatter per state.

    Args:
        day, latitude: As in `reflectance_table`.
        wind: Roughness of open water, 0 to 1. A calm sea reflects away from the radar, a rough one towards it.
        wet: Soil moisture, -1 to 1; bare soil gains about 2 dB from dry to wet.
        frozen: Whether the ground is frozen, which lowers the permittivity of soil and wood.

    Returns:
        float32 (2, 256), VV and VH in dB.
    """
    green = _green(day, latitude)
    bare = _per_state([m.bare_db for m in MATERIALS])
    leafy = _per_state([m.green_db for m in MATERIALS])
    moist = _per_state([[m.moist] for m in MATERIALS])
    decibels = (1 - green) * bare + green * leafy + 1.3 * wet * moist * (1 - 0.6 * green)
    decibels += (np.outer([m.rough_db for m in MATERIALS], _BRIGHT_OFFSET) * 0.7).reshape(-1, 1)
    water = _per_state([m.name in WATER for m in MATERIALS])
    decibels[water] += (wind - 0.4) * np.array([14.0, 6.0])
    if frozen:
        decibels[~water] -= 1.5
    return _by_state(decibels.T)


def per_state(values: list[float]) -> Table:
    """One value per material spread over its states: float32 (256,)."""
    table: Table = _by_state(_per_state(values)[None])[0]
    return table


def _by_state(values: npt.NDArray[np.float64]) -> Table:
    return np.pad(values, ((0, 0), (0, 256 - values.shape[1]))).astype(np.float32)
