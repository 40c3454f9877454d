"""Values that cannot be measured, and bands that have data in different places: what is left out is said."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.rasters import blocks, sample
from seg.reben.bands import S1_BANDS, S2_BANDS
from seg.scenes.grid import Window
from seg.scenes.left_out import LeftOut
from seg.scenes.open import open_scene
from seg.scenes.reader import Scene
from seg.synthetic.scene import synthesise_scene

Array = npt.NDArray[Any]
RGB, SIZE = ("B02", "B03", "B04"), 240
HUGE = float(np.finfo(np.float32).max)


def numbers(bands: int = 3, size: int = SIZE) -> Array:
    random = np.random.default_rng(0)
    fields = random.integers(150, 2500, (bands, size // 30, size // 30))
    return np.clip(np.kron(fields, np.ones((1, 30, 30))) + random.normal(0, 30, (bands, size, size)), 1, 9000)


def decibels(size: int = SIZE) -> Array:
    random = np.random.default_rng(0)
    return np.stack([random.normal(mean, 3, (size, size)) for mean in (-12, -19)]).astype(np.float32)


def write(
    path: Path, images: Array, names: tuple[str, ...] = RGB, tags: tuple[float, float] = (1, 0), **more: Any
) -> Path:
    shape = {"count": len(images), "height": images.shape[1], "width": images.shape[2], "dtype": images.dtype}
    place = {"crs": "EPSG:32633", "transform": from_origin(300_000, 5_300_040, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place, **more) as file:
        file.write(images)
        file.descriptions = names
        file.scales, file.offsets = [tags[0]] * len(images), [tags[1]] * len(images)
    return path


def valid(scene: Scene) -> Array:
    whole = Window(0, 0, scene.grid.width, scene.grid.height)
    with scene.open() as reader:
        reader.read(whole, scene.bands)
        return reader.valid(whole)


@pytest.fixture
def little_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene is looked at in one place only, as a large one is in some."""
    monkeypatch.setattr(blocks, "_WHOLE", 0)
    monkeypatch.setattr(blocks, "_CELL", 1 << 10)
    for module in (blocks, sample):
        monkeypatch.setattr(module, "AT_EDGES", 0)
        monkeypatch.setattr(module, "EVERYWHERE", 1 << 10)
    monkeypatch.setattr(sample, "_FOUND", 1 << 9)


# --- values -----------------------------------------------------------------------------------------------------------

