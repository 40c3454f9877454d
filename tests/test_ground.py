"""The size of pixels on the ground against polygons on the ellipsoid, and which grids a scene may stand on."""

from functools import cache

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.reben.ground import MOST_OFF, hectares_of, scale_at, scale_of
from seg.reben.patch import GeoRef


def geodesic_hectares(grid, points=200):
    """Area of a grid's outline on the ellipsoid of its CRS, by geodesics between points of it."""
    west, south, east, north = grid.bounds
    along = np.linspace(0, 1, points)
    x = np.concatenate(
        [west + (east - west) * along, np.full(points, east), east + (west - east) * along, np.full(points, west)]
    )
    y = np.concatenate(
        [
            np.full(points, south),
            south + (north - south) * along,
            np.full(points, north),
            north + (south - north) * along,
        ]
    )
    crs = pyproj.CRS.from_epsg(grid.epsg)
    longitude, latitude = pyproj.Proj(crs)(x, y, inverse=True)
    return abs(crs.get_geod().polygon_area_perimeter(longitude, latitude)[0]) / 10_000


TILES = {
    "at the edge of a zone": GeoRef(32633, 799_980, 100_020, 10, 10_980, 10_980),
    "in its middle": GeoRef(32633, 445_080, 5_400_000, 10, 10_980, 10_980),
    "far north": GeoRef(32633, 199_980, 9_100_020, 10, 10_980, 10_980),
    "in the south": GeoRef(32733, 199_980, 6_000_040, 10, 10_980, 10_980),
    "across 180 degrees": GeoRef(32601, 99_960, 7_000_020, 10, 10_980, 10_980),
    "in Lambert's conformal projection": GeoRef(2154, 700_000, 6_800_000, 10, 10_980, 10_980),
    "in an equal-area projection": GeoRef(3035, 2_600_000, 1_900_000, 10, 10_980, 10_980),
}


@pytest.mark.parametrize("place", TILES)
def test_the_area_of_a_tile_is_that_on_the_ellipsoid(place):
    grid = TILES[place]
    counts, hectares = hectares_of(np.zeros((grid.height, grid.width), np.uint8), grid)
    assert (counts[0], counts.sum()) == (10_980**2, 10_980**2)
    assert hectares[0] == pytest.approx(geodesic_hectares(grid), rel=1e-7)
    assert not hectares[1:].any()


@pytest.mark.parametrize("place", ["at the edge of a zone", "in the south"])
def test_every_class_has_the_area_of_the_ground_that_it_covers(place):
    """Within a tile the size of a pixel changes: a class in the west has another area than the same one in the east."""
    grid = TILES[place]
    edges = [0, 1000, 1100, 5490, 10_980]
    values = np.repeat(np.arange(4, dtype=np.uint8), np.diff(edges))[None].repeat(512, axis=0)
    counts, hectares = hectares_of(values, GeoRef(grid.epsg, grid.x_min, grid.y_max, 10, 10_980, 512))
    for k in range(4):
        part = GeoRef(grid.epsg, grid.x_min + 10 * edges[k], grid.y_max, 10, edges[k + 1] - edges[k], 512)
        assert counts[k] == part.width * 512
        assert hectares[k] == pytest.approx(geodesic_hectares(part), rel=2e-5)
    by_pixel = hectares[:4] / counts[:4]
    assert np.ptp(by_pixel) > 5e-6


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_counts_are_those_of_numpy_and_blocks_leave_no_pixel_out(height, width, seed):
    values = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    counts, hectares = hectares_of(values, GeoRef(32633, 500_000, 5_000_000, 10, width, height))
    assert np.array_equal(counts, np.bincount(values.ravel(), minlength=256))
    assert np.allclose(hectares, counts * (0.01 / 0.9996**2), rtol=1e-5)


projections = cache(pyproj.Proj)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([32633, 32733, 3035, 2154, 3413, 3031, 6933, 27700, 31468]),
    st.floats(-15, 15),
    st.floats(-8, 8),
)
def test_scales_are_those_of_proj(epsg, east, north):
    """PROJ gives the axes of Tissot's ellipse by derivatives of the formulas; for EPSG:4087 on a sphere, hence not."""
    middle = {3035: (10, 52), 2154: (3, 46), 3413: (-45, 75), 3031: (0, -75), 27700: (-2, 52), 31468: (12, 48)}
    longitude, latitude = middle.get(epsg, (15, -30 if epsg == 32733 else 30))
    longitude, latitude = longitude + east / (3 if epsg in (27700, 31468) else 1), latitude + north
    projection = projections(epsg)
    x, y = projection(longitude, latitude)
    scale, factors = scale_at(epsg, np.array([x]), np.array([y])), projection.get_factors(longitude, latitude)
    assert 1 / scale.least_N[0] == pytest.approx(factors.tissot_semimajor, rel=1e-6)
    assert 1 / scale.most_N[0] == pytest.approx(factors.tissot_semiminor, rel=1e-6)
    assert 1 / scale.area_N[0] == pytest.approx(factors.areal_scale, rel=1e-6)


def small(epsg, longitude, latitude):
    x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    return GeoRef(epsg, x, y, 10, 600, 600)


@pytest.mark.parametrize(
    ("epsg", "longitude", "latitude", "good"),
    [
        (32633, 15, 48, True), (32633, 11.5, 60, True), (32633, 12, 0, True), (32733, 15, -33, True),
        (32633, 24, 48, True), (32633, 31, 48, False), (32633, 45, 48, False), (32633, 15, -60, True),
        (3857, 12, 48, False), (3857, 12, 9, False), (3857, 12, -35, False), (3857, 12, 3, True), (3395, 5, 52, False),
        (4087, 10, 50, False), (4087, 10, 12, False), (4087, 10, 0.1, True), (6933, 10, 50, False),
        (6933, 10, 30, True),
        (3413, -45, 70, True), (3413, 0, 89, False), (3413, 20, 60, False), (3031, 0, -71, True), (3031, 0, -85, False),
        (32661, 0, 88, True), (32761, 0, -85, True), (32661, 10, 60, False),
        (3035, 10, 52, True), (3035, -9, 38.2, False), (3035, -4, 40, True), (3035, 24, 65, True),
        (3035, -25.5, 37.8, False), (5070, -96, 25.5, False), (5070, -69, 46, True),
        (3577, 133, -25, False), (3577, 147, -42, False),
        (3035, -16, 28, False), (2154, 3, 47, True), (27700, -2, 54, True), (31468, 12, 48, True), (3067, 25, 66, True),
        (8857, 60, 50, False), (2100, 24, 38, True), (3763, -8, 39, True), (28992, 5, 52, True),
    ],
)  # fmt: skip
def test_which_grids_a_scene_may_stand_on(epsg, longitude, latitude, good):
    assert scale_of(small(epsg, longitude, latitude)).acceptable is good


def test_utm_within_its_zone_is_off_by_a_tenth_of_the_limit():
    off = [
        scale_of(small(32633, 15 + away, latitude)).off for away in (-3, 0, 2.9) for latitude in (0.1, 30, 48, 69, 83.5)
    ]
    assert max(off) < 1.05e-3 < MOST_OFF / 9


def test_a_grid_that_lies_nowhere_is_infinitely_off():
    assert scale_of(GeoRef(3035, 4e7, 4e7, 10, 600, 600)).off == float("inf")
