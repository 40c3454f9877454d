"""Scenes whose files say something wrong of themselves, and commands that are printed for them."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from commands import run_printed
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.reben.names import band_in
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


def test_bands_that_are_called_by_their_place_are_said_to_be_taken_for_sentinel_2s(numbers, tmp_path):
    """Tools number bands B1, B2, and so on; the third of blue, green, red and infrared is not B03."""
    four = np.concatenate([numbers, 3 * numbers[:1]]).astype(np.uint16)
    path = write(tmp_path / "a.tif", four, ["B1", "B2", "B3", "B4"])
    assert any("are called B1 to B4 and taken for those of Sentinel-2" in one for one in remarks_of(path, RGB))
    assert not any("are called" in one for one in remarks_of(path, RGB, bands=[*RGB, "-"]))
    padded = write(tmp_path / "b.tif", four, ["B01", "B02", "B03", "B04"])
    assert not any("are called" in one for one in remarks_of(padded, RGB))


def test_names_of_the_file_that_the_user_contradicts_are_said(numbers, tmp_path):
    path = write(tmp_path / "a.tif", numbers.astype(np.uint16), RGB)
    said = remarks_of(path, RGB, bands=RGB[::-1])
    assert any(
        "itself names its bands otherwise than --bands, which calls its B04 B02, its B02 B04;" in one for one in said
    )
    assert not any("otherwise" in one for one in remarks_of(path, RGB, bands=RGB))
    plain = write(tmp_path / "b.tif", numbers.astype(np.uint16), ["", "", ""])
    assert not any("otherwise" in one for one in remarks_of(plain, RGB, bands=RGB[::-1]))


def remarks_of(path, needed, **more):
    return open_scene(path, needed=needed, **more).remarks


@pytest.mark.parametrize("name", ["SR_B{}", "LC08_L2SP_193024_20200601_20200824_02_T1_SR_B{}", "sr_b{}"])
def test_bands_of_landsat_are_none_of_sentinel_2(name, numbers, tmp_path):
    path = write(tmp_path / "a.tif", numbers.astype(np.uint16), [name.format(place) for place in (2, 3, 4)])
    with pytest.raises(SceneError, match=r"its bands are called .*[bB]2, .*, as none of reBEN's is"):
        open_scene(path, needed=RGB)
    assert band_in("S2_SR_B4") == "B04"


@pytest.mark.parametrize("what", ["count", "variance", "err", "unc", "slope", "trend", "anomaly"])
def test_what_was_made_of_a_band_is_not_the_band(what):
    assert band_in(f"B02_{what}") is band_in(f"{what}_B02") is None
    assert band_in("country_B02") == "B02"


@pytest.mark.parametrize(("metres", "said"), [(10, ""), (20, "pixels of 20 m"), (40, "of 40 m"), (100, "!")])
def test_sentinel_1_that_is_coarser_than_models_see(metres, said, numbers, decibels, tmp_path):
    stack = write(tmp_path / "a.tif", numbers.astype(np.uint16), RGB)
    radar = np.tile(decibels, (1, 2, 2))
    path = tmp_path / "s1.tif"
    place = from_origin(299_000, 5_301_040, metres, metres)
    shape = {"width": 2 * SIZE, "height": 2 * SIZE, "count": 2, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", transform=place, **shape) as file:
        file.write(radar)
        file.descriptions = S1
    if said == "!":
        with pytest.raises(SceneError, match="of 100 m on the ground, and models see Sentinel-1 of 10 m; give"):
            open_scene(stack, needed=(*RGB, *S1), s1=path)
        return
    told = [one for one in remarks_of(stack, (*RGB, *S1), s1=path) if "models see Sentinel-1 of 10 m" in one]
    assert len(told) == bool(said)
    assert all(said in one for one in told)


@pytest.mark.parametrize(
    ("epsg", "x", "y", "taken"),
    [
        (32722, 199_980, 5_900_020, True),
        (32622, 199_980, 5_900_020, False),
        (32721, 199_980, 5_900_020, False),
        (32721, 741_000, 5_880_000, True),
        (32722, 199_980 + 200_000, 5_900_020, False),
    ],
)
def test_a_scene_lies_at_the_tile_of_its_name(epsg, x, y, taken, numbers, tmp_path):
    """22HBD in the other hemisphere, in the zone beside it, wrongly and rightly, and two tiles further east."""
    path = tmp_path / "S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD.tif"
    shape = {"width": SIZE, "height": SIZE, "count": 3, "dtype": "uint16"}
    place = {"crs": f"EPSG:{epsg}", "transform": from_origin(x, y, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(numbers.astype(np.uint16))
        file.descriptions = RGB
    if taken:
        assert open_scene(path, needed=RGB).product
        return
    with pytest.raises(SceneError, match=r"away from the tile 22HBD of its name, which begins at 199980"):
        open_scene(path, needed=RGB)


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