PLACES = {
    "a pixel": np.s_[100:101, 70:71],
    "pixels": (np.array([3, 50, 51, 200]), np.array([0, 9, 10, 239])),
    "an edge of one": np.s_[:, :1],
    "an edge of five": np.s_[-5:],
    "a row": np.s_[120],
    "a stripe of three": np.s_[:, 60:63],
    "a short line": np.s_[90, 30:40],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fill", [1e20, -9999, -32_768, HUGE, -HUGE, 123_456, -999])
def test_what_no_reflectance_is_is_left_out_and_said(fill: float, place: str, tmp_path: Path) -> None:
    images = numbers().astype(np.float32)
    images[1][PLACES[place]] = fill
    lost = images[1] == np.float32(fill)
    scene = open_scene(write(tmp_path / "a.tif", images), needed=RGB)
    assert np.array_equal(valid(scene), ~lost)
    (remark,) = scene.remarks
    assert re.search(r"a\.tif \(B03\)", remark)
    assert f"{100 * lost.mean():.2g} %" in remark
    assert str(int(fill)) in remark or repr(float(np.float32(fill))) in remark
    assert scene.remarks_on(scene.left_out) == ()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fill", [-99, -120, -9999, 1e20, 0, 99])
def test_what_no_backscatter_is_is_left_out_and_said(fill: float, place: str, tmp_path: Path) -> None:
    images = decibels()
    images[0][PLACES[place]] = fill
    lost = images[0] == np.float32(fill)
    scene = open_scene(write(tmp_path / "a.tif", images, S1_BANDS), needed=S1_BANDS)
    assert np.array_equal(valid(scene), ~lost)
    (remark,) = scene.remarks
    assert re.search(r"a\.tif \(VV\)", remark)
    assert f"{100 * lost.mean():.2g} %" in remark


@pytest.mark.parametrize("place", ["an edge of one", "a row", "a stripe of three"])
def test_lines_of_what_can_be_measured_are_asked_about_or_left_out(place: str, tmp_path: Path) -> None:
    images = decibels()
    images[0][PLACES[place]] = 1
    with pytest.raises(SceneError, match="holds 1 in whole blocks or rows"):
        open_scene(write(tmp_path / "a.tif", images, S1_BANDS), needed=S1_BANDS)
    bright = numbers().astype(np.uint16)
    bright[1][PLACES[place]] = 65_535
    scene = open_scene(write(tmp_path / "b.tif", bright), needed=RGB)
    assert np.array_equal(valid(scene), bright[1] != 65_535)
    assert "65535, which is not declared" in scene.remarks[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(low=st.floats(-26, -16), high=st.floats(-14, -4), seed=st.integers(0, 9))
def test_clipped_backscatter_is_not_asked_about(low: float, high: float, seed: int, tmp_path: Path) -> None:
    """Values that many pixels were set to are equal here and there, but make no blocks amid speckle."""
    images = decibels() + np.random.default_rng(seed).normal(0, 1, (2, SIZE, SIZE)).astype(np.float32)
    images[:, :, :120] = np.clip(images[:, :, :120], np.float32(low), np.float32(high))
    scene = open_scene(write(tmp_path / "a.tif", images, S1_BANDS), needed=S1_BANDS)
    assert valid(scene).all()
    assert not scene.remarks


def test_what_only_windows_show_is_counted_and_said(tmp_path: Path, little_looked_at: None) -> None:
    images = numbers().astype(np.float32)
    images[1, 7, 200:230] = 1e20
    images[2, 230, 3] = -9999
    scene = open_scene(write(tmp_path / "a.tif", images, tiled=True, blockxsize=32, blockysize=32), needed=RGB)
    assert scene.remarks == ()
    assert scene.remarks_on(scene.left_out) == ()
    left = valid(scene)
    assert left.sum() == SIZE**2 - 31
    (remark,) = scene.remarks_on(scene.left_out)
    assert "B03 30 (0.052 %), such as 1.00000002e+20; B04 1 (0.0017 %), such as -9999" in remark
    assert remark.startswith("Pixels of a were left out")
    again = LeftOut.of([json.loads(json.dumps(scene.left_out.record)), scene.left_out.record])
    assert scene.remarks_on(again) == (remark,)
    assert again.shares() == "B02 on 100 %, B03 on 100 %, B04 on 100 %"


def test_integers_of_16_bits_are_counted_too(tmp_path: Path, little_looked_at: None) -> None:
    """They are looked up in a table; 40,000 stands for a reflectance of 8."""
    size = 300
    images = numbers(size=size).astype(np.uint16) // 2
    images[0, 7, 200:230] = 40_000
    path = write(tmp_path / "a.tif", images, tags=(2e-4, 0), tiled=True, blockxsize=32, blockysize=32)
    scene = open_scene(path, needed=RGB)
    assert valid(scene).sum() == size**2 - 30
    assert "B02 30 (0.033 %), such as 40000" in scene.remarks_on(scene.left_out)[0]


# --- products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [65_535, 55_537])
def test_fills_of_a_product_are_found(fill: int, tmp_path: Path) -> None:
    made = synthesise_scene(tmp_path / "out", SIZE, seed=1)
    (path,) = made.product.rglob("*_B03_10m.jp2")
    with rasterio.open(path) as file:
        profile, image = file.profile, file.read(1)
    image[:60, 200:] = fill
    profile = profile | {"QUALITY": 100, "REVERSIBLE": "YES"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(image, 1)
    scene = open_scene(made.product, needed=S2_BANDS)
    assert not valid(scene)[:60, 200:].any()
    (remark,) = scene.remarks
    assert f"{fill}, which is not declared as nodata" in remark


# --- places -----------------------------------------------------------------------------------------------------------


def test_bands_without_common_pixels_are_named(tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    images[0, :, :4], images[2, :, 4:] = 0, 0
    with pytest.raises(SceneError, match=r"B02 of .* has data on 98 %, B04 on 2.5 %, both on 0 % and all bands on 0 %"):
        open_scene(write(tmp_path / "a.tif", images, nodata=0), needed=RGB)


def test_bands_with_few_common_pixels_are_named(tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    images[0, :60], images[1, 90:] = 0, 0
    scene = open_scene(write(tmp_path / "a.tif", images, nodata=0), needed=RGB)
    (remark,) = scene.remarks
    assert "B02 of" in remark
    assert "has data on 75 %, B03 on 38 %, both on 12 % and all bands on 12 %" in remark
    one = numbers().astype(np.uint16)
    one[2, 30:] = 0
    (remark,) = open_scene(write(tmp_path / "b.tif", one, nodata=0), needed=RGB).remarks
    assert "B04 on 12 %, both on 12 %" in remark


def test_swath_edges_that_differ_a_little_are_nothing_to_tell(tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    for number, image in enumerate(images):
        image[:, : 120 + 3 * number] = 0
    assert open_scene(write(tmp_path / "a.tif", images, nodata=0), needed=RGB).remarks == ()


def test_an_offset_taken_off_twice_that_leaves_no_data_is_told(tmp_path: Path) -> None:
    images = np.maximum(numbers() - 1000, 0).astype(np.uint16)
    scene = open_scene(write(tmp_path / "a.tif", images, nodata=0), needed=RGB)
    assert "all bands on" in scene.remarks[0]


def test_tags_that_make_values_impossible_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers().astype(np.uint16), tags=(1e-4, -1000))
    with pytest.raises(SceneError, match=r"its tags say scale 0\.0001 and offset -1000"):
        open_scene(path, needed=RGB)
