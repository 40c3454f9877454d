"""What a metre of a projected CRS, and a square metre, is on the ground.

A projection keeps lengths, angles and areas only in some places: UTM is off by up to 0.1 % within its zone, Web
Mercator by a third at 50 degrees. The scale at a place is taken from how places 50 m around it lie to each other on the
ellipsoid of the CRS, as x, y, z from the centre of the earth; so it holds for every projection, at poles and at 180
degrees too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.reben.patch import GeoRef

Floats = npt.NDArray[np.float64]

MOST_OFF = 0.01
"""How far a metre of a CRS may be from one on the ground, in any direction. Within its zone UTM is off by 0.001. Where
areas are true, pixels are as much too wide as they are too low, and the same holds: EPSG:3035, in which the land cover
of Europe comes, is off by up to 0.0154 on the 54 tiles of reBEN (29SNB in Portugal), and by more than this on ten.
"""
_STEP = 50.0
BLOCK = 256
"""Edge of the blocks of pixels that have one size on the ground. At the edge of a UTM zone, where it changes most, the
pixels at the edges of a block are off by 2e-5, one way at one edge and the other way at the other."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Metres on the ground per metre of a CRS at some places.

    Attributes:
        least_N, most_N: In the directions in which they are fewest and most; not finite where the CRS has no place.
        area_N: Square metres on the ground per square metre of the CRS.
    """

    least_N: Floats
    most_N: Floats
    area_N: Floats

    @property
    def off(self) -> float:
        """How far a metre is off at most: 0.01 for 1 %; infinite where the CRS has no such place."""
        off_N = np.maximum(np.abs(self.least_N - 1), np.abs(self.most_N - 1))
        return float(off_N.max()) if np.isfinite(off_N).all() else float("inf")

    @property
    def acceptable(self) -> bool:
        """Whether pixels of this CRS are as large as models have seen them."""
        return self.off <= MOST_OFF


def scale_at(epsg: int, x_N: Floats, y_N: Floats) -> Scale:
    """The scale of a projected CRS in metres at some places.

    Args:
        epsg: Its EPSG code.
        x_N, y_N: Easting and northing.
    """
    # Columns of the derivative of the place on the earth by x and by y, and from them its singular values.
    east_N3 = (_earth(epsg, x_N + _STEP, y_N) - _earth(epsg, x_N - _STEP, y_N)) / (2 * _STEP)
    north_N3 = (_earth(epsg, x_N, y_N + _STEP) - _earth(epsg, x_N, y_N - _STEP)) / (2 * _STEP)
    area_N: Floats = np.linalg.norm(np.cross(east_N3, north_N3), axis=1)
    squares_N = (east_N3**2).sum(1) + (north_N3**2).sum(1)
    sum_N, difference_N = np.sqrt(squares_N + 2 * area_N), np.sqrt(np.maximum(squares_N - 2 * area_N, 0))
    return Scale((sum_N - difference_N) / 2, (sum_N + difference_N) / 2, area_N)


def scale_of(grid: GeoRef) -> Scale:
    """The scale at the corners of a grid, at the middles of its edges, and in its middle."""
    west, south, east, north = grid.bounds
    x_N, y_N = np.meshgrid(np.linspace(west, east, 3), np.linspace(south, north, 3))
    return scale_at(grid.epsg, x_N.ravel(), y_N.ravel())


def blocks(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of blocks of at most `BLOCK` pixels an edge, row of blocks by row of blocks."""
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            yield slice(top, min(top + BLOCK, height)), slice(left, min(left + BLOCK, width))


def pixel_hectares(grid: GeoRef) -> Floats:
    """Hectares on the ground of a pixel, one value per block of the grid, in the order of `blocks`."""
    middles = [
        (rows.start + rows.stop, columns.start + columns.stop) for rows, columns in blocks(grid.height, grid.width)
    ]
    row_N, column_N = np.array(middles, np.float64).reshape(-1, 2).T / 2
    scale = scale_at(grid.epsg, grid.x_min + column_N * grid.pixel_size, grid.y_max - row_N * grid.pixel_size)
    hectares_N: Floats = scale.area_N * (grid.pixel_size**2 / 10_000)
    return hectares_N


def hectares_of(values_HW: npt.NDArray[np.uint8], grid: GeoRef) -> tuple[npt.NDArray[np.int64], Floats]:
    """Pixels of each value, and their area on the ground.

    Args:
        values_HW: Values of all pixels of the grid, uint8.
        grid: Where they lie.

    Returns:
        Pixels, int64 (256,), and hectares, float64 (256,).
    """
    counts_N256 = np.array(
        [np.bincount(values_HW[block].ravel(), minlength=256) for block in blocks(*values_HW.shape)], np.int64
    ).reshape(-1, 256)
    return counts_N256.sum(0), pixel_hectares(grid) @ counts_N256


def _earth(epsg: int, x_N: Floats, y_N: Floats) -> Floats:
    """Places as x, y, z from the centre of the earth, metres, (N, 3)."""
    projection, radius, eccentricity = _projection(epsg)
    # Where there is no such place, PROJ gives infinities.
    longitude_N, latitude_N = np.nan_to_num(np.radians(projection(x_N, y_N, inverse=True)), posinf=np.nan)
    normal_N = radius / np.sqrt(1 - eccentricity * np.sin(latitude_N) ** 2)
    around_N = normal_N * np.cos(latitude_N)
    return np.stack(
        [
            around_N * np.cos(longitude_N),
            around_N * np.sin(longitude_N),
            (1 - eccentricity) * normal_N * np.sin(latitude_N),
        ],
        axis=1,
    )


@cache
def _projection(epsg: int) -> tuple[Any, float, float]:
    """The projection as pyproj has it, and of its ellipsoid the larger radius and the squared eccentricity."""
    import pyproj

    crs = pyproj.CRS.from_epsg(epsg)
    assert crs.ellipsoid is not None, "a projected CRS has one"
    large, small = crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre
    return pyproj.Proj(crs), large, 1 - (small / large) ** 2
