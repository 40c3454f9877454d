"""Tiles against the corners of real products, and the squares of MGRS against zones and bands projected by PROJ."""

import itertools
from functools import cache

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from seg.errors import UnknownNameError
from seg.reben.mgrs import square
from seg.reben.patch import tile_corner

BANDS = "CDEFGHJKLMNPQRSTUVWX"
ROWS = "ABCDEFGHJKLMNPQRSTUV"
# ULX and ULY in the metadata of products as ESA delivers them.
REAL = {
    "01CCV": (32701, 300_000, 2_000_020),
    "01KAB": (32701, 99_960, 8_200_000),
    "01LAC": (32701, 99_960, 8_300_020),
    "07HFE": (32707, 600_000, 6_500_020),
    "22HBD": (32722, 199_980, 5_900_020),
    "34LBP": (32734, 199_980, 8_900_020),
    "37MGS": (32737, 699_960, 9_700_000),
    "60CWS": (32760, 499_980, 1_200_040),
    "01WCP": (32601, 300_000, 7_400_040),
    "11SLT": (32611, 300_000, 3_800_040),
    "33XWJ": (32633, 499_980, 8_900_040),
    "34VEL": (32634, 499_980, 6_600_000),
}


@pytest.mark.parametrize("tile", REAL)
def test_tiles_begin_where_real_products_do(tile):
    assert tile_corner(tile) == REAL[tile]


def degrees(zone, band):
    """West, south, east and north of the part of a zone in a band; None if there is none."""
    middle, south = 6 * zone - 183, 8 * BANDS.index(band) - 80
    west, east = middle - 3, middle + 3
    if band == "V":
        west, east = {31: (0, 3), 32: (3, 12)}.get(zone, (west, east))
    if band == "X":
        if zone in (32, 34, 36):
            return None
        west, east = {31: (0, 9), 33: (9, 21), 35: (21, 33), 37: (33, 42)}.get(zone, (west, east))
    return west, south, east, 84 if band == "X" else south + 8


@cache
def projected(zone, band):
    """That part as a polygon in UTM; easting and northing with the false northing in the south."""
    bounds = degrees(zone, band)
    if bounds is None:
        return shapely.Polygon()
    outline = shapely.segmentize(shapely.box(*bounds), 0.02).exterior.coords
    to_utm = Transformer.from_crs(4326, (32600 if band >= "N" else 32700) + zone, always_xy=True)
    return shapely.Polygon(np.transpose(to_utm.transform(*np.transpose(outline))))


def by_brute_force(zone, band):
    """Corner of every square of a zone and band by its name: letters counted out over all that UTM covers."""
    shape, found = projected(zone, band), {}
    letters = {1: "ABCDEFGH", 2: "JKLMNPQR", 0: "STUVWXYZ"}[zone % 3]
    for (i, column), j in itertools.product(enumerate(letters, 1), range(100)):
        west, south = 100_000 * i, 100_000 * j
        share = shapely.box(west, south, west + 100_000, south + 100_000).intersection(shape).area / 1e10
        row = ROWS[(j + (0 if zone % 2 else 5)) % 20]
        found[f"{zone:02d}{band}{column}{row}"] = max(
            found.get(f"{zone:02d}{band}{column}{row}", (0,)), (share, west, south)
        )
    return {name: place for name, place in found.items() if place[0] > 0}


@pytest.mark.parametrize(
    ("zone", "bands"), [(33, "CDKMNSUWX"), (60, "CMNX"), (31, "VX"), (32, "UVWX"), (34, "VX"), (37, "X"), (1, "C")]
)
def test_exactly_the_squares_that_touch_their_zone_and_band_exist(zone, bands):
    for band in bands:
        expected = by_brute_force(zone, band)
        letters = {1: "ABCDEFGH", 2: "JKLMNPQR", 0: "STUVWXYZ"}[zone % 3]
        for column, row in itertools.product(letters, ROWS):
            name = f"{zone:02d}{band}{column}{row}"
            try:
                found = square(name)
            except UnknownNameError:
                # What is left out is a sliver between the places that are looked at.
                assert expected.get(name, (0,))[0] < 1e-4, name
                continue
            west, south = found.west, found.north - 100_000
            if name in expected:
                assert (west, south) == expected[name][1:], name
            else:
                near = shapely.box(west, south, west + 100_000, south + 100_000).distance(projected(zone, band))
                assert near < 1500, name


@pytest.mark.parametrize(
    "name",
    [
        "", "33", "33U", "33UUPX", "33uup", "3UUP", "٣٣UUP", "00UUP", "61UUP", "33IUP", "33UIP", "33UOP", "33UUO",
        "33UUW", "33AUP", "33BUP", "33YUP", "33ZUP", "32XMG", "34XDH", "36XVM", "33UAP", "33UUH", "33CWD", "33XWR",
        "33USP", "31VFJ",
    ],
)  # fmt: skip
def test_names_of_no_tile_are_one_sentence(name):
    with pytest.raises(UnknownNameError, match="there is no MGRS tile") as error:
        tile_corner(name)
    assert len(str(error.value)) < 200
    assert name in str(error.value)
