"""The 100 km squares of the Military Grid Reference System, which Sentinel-2 tiles are named after.

Letters, latitude bands, and the zones that are wider or narrower around Norway and Svalbard: NGA.STND.0037 (Universal
Grids and the Transverse Mercator and Polar Stereographic Map Projections), chapters 11 and 12.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from seg.errors import UnknownNameError

SQUARE = 100_000
"""Edge of a square, metres."""
FALSE_NORTHING = 10_000_000
"""Northing of the equator in the zones of the southern hemisphere, metres."""

_NAME = re.compile(r"(?P<zone>\d{2})(?P<band>[C-HJ-NP-X])(?P<column>[A-HJ-NP-Z])(?P<row>[A-HJ-NP-V])", re.ASCII)
_BANDS = "CDEFGHJKLMNPQRSTUVWX"
# Southernmost northing of each latitude band, in squares, with the false northing in the south: the band says which of
# the 2,000 km cycles of row letters is meant.
_BAND_MIN_ROW = dict(
    zip(_BANDS, (11, 20, 28, 37, 46, 55, 64, 73, 82, 91, 0, 8, 17, 26, 35, 44, 53, 62, 70, 79), strict=True)
)
_COLUMN_LETTERS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
_ROW_LETTERS = "ABCDEFGHJKLMNPQRSTUV"
# Degrees west and east of the central meridian, where they are not 3.
_WIDTHS = {
    "31V": (3, 0), "32V": (6, 3),
    "31X": (3, 6), "33X": (6, 6), "35X": (6, 6), "37X": (6, 3),
}  # fmt: skip
_ABSENT = ("32X", "34X", "36X")
_SAMPLES = 100
"""Places along each edge of a square that are looked at."""
_NEAR = 0.01
"""Degrees that a square may be away from its zone and band: what is narrower lies between two of those places."""

# WGS 84, and the series of Krueger in its third flattening, to the third order: exact to a millimetre in a zone (Karney
# 2011, "Transverse Mercator with an accuracy of a few nanometers", equations 14, 29 and 36).
_FLATTENING = 1 / 298.257223563
_N = _FLATTENING / (2 - _FLATTENING)
_RADIUS = 0.9996 * 6_378_137 / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64)
_BETA = (_N / 2 - 2 * _N**2 / 3 + 37 * _N**3 / 96, _N**2 / 48 + _N**3 / 15, 17 * _N**3 / 480)
_DELTA = (2 * _N - 2 * _N**2 / 3 - 2 * _N**3, 7 * _N**2 / 3 - 8 * _N**3 / 5, 56 * _N**3 / 15)


@dataclass(frozen=True, slots=True)
class Square:
    """A 100 km square.

    Attributes:
        zone: UTM zone, 1 to 60.
        southern: Whether it lies south of the equator.
        west, north: Easting of its western and northing of its northern edge, metres, with the false northing in the
            south.
    """

    zone: int
    southern: bool
    west: int
    north: int

    @property
    def epsg(self) -> int:
        """EPSG code of its zone."""
        return (32700 if self.southern else 32600) + self.zone


@cache
def square(name: str) -> Square:
    """The square of a name.

    Args:
        name: Zone, latitude band, column and row letter, such as ``33UUP``.

    Raises:
        UnknownNameError: If there is no such square.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownNameError(
            f"there is no MGRS tile {name}; names are like 33UUP, without I and O, and bands run from C at 80 S to "
            "X, which ends at 84 N"
        )
    zone, band, column, row = int(match["zone"]), match["band"], match["column"], match["row"]
    if not 1 <= zone <= 60 or match["zone"] + band in _ABSENT:
        raise UnknownNameError(f"there is no MGRS tile {name}; band {band} has no zone {match['zone']}")
    columns = _COLUMN_LETTERS[zone % 3]
    if column not in columns:
        raise UnknownNameError(
            f"there is no MGRS tile {name}; columns of zone {zone} run from {columns[0]} to {columns[-1]}"
        )
    # Row letters start at A in odd zones and at F in even ones.
    index = (_ROW_LETTERS.index(row) - (0 if zone % 2 else 5)) % 20
    index += 20 * math.ceil((_BAND_MIN_ROW[band] - index) / 20)
    found = Square(zone, band < "N", SQUARE * (columns.index(column) + 1), SQUARE * (index + 1))
    south = -80 + 8 * _BANDS.index(band)
    north = 84 if band == "X" else south + 8
    left, right = _WIDTHS.get(match["zone"] + band, (3, 3))
    if not any(
        south - _NEAR <= latitude <= north + _NEAR and -left - _NEAR <= longitude <= right + _NEAR
        for longitude, latitude in _places(found)
    ):
        raise UnknownNameError(f"there is no MGRS tile {name}; its square does not touch zone {zone} in band {band}")
    return found


def _places(found: Square) -> Iterator[tuple[float, float]]:
    """Longitude from the central meridian and latitude, degrees, of places along the edges of a square."""
    equator = FALSE_NORTHING if found.southern else 0
    for i in range(_SAMPLES + 1):
        along = SQUARE * i / _SAMPLES
        for east, south in ((along, 0.0), (along, SQUARE), (0.0, along), (SQUARE, along)):
            yield _degrees(found.west + east - 500_000, found.north - south - equator)


def _degrees(easting: float, northing: float) -> tuple[float, float]:
    """Longitude and latitude of a place by its distances from the central meridian and the equator, metres."""
    xi, eta = northing / _RADIUS, easting / _RADIUS
    terms = tuple(enumerate(_BETA, 1))
    xi, eta = (
        xi - sum(beta * math.sin(2 * j * xi) * math.cosh(2 * j * eta) for j, beta in terms),
        eta - sum(beta * math.cos(2 * j * xi) * math.sinh(2 * j * eta) for j, beta in terms),
    )
    chi = math.asin(math.sin(xi) / math.cosh(eta))
    latitude = chi + sum(delta * math.sin(2 * j * chi) for j, delta in enumerate(_DELTA, 1))
    return math.degrees(math.atan2(math.sinh(eta), math.cos(xi))), math.degrees(latitude)
