"""From degrees to the pixels of a map and back, by polynomials: a page in a browser has no PROJ."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.warp import transform

from seg.reben.patch import GeoRef

Floats = npt.NDArray[np.float64]

_LON_LAT = CRS.from_epsg(4326)
_NODES = 16
"""Along an edge of the map, of the lattice that polynomials are fitted to."""
_DEGREES = range(2, 10)
_OFF = 0.02
"""Pixels that a place may be off; with degree 4 a whole tile of Sentinel-2 is off by less."""


@dataclass(frozen=True)
class Polynomials:
    """Two polynomials in two variables, the sum over i + j <= degree of c_ij u^i v^j.

    Attributes:
        degree: The degree.
        first, second: Coefficients, in the order of `exponents`.
    """

    degree: int
    first: tuple[float, ...]
    second: tuple[float, ...]

    def __call__(self, u_N: Floats, v_N: Floats) -> tuple[Floats, Floats]:
        """Their values."""
        terms_NM = _terms(u_N, v_N, self.degree)
        return terms_NM @ np.array(self.first), terms_NM @ np.array(self.second)


@dataclass(frozen=True)
class Place:
    """Where a map lies.

    Attributes:
        grid: The grid of the map.
        middle: Longitude and latitude of its middle, degrees (WGS 84).
        reach: Degrees from there to the farthest places of the map, in longitude and in latitude.
        to_degrees: Gives, of column and row from -1 to 1 over the map, both degrees from -1 to 1 over `reach`.
        to_pixels: The other way round.
    """

    grid: GeoRef
    middle: tuple[float, float]
    reach: tuple[float, float]
    to_degrees: Polynomials
    to_pixels: Polynomials

    @property
    def record(self) -> dict[str, Any]:
        """As the page reads it."""
        grid, ways = self.grid, {"toDegrees": self.to_degrees, "toPixels": self.to_pixels}
        corner = {"epsg": grid.epsg, "west": grid.x_min, "north": grid.y_max, "pixel": grid.pixel_size}
        about = {"middle": self.middle, "reach": self.reach}
        return {**corner, **about, **{name: [way.degree, way.first, way.second] for name, way in ways.items()}}


def place_of(grid: GeoRef) -> Place:
    """Fit the polynomials of a map; in any projection, as long as it is smooth over the map.

    Longitudes are those from the middle of the map, so that 180 degrees are no edge.
    """
    nodes_N = np.cos(np.pi * np.arange(_NODES) / (_NODES - 1))
    u_N, v_N = (values.ravel() for values in np.meshgrid(nodes_N, nodes_N))
    (middle_lon,), (middle_lat,) = _degrees(grid, np.zeros(1), np.zeros(1))
    longitude_N, latitude_N = _degrees(grid, u_N, v_N)
    longitude_N = (longitude_N - middle_lon + 180) % 360 - 180
    latitude_N = latitude_N - middle_lat
    reach = float(np.abs(longitude_N).max()), float(np.abs(latitude_N).max())
    s_N, t_N = longitude_N / reach[0], latitude_N / reach[1]
    # What a pixel is in the variables of each way.
    to_degrees = _fitted((u_N, v_N), (s_N, t_N), 2 / max(grid.width, grid.height))
    to_pixels = _fitted((s_N, t_N), (u_N, v_N), 2 / max(grid.width, grid.height))
    return Place(grid, (float(middle_lon), float(middle_lat)), reach, to_degrees, to_pixels)


def exponents(degree: int) -> list[tuple[int, int]]:
    """Of u and v, of all terms up to a degree."""
    return [(i, total - i) for total in range(degree + 1) for i in range(total, -1, -1)]


def _terms(u_N: Floats, v_N: Floats, degree: int) -> Floats:
    return np.stack([u_N**i * v_N**j for i, j in exponents(degree)], axis=1)


def _fitted(given: tuple[Floats, Floats], wanted: tuple[Floats, Floats], pixel: float) -> Polynomials:
    """The polynomials of the least degree that is exact enough, or of the highest one."""
    for degree in _DEGREES:
        terms_NM = _terms(*given, degree)
        coefficients_M2 = np.linalg.lstsq(terms_NM, np.stack(wanted, axis=1), rcond=None)[0]
        off = np.abs(terms_NM @ coefficients_M2 - np.stack(wanted, axis=1)).max()
        if off < _OFF * pixel:
            break
    return Polynomials(degree, tuple(coefficients_M2[:, 0].tolist()), tuple(coefficients_M2[:, 1].tolist()))


def _degrees(grid: GeoRef, u_N: Floats, v_N: Floats) -> tuple[Floats, Floats]:
    """Longitude and latitude of places from -1 to 1 over a map, rows downwards."""
    x_N = grid.x_min + (u_N + 1) / 2 * grid.width * grid.pixel_size
    y_N = grid.y_max - (v_N + 1) / 2 * grid.height * grid.pixel_size
    longitude, latitude = transform(CRS.from_epsg(grid.epsg), _LON_LAT, x_N, y_N)
    return np.array(longitude), np.array(latitude)
