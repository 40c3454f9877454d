"""Scenes whose files say something wrong of themselves, and commands that are printed for them."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from commands import run_printed
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.scenes.grid import Window
from seg.scenes.open import open_scene

RGB, S1 = ["B02", "B03", "B04"], ["VV", "VH"]
SIZE = 480


def write(path: Path, values: np.ndarray, names: list[str] | None, scale: float = 1, offset: float = 0) -> Path:
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    place = {"crs": "EPSG:32633", "transform": from_origin(300000, 5300040, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(values)
        file.scales, file.offsets = [scale] * len(values), [offset] * len(values)
        if names:
            file.descriptions = names
    return path


@pytest.fixture
def numbers() -> np.ndarray:
    random = np.random.default_rng(1)
    blocks = random.integers(150, 2500, (3, SIZE // 30, SIZE // 30))
    return np.clip(np.kron(blocks, np.ones((1, 30, 30))) + random.normal(0, 30, (3, SIZE, SIZE)), 1, 9000)


@pytest.fixture
def decibels() -> np.ndarray:
    random = np.random.default_rng(2)
    return np.stack([random.normal(-12, 3, (SIZE, SIZE)), random.normal(-19, 3, (SIZE, SIZE))]).astype(np.float32)


@pytest.mark.parametrize("names", [["HH", "HV"], ["Sigma0_HH", "Sigma0_HV"], ["sigma0", "incidence"], ["", "angle"]])
def test_names_of_something_else_are_not_taken_for_vv_and_vh(names, decibels, tmp_path):
    with pytest.raises(SceneError, match=r"its bands are called .* and the model sees VV and VH"):
        open_scene(write(tmp_path / "a.tif", decibels, names), needed=S1)


@pytest.mark.parametrize("names", [None, ["Band 1", "Band 2"], ["1", "2"], ["band_1", "band_2"], ["Gray", "Undefined"]])
def test_what_tools_call_bands_without_names_is_no_name(names, decibels, tmp_path):
    scene = open_scene(write(tmp_path / "a.tif", decibels, names), needed=S1)
    assert any("taken for VV and VH" in remark for remark in scene.remarks)


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, 0.1), (1, 1000)])
def test_an_offset_of_the_wrong_sign_is_refused(scale, offset, numbers, tmp_path):
    path = write(tmp_path / "a.tif", numbers.astype(np.uint16), RGB, scale, offset)
    with pytest.raises(SceneError, match="wrong sign"):
        open_scene(path, needed=RGB)


def test_an_offset_that_only_packs_the_values_is_taken(numbers, tmp_path):
    packed = (numbers.round() - 20_000).astype(np.int16)
    scene = open_scene(write(tmp_path / "a.tif", packed, RGB, 1e-4, 2.0), needed=RGB)
    whole = Window(0, 0, SIZE, SIZE)
    with scene.open() as reader:
        assert np.abs(reader.read(whole, ("B02",))["B02"] - numbers[0]).max() <= 1


@pytest.mark.parametrize(("factor", "shift"), [(0.5, 0), (2, 0), (1, -20)])
def test_half_twice_and_shifted_decibels_are_doubted(factor, shift, decibels, tmp_path):
    scene = open_scene(write(tmp_path / "a.tif", decibels * factor + shift, S1), needed=S1)
    assert any("no land or sea has" in remark for remark in scene.remarks)
    assert not open_scene(write(tmp_path / "b.tif", decibels, S1), needed=S1).remarks


@pytest.mark.parametrize("fill", [65_535, 32_767, 9_999])
@pytest.mark.parametrize("width", [1, 3, 5, 8])
@pytest.mark.parametrize("side", ["left", "bottom"])
def test_a_narrow_stripe_of_a_fill_value_is_no_data(fill, width, side, numbers, tmp_path):
    values = (np.tile(numbers, (1, 2, 2))).astype(np.uint16)
    place = np.s_[:, :, :width] if side == "left" else np.s_[:, -width:]
    values[place] = fill
    scene = open_scene(write(tmp_path / "a.tif", values, RGB), needed=RGB)
    assert any(str(fill) in remark for remark in scene.remarks)
    whole = Window(0, 0, 2 * SIZE, 2 * SIZE)
    with scene.open() as reader:
        reader.read(whole, RGB)
        valid = reader.valid(whole)
    assert not valid[place[1:]].any()
    assert valid.sum() == valid.size - valid[place[1:]].size


@pytest.mark.parametrize("what", ["reflectance", "power"])
def test_the_formula_that_is_printed_works_where_no_nodata_is_declared(what, numbers, decibels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values, names = (numbers / 10_000, RGB) if what == "reflectance" else (10 ** (decibels / 10), S1)
    path = write(Path("a.tif"), values.astype(np.float32), names)
    with pytest.raises(SceneError) as caught:
        open_scene(path, needed=names)
    words = run_printed(str(caught.value), tmp_path)
    assert open_scene(tmp_path / words[-1], bands=names, needed=names).bands
