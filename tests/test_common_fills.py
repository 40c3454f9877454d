"""Constants that all bands hold in the same places, and values that are repeated without blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from commands import run_printed
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.reben.bands import S1_BANDS, S2_BANDS
from seg.scenes.grid import Window
from seg.scenes.open import open_scene
from seg.scenes.reader import Scene

Array = npt.NDArray[Any]
Places = npt.NDArray[np.bool_]
SIZE = 240
MEANS = np.array([400, 500, 750, 800, 1200, 2400, 2900, 3000, 3100, 3100, 2200, 1400])
ALL = Window(0, 0, SIZE, SIZE)


def land(seed: int = 0) -> Array:
    """DN of all bands of Sentinel-2: fields of 300 m with noise, float64 (band, row, column)."""
    random = np.random.default_rng(seed)
    fields = np.kron(random.uniform(0.5, 1.6, (12, SIZE // 30, SIZE // 30)), np.ones((30, 30)))
    return np.rint(np.clip(MEANS[:, None, None] * fields + random.normal(0, 20, (12, SIZE, SIZE)), 2, 9000))


def places(kind: str) -> Places:
    where: Places = np.zeros((SIZE, SIZE), bool)
    where[{"border": np.s_[:, :60], "block": np.s_[90:140, 150:200], "corner": np.s_[200:, :50],
           "stripe": np.s_[60:66], "small": np.s_[100:110, 103:113],
           "tiny": np.s_[101:109, 103:111], "row": np.s_[100], "column": np.s_[:, 57]}[kind]] = True  # fmt: skip
    return where


def write(
    path: Path, images: Array, names: Sequence[str] = S2_BANDS, tags: tuple[float, float] = (1, 0), **more: Any
) -> Path:
    shape = {"count": len(images), "height": SIZE, "width": SIZE, "dtype": images.dtype, "driver": "GTiff"}
    place = {"crs": "EPSG:32633", "transform": from_origin(300_000, 5_300_040, 10, 10)}
    with rasterio.open(path, "w", **(shape | place | more)) as file:
        file.write(images)
        file.descriptions = names
        file.scales, file.offsets = [tags[0]] * len(images), [tags[1]] * len(images)
    return path


def read(scene: Scene) -> tuple[dict[str, Array], Places]:
    with scene.open() as reader:
        return reader.read(ALL, scene.bands), reader.valid(ALL)


def expect_empty(scene: Scene, where: Places) -> None:
    """Nothing there is mapped, nearly all else is, and one remark says so."""
    arrays, valid_HW = read(scene)
    assert not valid_HW[where].any()
    assert valid_HW[~where].all()
    assert (np.stack([arrays[band] for band in scene.bands])[:, where] == 0).all()
    (remark,) = scene.remarks
    assert "taken as pixels without data" in remark


@pytest.mark.parametrize("kind", ["border", "block", "corner", "stripe", "small", "tiny", "row", "column"])
@pytest.mark.parametrize("value", [1, 7, 255, 999, 10_000])
def test_a_constant_of_all_bands_is_no_data(value: int, kind: str, tmp_path: Path) -> None:
    where = places(kind)
    images = np.where(where, value, land(value)).astype(np.uint16)
    expect_empty(open_scene(write(tmp_path / "a.tif", images), needed=S2_BANDS), where)


def test_constants_of_other_kinds(tmp_path: Path) -> None:
    where = places("border")
    tiny = np.where(where, 1e-38, land()).astype(np.float32)
    expect_empty(open_scene(write(tmp_path / "a.tif", tiny), needed=S2_BANDS), where)
    cut_off = np.where(where, 1000, land() + 1000).astype(np.uint16)
    expect_empty(open_scene(write(tmp_path / "b.tif", cut_off, tags=(1e-4, -0.1)), needed=S2_BANDS), where)
    declared = np.where(where, 999, land()).astype(np.int16)
    expect_empty(open_scene(write(tmp_path / "c.tif", declared, nodata=-9999), needed=S2_BANDS), where)
    rgb = np.where(where, 999, land())[1:4].astype(np.uint16)
    expect_empty(open_scene(write(tmp_path / "d.tif", rgb, S2_BANDS[1:4]), needed=S2_BANDS[1:4]), where)


def test_water_that_is_clipped_in_some_bands_stays(tmp_path: Path) -> None:
    """A lake is 1 in the bands beyond the visible; a border of 1 in all bands does not take it along."""
    lake, border = places("block"), places("border")
    images = land()
    images[4:, lake] = 1
    assert read(open_scene(write(tmp_path / "a.tif", images.astype(np.uint16)), needed=S2_BANDS))[1].all()
    images[:, border] = 1
    scene = open_scene(write(tmp_path / "b.tif", images.astype(np.uint16)), needed=S2_BANDS)
    arrays, valid_HW = read(scene)
    assert np.array_equal(valid_HW, ~border)
    assert (arrays["B12"][lake] == 1).all()
    assert "25 % of the pixels" in scene.remarks[0]


def test_visible_bands_that_are_clipped_together_stay(tmp_path: Path) -> None:
    for value in (1, 10_000):
        rgb = np.where(places("border"), value, land())[1:4].astype(np.uint16)
        scene = open_scene(write(tmp_path / "a.tif", rgb, S2_BANDS[1:4]), needed=S2_BANDS[1:4])
        assert read(scene)[1].all()
        assert scene.remarks == ()


@pytest.mark.parametrize("share", [0.001, 0.02, 0.06])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint16", 65_535), ("int16", 32_767), ("uint16", 55_537), ("uint16", 64_536), ("uint16", 30_000), ("int16", -1)],
)
def test_a_value_that_is_repeated_here_and_there_is_no_data(
    dtype: str, value: int, share: float, tmp_path: Path
) -> None:
    where: Places = np.random.default_rng(5).random((SIZE, SIZE)) < share
    images = np.where(where, value, land()).astype(dtype)
    expect_empty(open_scene(write(tmp_path / "a.tif", images), needed=S2_BANDS), where)


def test_what_is_bright_or_dark_here_and_there_stays(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    bright: Places = random.random((SIZE, SIZE)) < 0.02
    glint = np.where(bright, np.minimum(random.normal(30_000, 6000, bright.shape), 32_767), land())
    dark = np.where(bright, np.rint(random.normal(0, 5, bright.shape)), land())
    dark[dark == 0] = 1
    for images in (glint, dark):
        scene = open_scene(write(tmp_path / "a.tif", images.astype(np.int16)), needed=S2_BANDS)
        assert not any(layer.fills for layer in scene.layers.values())


RGB = S2_BANDS[1:4]


@pytest.mark.parametrize(("value", "bands", "offset"), [(0, RGB, None), (1000, RGB, 1000), (-50, S1_BANDS, None)])
def test_a_value_that_all_bands_share_here_and_there_is_told(
    value: int, bands: tuple[str, ...], offset: int | None, tmp_path: Path
) -> None:
    """As where an image was multiplied with a mask of clouds, or power had 1e-5 added before its logarithm."""
    where: Places = np.random.default_rng(7).random((SIZE, SIZE)) < 0.2
    random = np.random.default_rng(8)
    radar = np.stack([random.normal(level, 2, (SIZE, SIZE)) for level in (-12, -19)])
    images = land()[1:4] + (offset or 0) if "B02" in bands else radar
    path = write(tmp_path / "a.tif", np.where(where, value, images).astype(np.float32), bands, nodata=np.nan)
    scene = open_scene(path, needed=bands, offset=offset)
    assert read(scene)[1].all()
    (remark,) = scene.remarks
    assert f"of the pixels looked at are {value} in all bands at once, and taken as measured" in remark
    run_printed(remark, tmp_path)
    assert np.array_equal(read(open_scene(path, needed=bands, offset=offset))[1], ~where)


@pytest.mark.parametrize(("offset", "tags"), [(1000, (1, 0)), (None, (1e-4, -0.1))])
def test_zeros_under_an_offset_are_no_data(offset: int | None, tags: tuple[float, float], tmp_path: Path) -> None:
    """Another value is declared, but with the offset 0 is a reflectance of -0.1."""
    where = places("border")
    raised = np.where(where, 0, land() + 1000).astype(np.uint16)
    path = write(tmp_path / "a.tif", raised, tags=tags, nodata=65_535)
    expect_empty(open_scene(path, needed=S2_BANDS, offset=offset), where)
    lowered = np.where(where, -1000, land()).astype(np.int16)
    expect_empty(open_scene(write(tmp_path / "b.tif", lowered), needed=S2_BANDS), where)


def test_a_constant_below_zero_is_asked_about(tmp_path: Path) -> None:
    """A fill that was scaled with the values."""
    rgb = np.where(places("border"), -0.9999, land())[1:4].astype(np.float32)
    path = write(tmp_path / "a.tif", rgb, S2_BANDS[1:4])
    with pytest.raises(SceneError, match=r"in whole blocks or rows, .* and declares no nodata") as error:
        open_scene(path, needed=S2_BANDS[1:4])
    run_printed(str(error.value), tmp_path)
    assert np.array_equal(read(open_scene(path, needed=S2_BANDS[1:4]))[1], ~places("border"))


@pytest.mark.parametrize("kind", ["border", "block"])
def test_a_constant_amid_speckle_is_no_data_whatever_is_declared(kind: str, tmp_path: Path) -> None:
    """What 10 * log10(power + 1e-5) makes of nothing."""
    where = places(kind)
    images = np.where(where, -50, np.random.default_rng(8).normal(-12, 2, (2, SIZE, SIZE))).astype(np.float32)
    images[1, ~where] -= 7
    scene = open_scene(write(tmp_path / "a.tif", images, S1_BANDS, nodata=np.nan), needed=S1_BANDS)
    assert np.array_equal(read(scene)[1], ~where)
    (remark,) = scene.remarks
    assert "taken as pixels without data" in remark


@pytest.mark.parametrize("kind", ["block", "small"])
def test_zeros_of_all_bands_inside_are_told_where_they_are_values(kind: str, tmp_path: Path) -> None:
    where = places(kind)
    path = write(tmp_path / "a.tif", np.where(where, 0, land()).astype(np.int16), nodata=-9999)
    scene = open_scene(path, needed=S2_BANDS)
    assert read(scene)[1].all()
    (remark,) = scene.remarks
    assert "are exactly 0, in whole blocks" in remark
    run_printed(remark, tmp_path)
    assert np.array_equal(read(open_scene(path, needed=S2_BANDS))[1], ~where)


def test_zero_decibels_inside_are_told_where_they_are_values(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    decibels = np.stack([random.normal(mean, 3, (SIZE, SIZE)) for mean in (-12, -19)])
    held = np.where(places("block"), 0, decibels).astype(np.float32)
    scene = open_scene(write(tmp_path / "a.tif", held, S1_BANDS, nodata=-9999), needed=S1_BANDS)
    assert read(scene)[1].all()
    (remark,) = scene.remarks
    assert "(VV, VH)" in remark
    assert "exactly 0" in remark
