"""Rasters that lie on grids of no use: refused in one sentence, with a command that makes them of use."""

import re

import numpy as np
import pyproj
import pytest
import rasterio
from commands import run_printed
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform_bounds

from seg.errors import SceneError
from seg.rasters.header import read_header
from seg.rasters.place import warp_advice
from seg.scenes.grid import Window
from seg.scenes.open import open_scene

RGB = ("B02", "B03", "B04")
RNG = np.random.default_rng(0)


def dn(size=240, bands=3):
    blocks = RNG.integers(150, 2500, (bands, size // 20, size // 20)).astype(float)
    return (
        (np.kron(blocks, np.ones((1, 20, 20))) + RNG.normal(0, 30, (bands, size, size))).clip(1, 9000).astype(np.uint16)
    )


def write(path, images, epsg, transform, *, names=RGB, scale=None, offset=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=images.shape[2], height=images.shape[1], count=len(images),
        dtype=images.dtype, crs=epsg and CRS.from_user_input(epsg), transform=transform, **options,
    ) as raster:  # fmt: skip
        raster.write(images)
        if names:
            raster.descriptions = names
        if scale:
            raster.scales, raster.offsets = [scale] * len(images), [offset or 0] * len(images)
    return path


def refusal(path, **more):
    with pytest.raises(SceneError) as error:
        open_scene(path, needed=RGB, **more)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 800
    return text


def at(epsg, longitude, latitude, metres=10.0):
    x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    return Affine(metres, 0, x, 0, -metres, y)


GRIDS = {
    "Web Mercator": (3857, at(3857, 12, 50, 15.5), 32633),
    "Web Mercator south": (3857, at(3857, -70.2, -33, 10), 32719),
    "World Mercator": (3395, at(3395, 24.9, 60, 20), 32635),
    "plate carree in metres": (4087, at(4087, 8, 47), 32632),
    "cylindrical equal area": (6933, at(6933, -8, 39), 32629),
    "UTM far outside its zone": (32633, at(32633, 33, 48), 32636),
    "polar stereographic far away": (3413, at(3413, 20, 61), 32634),
    "conic, areas true": (5070, at(5070, -97, 25.6), 32614),
    "conic south, areas true": (3577, at(3577, 134, -25), 32753),
    "conic of ESRI": ("ESRI:102003", at("ESRI:102003", -81, 26), 32617),
    "azimuthal, areas true": (3035, at(3035, -8.9, 38.2), 32629),
    "degrees": (4326, Affine(0.0001, 0, 12.3, 0, -0.0001, 48), 32633),
    "no square pixels": (32633, Affine(10, 0, 300_000, 0, -20, 5_400_000), 32633),
    "not north-up": (32633, Affine(10, 0, 300_000, 0, 10, 5_400_000), 32633),
    "turned": (32633, Affine(9.4, 3.42, 300_000, 3.42, -9.4, 5_400_000), 32633),
    "pixels of 15 m": (32733, Affine(15, 0, 300_000, 0, -15, 5_400_000), 32733),
    "pixels of 15 m beyond the zone's edge": (32633, at(32633, 18.2, 50, 15), 32633),
}


@pytest.mark.parametrize("corner", [(0, 0), (0, 2400), (15.3, 50.1), (-70, -33.5), (179.9, 2400)])
@pytest.mark.parametrize("epsg", [32633, 32733, 3035])
def test_a_corner_that_is_no_place_in_metres(corner, epsg, tmp_path):
    path = write(tmp_path / "x.tif", dn(), epsg, from_origin(*corner, 10, 10))
    text = refusal(path)
    assert f"({corner[0]:g} {corner[1]:g} is no place in metres)" in text
    place = at(32633, 12, 50)
    run_printed(text.replace(" X,", f" {place.c},").replace(" Y]", f" {place.f}]"), tmp_path)
    if epsg == 32633:
        assert open_scene(path, needed=RGB).grid.x_min == pytest.approx(place.c)


def test_degrees_in_a_crs_of_metres(tmp_path):
    path = write(tmp_path / "x.tif", dn(), 32633, from_origin(12, 50, 0.0001, 0.0001))
    run_printed(refusal(path), tmp_path)
    assert "EPSG:4326, which is not in metres" in refusal(path)


@pytest.mark.parametrize("kind", GRIDS)
def test_what_the_refusal_of_a_grid_advises_works(kind, tmp_path):
    epsg, transform, zone = GRIDS[kind]
    images = dn()
    path = write(tmp_path / "a scene's.tif", images, epsg, transform)
    text = refusal(path)
    assert "--bands B02,B03,B04" in text
    words = run_printed(text, tmp_path)
    assert words[4:6] == ["--dst-crs", f"EPSG:{zone}"]
    scene = open_scene(tmp_path / words[3], bands=RGB, needed=RGB)
    assert scene.grid.epsg == zone
    assert scene.grid.pixel_size == 10
    equator = 10_000_000 if zone // 100 == 327 else 0
    assert scene.grid.x_min % 60 == (scene.grid.y_max - equator) % 60 == 0
    # It holds all of the raster, and what it holds is the raster's.
    with rasterio.open(path) as raster:
        west, south, east, north = transform_bounds(raster.crs, f"EPSG:{zone}", *(
            min(raster.bounds.left, raster.bounds.right), min(raster.bounds.bottom, raster.bounds.top),
            max(raster.bounds.left, raster.bounds.right), max(raster.bounds.bottom, raster.bounds.top),
        ))  # fmt: skip
    assert scene.grid.bounds[0] <= west + 1
    assert scene.grid.bounds[1] <= south + 1
    assert scene.grid.bounds[2] >= east - 1
    assert scene.grid.bounds[3] >= north - 1
    whole = Window(0, 0, scene.grid.width, scene.grid.height)
    with scene.open() as reader:
        values, valid = reader.read(whole, RGB)["B02"], reader.valid(whole)
    assert 0.2 < valid.mean() <= 1
    assert abs(values[valid].mean() - images[0].mean()) < 30


def test_a_folder_of_bands_is_one_scene_again_after_the_same_advice_for_each(tmp_path):
    """Bands of three resolutions are warped one by one, and cover the same place afterwards."""
    (tmp_path / "warped").mkdir()
    for band, metres in {"B02": 10, "B05": 20, "B01": 60}.items():
        images = dn(240)[:1, :: metres // 10, :: metres // 10]
        path = write(tmp_path / "bands" / f"x_{band}.tif", images, 3857, at(3857, 12, 48, metres), names=None)
        run_printed(warp_advice(read_header(str(path)), metres), tmp_path / "warped")
    scene = open_scene(tmp_path / "warped", needed=("B01", "B02", "B05"))
    assert scene.factors == {"B01": 6, "B02": 1, "B05": 2}


def test_scale_and_offset_are_brought_over(tmp_path, monkeypatch):
    path = write(tmp_path / "x.tif", dn() + np.uint16(1000), 3857, at(3857, 12, 50), scale=0.0001, offset=-0.1)
    run_printed(refusal(path), tmp_path)
    scene = open_scene(tmp_path / "x_utm.tif", needed=RGB)
    assert {(layer.gain, layer.offset) for layer in scene.layers.values()} == {(1, -1000)}


def test_a_raster_without_a_crs_gets_one(tmp_path, monkeypatch):
    path = write(tmp_path / "x y.tif", dn(), None, at(32633, 12, 48))
    run_printed(refusal(path), tmp_path, zz="33")
    assert open_scene(path, needed=RGB).grid.epsg == 32633


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_that_does_not_say_where_it_lies(tmp_path, monkeypatch):
    path = write(tmp_path / "x.tif", dn(), 32633, Affine.identity())
    text = refusal(path)
    assert "EPSG:32633" in text
    run_printed(text, tmp_path, X="300000", Y="5400000")
    grid = open_scene(path, needed=RGB).grid
    assert (grid.epsg, grid.x_min, grid.y_max) == (32633, 300_000, 5_400_000)


def grd(path, *, points=True):
    """Amplitude counts in the radar's grid, as Sentinel-1 is delivered."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", width=240, height=240, count=1, dtype="uint16") as raster:
        raster.write(RNG.integers(20, 800, (1, 240, 240)).astype(np.uint16))
        if points:
            places = [(0, 0, 12.3, 47.83), (0, 240, 12.34, 47.83), (240, 0, 12.3, 47.8), (240, 240, 12.34, 47.8)]
            raster.gcps = ([GroundControlPoint(*place) for place in places], rasterio.CRS.from_epsg(4326))
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("name", ["s1a-iw-grd-{}-20230613t165809.tiff", "radar_{}.tif"])
@pytest.mark.parametrize("wrong_recipe", [False, True])
def test_sentinel_1_as_delivered_needs_a_terrain_correction(tmp_path, points, name, wrong_recipe):
    """Also after somebody has given it a CRS, which does not make a map of it."""
    s2 = write(tmp_path / "s2.tif", dn(), 32633, at(32633, 12.3, 47.83))
    files = [grd(tmp_path / name.format(pol), points=points) for pol in ("vv", "vh")]
    if wrong_recipe:
        for file in files:
            with rasterio.open(file, "r+") as raster:
                raster.crs = "EPSG:32633"
    for look in (
        lambda: open_scene(s2, needed=(*RGB, "VV", "VH"), s1=files),
        lambda: open_scene(files[0], needed=["VV"]),
    ):
        with pytest.raises(SceneError, match=r"no map grid yet.*terrain-correct.*SNAP.*RTC") as error:
            look()
        assert "CRS" not in str(error.value)


def test_of_sentinel_2_in_zone_neither_word_nor_result_changes(tmp_path):
    path = write(tmp_path / "x.tif", dn(), 32633, at(32633, 12, 48))
    assert not open_scene(path, needed=RGB).remarks


def test_a_crs_that_cannot_be_brought_anywhere(tmp_path):
    path = write(tmp_path / "x.tif", dn(), 3035, Affine(10, 0, 4e7, 0, -10, 4e7))
    assert re.search("nowhere.*is that its CRS", refusal(path))


@pytest.mark.parametrize("crs", ["EPSG:32633+5773", "EPSG:32633+3855", pyproj.CRS(32633).to_3d().to_wkt()])
def test_heights_of_a_crs_are_let_go(crs, tmp_path):
    images = np.random.default_rng(0).integers(200, 3000, (3, 120, 120)).astype(np.uint16)
    path = tmp_path / "a.tif"
    place = {"crs": crs, "transform": from_origin(300_000, 5_300_040, 10, 10)}
    shape = {"count": 3, "height": 120, "width": 120, "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(images)
        file.descriptions = RGB
    assert open_scene(path, needed=RGB).grid.epsg == 32633
