"""From the surface of a block to the bands that Sentinel-2 and Sentinel-1 would deliver on a day.

Sentinel-2: reflectance per material and season, texture, terrain shading, snow, clouds with their shadows, haze, the
point spread of the optics (so that pixels on edges mix) and noise. Sentinel-1: backscatter per material, season, wind
and soil moisture, terrain, and multiplicative speckle.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg.reben.bands import BANDS, S2_BANDS
from seg.synthetic.landscape import Field, smooth_noise
from seg.synthetic.materials import (
    CLOUD_SPECTRUM,
    MATERIALS,
    SNOW_SPECTRUM,
    Table,
    backscatter_table,
    per_state,
    reflectance_table,
)
from seg.synthetic.places import Region, Visit
from seg.synthetic.surface import Surface

LOOKS = 4.4
"""Equivalent number of looks of Sentinel-1 IW GRDH (product specification, S1-RS-MDA-52-7441)."""

# GRD pixels of 10 m overlap: over the open sea of official patches, neighbours correlate with 0.7 and second neighbours
# with 0.25, at 4.5 to 5.3 looks. Squared Gaussian noise (half a look each), averaged with w = (a, 1 - 2a, a) in both
# directions, comes to that: 1 / (2 s^2) looks with s = sum(w^2) = 6 a^2 - 4 a + 1, which is solved for a.
_SIDE = (4 - np.sqrt(16 - 24 * (1 - (2 * LOOKS) ** -0.5))) / 12
SPECKLE_KERNEL: npt.NDArray[np.float64] = np.array([_SIDE, 1 - 2 * _SIDE, _SIDE])

_PSF_SIGMA = 0.62  # 10 m pixels; an MTF of 0.15 to 0.3 at Nyquist (Sentinel-2 MSI technical guide)
# In the order of S2_BANDS: what reaches them of haze, as seen in B02; and how they answer to more or less vigorous
# plants: chlorophyll darkens the visible, leaf water the short-wave infrared, leaf cells brighten the near infrared.
_PATH_RADIANCE = (0.7, 1.0, 0.75, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.3, 0.1, 0.08)
_VIGOUR = (-0.8, -1.0, -0.7, -1.6, -0.8, 0.2, 0.4, 0.45, 0.45, 0.45, -1.0, -1.5)
_VIGOUR_RANGE = per_state([min(0.2, 0.5 * m.spread) for m in MATERIALS])
_TEXTURE = per_state([m.texture for m in MATERIALS])
_ROUGHNESS = per_state([m.rough_db for m in MATERIALS])
_SNOW_HOLD = per_state([m.snow for m in MATERIALS])


class Observed(NamedTuple):
    """What Sentinel-2 and Sentinel-1 deliver for a block, and what hides it.

    Attributes:
        bands: Band name to array (height, width) at the band's own pixel size: uint16 DN for Sentinel-2, float32 dB
            for Sentinel-1.
        snow: Share of snow per pixel, float32 (height, width) at 10 m, or None without snow.
        cloud: Share of cloud or shadow per pixel, likewise.
    """

    bands: dict[str, npt.NDArray[Any]]
    snow: Field | None
    cloud: Field | None


class Correction(NamedTuple):
    """What radiometric and atmospheric correction leave behind in one product: the same for all of its patches.

    Attributes:
        haze: Added to B02, DN; other bands get a part of it.
        gain: Factor on every Sentinel-2 band, in the order of `S2_BANDS`.
        radar: Added to VV and VH, dB.
    """

    haze: float
    gain: tuple[float, ...]
    radar: float


def correction(visit: Visit, rng: np.random.Generator) -> Correction:
    """Draw what remains of haze, illumination and calibration in a product.

    Args:
        visit: Gives the haze that was seen.
        rng: Source of randomness; must depend on the product alone.
    """
    # Illumination errs alike in all bands, aerosol correction tilts the spectrum.
    level, tilt = rng.normal(0, (0.06, 0.05))
    gain = 1 + level + tilt * np.linspace(-1, 1, len(S2_BANDS))
    return Correction(visit.haze + 32 * rng.standard_exponential() - 15, tuple(gain.tolist()), rng.normal(0, 0.5))


def observe(
    surface: Surface, region: Region, visit: Visit, day: int, residual: Correction, rng: np.random.Generator
) -> Observed:  # fmt: skip
    """Take one image of a block with each sensor.

    Args:
        surface: The ground.
        region: Where it lies.
        visit: Weather and date.
        day: Day of the year.
        residual: Of the product's correction.
        rng: Source of randomness.
    """
    shape = (surface.state.shape[0], surface.state.shape[1])
    snow = _snow(surface, visit.snow) if visit.snow else None
    cloud, shadow = _clouds(rng, shape, visit.cloud) if visit.cloud else (None, None)
    bands: dict[str, npt.NDArray[Any]] = {}
    noise = rng.standard_normal((shape[0] + 8, shape[1] + 8), dtype=np.float32)
    light = _light(surface, region, day, noise[:-8, :-8])
    if shadow is not None:
        light *= 1 - np.float32(0.62) * shadow
    vigour = cv2.LUT(surface.state, _VIGOUR_RANGE)
    vigour *= smooth_noise(rng, shape, 22) + np.float32(0.6) * noise[4:-4, 4:-4]
    np.clip(vigour, -0.5, 0.5, out=vigour)
    table = reflectance_table(day, region.latitude, visit.wet)
    for i, name in enumerate(S2_BANDS):
        image = cv2.LUT(surface.state, table[i])
        image *= light
        image *= 1 + np.float32(_VIGOUR[i]) * vigour
        for cover, spectrum in ((snow, SNOW_SPECTRUM), (cloud, CLOUD_SPECTRUM)):
            if cover is not None:
                image += cover * (spectrum[i] - image)
        grain = noise[i % 8 : i % 8 + shape[0], 7 - i % 8 : 7 - i % 8 + shape[1]]
        image *= np.float32(residual.gain[i])
        bands[name] = _to_sensor(image, BANDS[name].pixel_size, residual.haze * _PATH_RADIANCE[i], grain)
    offset = np.float32(residual.radar)
    table = backscatter_table(day, region.latitude, visit.wind, visit.wet, visit.snow > 0) + offset
    bands["VV"], bands["VH"] = _radar(surface, table, region.relief, rng)
    hidden = cloud if cloud is None or shadow is None else np.maximum(cloud, shadow)
    return Observed(bands, snow, hidden)


def _light(surface: Surface, region: Region, day: int, noise: Field) -> Field:
    """Factor on reflectance: texture, and terrain shading that grows as the sun sinks."""
    declination = 23.44 * np.sin(2 * np.pi * (day - 81) / 365.25)
    low_sun = np.tan(np.radians(min(80.0, region.latitude - declination)))
    blurred = cv2.GaussianBlur(noise, (0, 0), 1.0)
    # White noise keeps 0.28 of its standard deviation under this blur; the sum has about unit variance.
    texture = cv2.LUT(surface.state, _TEXTURE)
    texture *= np.float32(0.55) * noise + np.float32(2.6) * blurred
    texture *= np.float32(0.75 + 0.25 * min(2.5, low_sun))
    shade = np.clip(1 - np.float32(0.07 * region.relief * min(3.0, low_sun)) * surface.slope, 0.3, 1.7)
    return np.asarray(np.maximum(shade * (1 + texture), np.float32(0.12)), dtype=np.float32)


def _snow(surface: Surface, share: float) -> Field:
    """Snow cover: lies where the terrain is high, less visible under trees than on open land."""
    limit = np.quantile(surface.place[::6, ::6], 1 - share)
    cover = np.clip((surface.place - np.float32(limit)) * np.float32(4) + np.float32(0.5), 0, 1)
    cover *= cv2.LUT(surface.state, _SNOW_HOLD)
    return np.asarray(cover, dtype=np.float32)


def _clouds(rng: np.random.Generator, shape: tuple[int, int], share: float) -> tuple[Field, Field]:
    """Cumulus and their shadows, each float32 (height, width), 0 to 1."""
    margin = 40
    wide = (shape[0] + margin, shape[1] + margin)
    height = smooth_noise(rng, wide, 38) + np.float32(0.35) * smooth_noise(rng, wide, 14)
    height += np.float32(0.12) * smooth_noise(rng, wide, 5)
    limit = np.float32(np.quantile(height[::6, ::6], 1 - share))
    opacity = np.clip((height - limit) * np.float32(3) + np.float32(0.25), 0, 0.97)
    # The sun stands in the south: the shadow falls north-west of its cloud.
    return opacity[margin:, margin:], np.ascontiguousarray(np.minimum(opacity[: shape[0], 15 : 15 + shape[1]] * 1.3, 1))


def _to_sensor(image: Field, pixel_size: int, haze: float, grain: Field) -> npt.NDArray[np.uint16]:
    """Point spread, sampling, haze and sensor noise; DN of at least 1, since 0 stands for no data."""
    if pixel_size == 10:
        image = cv2.GaussianBlur(image, (5, 5), _PSF_SIGMA)
    else:
        factor = pixel_size // 10
        image = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        image = cv2.GaussianBlur(image, (3, 3), 0.5)
        grain = grain[: image.shape[0], : image.shape[1]]
    image += np.float32(8) * grain + np.float32(haze)
    return np.clip(np.rint(image), 1, 20000).astype(np.uint16)


def _radar(surface: Surface, table: Table, relief: float, rng: np.random.Generator) -> tuple[Field, Field]:
    """VV and VH in dB."""
    shape = (surface.state.shape[0], surface.state.shape[1])
    # Buildings and boulders are lone bright points: roughness acts in dB, so its tail in power is long.
    rough = cv2.LUT(surface.state, _ROUGHNESS)
    rough *= rng.standard_normal(shape, dtype=np.float32)
    rough += np.float32(3.5 * relief) * np.clip(surface.slope, -2.5, 2.5)
    out = []
    for polarisation in range(2):
        decibels = cv2.LUT(surface.state, table[polarisation])
        decibels += rough
        power = cv2.exp(decibels * np.float32(np.log(10) / 10))
        power = cv2.sepFilter2D(power, cv2.CV_32F, SPECKLE_KERNEL, SPECKLE_KERNEL)
        out.append(cv2.log(power * speckle(rng, shape)) * np.float32(10 / np.log(10)))
    return out[0], out[1]


def speckle(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Multiplicative speckle of a multi-looked intensity image.

    Args:
        rng: Source of randomness.
        shape: Height and width, pixels.

    Returns:
        float32 of that shape, mean 1, variance 1 / `LOOKS`, correlated between neighbours.
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(cv2.sepFilter2D(noise * noise, cv2.CV_32F, SPECKLE_KERNEL, SPECKLE_KERNEL), dtype=np.float32)
