"""Units of scenes: right ones pass, wrong ones are refused with a cure that works, doubtful ones are remarked upon."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from commands import run_printed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.rasters.header import read_header
from seg.rasters.layer import tagged_layer
from seg.rasters.sample import look
from seg.reben.bands import BANDS, S1_BANDS, S2_BANDS
from seg.scenes.findings import Spread
from seg.scenes.grid import SceneUseError, Window
from seg.scenes.offset import OFFSET_REMOVED
from seg.scenes.open import open_scene, open_sentinel1
from seg.scenes.scale import VISIBLE
from seg.synthetic.scene import synthesise_scene

Images = dict[str, npt.NDArray[np.float64]]
RGB = ("B02", "B03", "B04")
SPECTRA = {
    "forest": (140, 180, 380, 220, 600, 1900, 2300, 2400, 2550, 2600, 1100, 500),
    "field": (350, 420, 720, 450, 1100, 2800, 3400, 3500, 3700, 3700, 1900, 1000),
    "bare soil": (800, 1000, 1350, 1750, 2000, 2200, 2400, 2500, 2700, 2700, 3500, 3000),
    "snow": (8500, 8800, 8600, 8700, 8600, 8500, 8400, 8200, 8000, 7500, 900, 800),
    "bright snow": (15500, 15800, 15600, 15700, 15600, 15500, 15000, 14500, 14000, 13000, 1400, 1200),
    "sea": (700, 480, 250, 90, 70, 45, 40, 35, 30, 30, 18, 14),
    "glint": (700, 620, 560, 500, 480, 460, 460, 450, 440, 420, 380, 330),
    "lake": (190, 200, 190, 155, 150, 130, 130, 130, 125, 110, 105, 95),
    "dark winter": (90, 110, 150, 120, 220, 600, 750, 760, 820, 800, 330, 150),
}
AFLOAT = {
    "algae": (300, 350, 800, 400, 900, 1500, 1600, 1700, 1600, 1300, 200, 100),
    "kelp": (150, 160, 350, 200, 500, 1800, 2200, 2400, 2400, 2000, 330, 120),
}
ODD = {
    "lagoon": (1500, 1700, 1600, 420, 220, 90, 80, 70, 65, 60, 30, 25),
    "red dunes": (650, 800, 1500, 3200, 3700, 3900, 4000, 4050, 4100, 4100, 5200, 4700),
    "turquoise lake": (1100, 1250, 1300, 480, 300, 120, 110, 100, 90, 80, 30, 25),
    "algal bloom": (300, 320, 620, 350, 900, 700, 650, 600, 560, 500, 120, 80),
    "burnt land": (250, 300, 380, 480, 560, 700, 760, 800, 900, 950, 1900, 1900),
    "snow in shadow": (700, 720, 650, 560, 540, 500, 480, 450, 430, 400, 60, 55),
    "clear sea": (500, 420, 180, 40, 30, 25, 22, 20, 18, 15, 8, 6),
    "salt flat": (5200, 5600, 6000, 6200, 6300, 6300, 6300, 6300, 6300, 6200, 4500, 3200),
    "maple in autumn": (150, 180, 330, 900, 1300, 2200, 2500, 2600, 2700, 2700, 1700, 800),
}
BRIGHT = {
    "cloud": (6200, 6100, 5900, 6000, 6200, 6400, 6500, 6600, 6700, 6500, 5000, 4200),
    "desert": (2100, 2200, 3000, 4000, 4300, 4500, 4700, 4800, 4900, 4900, 6200, 5600),
}
BACKSCATTER = {
    "calm sea": (-25, -33),
    "noise floor": (-29, -28.5),
    "city": (-4.5, -10.5),
    "forest": (-9, -14.5),
    "wet snow": (-17, -25),
}


def surface(spectrum: tuple[int, ...], size: int = 120, bands: tuple[str, ...] = S2_BANDS) -> Images:
    """DN of a kind of land with texture and noise."""
    rng = np.random.default_rng(sum(spectrum))
    light = np.exp(0.12 * np.kron(rng.normal(size=(size // 20, size // 20)), np.ones((20, 20))))
    levels = dict(zip(S2_BANDS, spectrum, strict=True))
    return {b: np.clip(levels[b] * light + rng.normal(0, 8, light.shape), 1, 20000) for b in bands}


def land(size: int = 120) -> Images:
    """Forest, fields, soil and a lake, side by side."""
    parts = [surface(SPECTRA[kind], size) for kind in ("forest", "field", "bare soil", "lake")]
    return {band: np.block([[parts[0][band], parts[1][band]], [parts[2][band], parts[3][band]]]) for band in S2_BANDS}


def radar(levels: tuple[float, float] = (-12, -18.5), size: int = 120) -> Images:
    """dB with texture and speckle."""
    rng = np.random.default_rng(3)
    texture = 1.5 * np.kron(rng.normal(size=(size // 20, size // 20)), np.ones((20, 20)))
    speckle = [10 * np.log10(rng.gamma(4.4, 1 / 4.4, (size, size))) for _ in levels]
    return {b: level + texture + s for b, level, s in zip(S1_BANDS, levels, speckle, strict=True)}


def write(
    path: Path,
    images: Images,
    dtype: str = "uint16",
    nodata: float | None = None,
    *,
    tags: tuple[float, float] = (1, 0),
    named: bool = True,
) -> Path:
    stack: npt.NDArray[Any] = np.stack(list(images.values()))
    if not dtype.startswith("float"):
        stack = np.rint(stack)
    with rasterio.open(
        path, "w", driver="GTiff", width=stack.shape[2], height=stack.shape[1], count=len(stack), dtype=dtype,
        nodata=nodata, crs="EPSG:32633", transform=from_origin(300000, 5300040, 10, 10),
    ) as raster:  # fmt: skip
        raster.write(stack.astype(dtype))
        raster.descriptions = tuple(images) if named else ("",) * len(stack)
        raster.scales, raster.offsets = [tags[0]] * len(stack), [tags[1]] * len(stack)
    return path


def refusal(path: Path, images: Images, **more: Any) -> str:
    with pytest.raises(SceneError) as error:
        open_scene(path, needed=tuple(images), **more)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


# --- right ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [S2_BANDS, RGB, ("B02", "B03", "B04", "B08"), ("B08", "B11", "B12")], ids=len)
@pytest.mark.parametrize("kind", SPECTRA)
def test_land_water_and_snow_pass_without_a_word(tmp_path: Path, kind: str, bands: tuple[str, ...]) -> None:
    images = surface(SPECTRA[kind], bands=bands)
    for dtype in ("uint16", "float32"):
        scene = open_scene(write(tmp_path / "x.tif", images, dtype), needed=bands)
        bright = min(np.quantile(image, 0.001) for image in images.values()) > 950
        dark = max(np.quantile(image, 0.99) for image in images.values()) < 300
        assert not scene.remarks or bright or dark or kind == "bare soil"


@pytest.mark.parametrize("bands", [S2_BANDS, RGB, ("B02", "B03", "B04", "B08")], ids=len)
@pytest.mark.parametrize("kind", ODD)
def test_surfaces_of_odd_colours_are_not_refused(tmp_path: Path, kind: str, bands: tuple[str, ...]) -> None:
    images = surface(ODD[kind], bands=bands)
    for dtype in ("uint16", "float32"):
        assert open_scene(write(tmp_path / "x.tif", images, dtype), needed=bands).bands == bands


@pytest.mark.parametrize("step", [1, 10, 5, 0.1, 16])
def test_values_that_were_rounded_are_not_refused(tmp_path: Path, step: float) -> None:
    """To three decimals of reflectance, or to some bits, by what packs them."""
    images = {band: np.rint(image / step) * step for band, image in land().items()}
    scene = open_scene(write(tmp_path / "x.tif", images, "float32"), needed=S2_BANDS)
    assert len(scene.remarks) == (step == 16)


@pytest.mark.parametrize("kind", BRIGHT)
def test_where_nothing_is_dark_the_offset_cannot_be_told_and_that_is_said(tmp_path: Path, kind: str) -> None:
    scene = open_scene(write(tmp_path / "x.tif", surface(BRIGHT[kind])), needed=S2_BANDS)
    (remark,) = scene.remarks
    assert "dark enough to tell" in remark
    assert scene.decisions == {"OFFSET_REMOVED": "0 (assumed)"}
    asked = open_scene(tmp_path / "x.tif", needed=S2_BANDS, offset=0)
    assert (asked.remarks, asked.decisions) == ((), {"OFFSET_REMOVED": "0 (asked for)"})


@pytest.mark.parametrize("kind", BACKSCATTER)
def test_backscatter_passes_without_a_word(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "x.tif", radar(BACKSCATTER[kind]), "float32", np.nan)
    assert open_scene(path, needed=S1_BANDS).remarks == ()


def test_no_real_patch_is_refused(real: Path, tmp_path: Path) -> None:
    doubted = 0
    folders = sorted({file.parent for file in real.glob("**/*_B02.tif")} | {p.parent for p in real.glob("**/*_VV.tif")})
    assert len(folders) > 160
    for folder in folders[::3]:
        held = [band for band in BANDS if list(folder.glob(f"*_{band}.tif"))]
        doubted += bool(open_scene(folder, needed=held).remarks)
    assert doubted <= 1


def test_a_product_is_judged_too_and_says_its_offset_itself(tmp_path: Path) -> None:
    made = synthesise_scene(tmp_path / "out", 240, seed=1)
    scene = open_scene(made.product, needed=S2_BANDS)
    assert (scene.remarks, scene.decisions) == ((), {"OFFSET_REMOVED": "1000 (said by the product)"})
    assert open_scene(made.product, needed=S2_BANDS, offset=1000).identity == scene.identity
    with pytest.raises(SceneUseError, match="itself says that B01 has an offset of 1000, so --offset 0 contradicts it"):
        open_scene(made.product, needed=S2_BANDS, offset=0)
    older = synthesise_scene(tmp_path / "older", 240, seed=1, baseline="02.07")
    with pytest.raises(SceneUseError, match="has an offset of 0, so --offset 1000 contradicts it"):
        open_scene(older.product, needed=S2_BANDS, offset=1000)


# --- wrong ------------------------------------------------------------------------------------------------------------

LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("bands", [S2_BANDS, RGB], ids=len)
@pytest.mark.parametrize("fill", [np.nan, -9999, 9999, 65535, LARGEST, 9.96921e36])
def test_reflectance_behind_any_declared_fill_value(tmp_path: Path, fill: float, bands: tuple[str, ...]) -> None:
    images = {band: land()[band] / 10_000 for band in bands}
    for image in images.values():
        image[:, :60] = fill
    text = refusal(write(tmp_path / "x.tif", images, "float32", fill), images)
    assert re.search("holds? reflectance from 0 to 1", text)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hot=st.lists(st.tuples(st.integers(0, 119), st.integers(0, 119)), max_size=40),
    value=st.floats(3, 2.0**127, width=32),
    kind=st.sampled_from(["forest", "field", "sea", "snow"]),
)
def test_hot_pixels_do_not_hide_reflectance(
    tmp_path: Path, hot: list[tuple[int, int]], value: float, kind: str
) -> None:
    images = {band: image / 10_000 for band, image in surface(SPECTRA[kind], bands=RGB).items()}
    for at in hot:
        images["B02"][at] = value
    assert "reflectance from 0 to 1" in refusal(write(tmp_path / "x.tif", images, "float32"), images)


@pytest.mark.parametrize("bands", [S2_BANDS, ("B02", "B03", "B04", "B08")], ids=len)
@pytest.mark.parametrize(
    ("change", "dtype", "tags", "said"),
    [
        (lambda v: v / 100, "float32", (1, 0), "look like percent"),
        (lambda v: np.maximum(v / 100, 1), "uint16", (1, 0), "look like percent"),
        (lambda v: np.clip(v * 0.0255, 1, 255), "uint16", (1, 0), "a picture of 0 to 255|look like percent"),
        (lambda v: np.maximum(v / 10, 1), "uint16", (1, 0), "look like reflectance times 1000"),
        (lambda v: v / 10, "float32", (1, 0), "look like reflectance times 1000"),
        (lambda v: v / 1e4, "float32", (1e-4, 0), "reflectance from 0 to 1.*tags say scale 0.0001"),
        (lambda v: v, "uint16", (0.9, 0), "brighter than snow and clouds.*tags say scale 0.9"),
        (lambda v: (v - 1000) % 65536, "uint16", (1, 0), "just below 65536: an offset was taken off integers"),
        (lambda v: v, "uint16", (1e-4, -0.1), "taken off twice; its tags say scale 0.0001 and offset -0.1"),
        (lambda v: v - 1000, "int16", (1, 0), "taken off twice"),
        (lambda v: np.maximum(v - 1000, 1), "uint16", (1, 0), "cut off at zero, as if the offset"),
        (lambda v: v + 1000, "uint16", (1, 0), "looks as if it still had the offset of 1000"),
        (lambda v: np.rint(v) * 3, "uint16", (1, 0), "are multiples of 3, as if they had been multiplied"),
        (lambda v: np.rint(v) * 7, "float32", (1, 0), "are multiples of 7|brighter than snow"),
        (lambda v: np.clip((v - np.quantile(v, 0.02)) / np.ptp(v) * 400, 1, 255), "uint16", (1, 0), "stretched to 255"),
    ],
)  # fmt: skip
def test_sentinel2_in_another_unit(
    tmp_path: Path, change: Any, dtype: str, tags: tuple[float, float], said: str, bands: tuple[str, ...]
) -> None:
    images = {band: change(land()[band]) for band in bands}
    assert re.search(said, refusal(write(tmp_path / "x.tif", images, dtype, tags=tags), images))


@pytest.mark.parametrize("band", ["B01", "B03", "B05", "B07", "B12"])
@pytest.mark.parametrize("factor", [10_000, 100])
def test_one_band_in_another_unit_is_named(tmp_path: Path, band: str, factor: float) -> None:
    images = land()
    images[band] = images[band] / factor
    text = refusal(write(tmp_path / "x.tif", images, "float32"), images)
    assert re.match(rf"{band} of ", text) or f"than {band}, beside it" in text


def test_a_lake_in_one_band_does_not_hide_the_offset(tmp_path: Path) -> None:
    images = {band: land()[band] + 1000 for band in RGB}
    images["B03"][:40, :40] = 300
    assert "--offset 1000" in refusal(write(tmp_path / "x.tif", images), images)


def test_what_looks_much_like_another_unit_is_remarked_upon(tmp_path: Path) -> None:
    images = {band: np.maximum(image / 10, 1) for band, image in surface(SPECTRA["forest"], bands=RGB).items()}
    scene = open_scene(write(tmp_path / "x.tif", images), needed=RGB)
    assert "very dark" in scene.remarks[0]


def test_the_statistics_of_the_model_count(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", land())
    assert open_scene(path, needed=S2_BANDS).remarks == ()
    brighter = {name: (20 * band.mean, band.std) for name, band in BANDS.items()}
    assert "darker than what the model was trained on" in open_scene(
        path, needed=S2_BANDS, expected=brighter
    ).remarks[0]  # fmt: skip
    path = write(tmp_path / "y.tif", radar(), "float32")
    louder = {"VV": (-1.0, 2.0), "VH": (-2.0, 3.0)}
    assert "the model has seen -1.0 on average" in open_scene(path, needed=S1_BANDS, expected=louder).remarks[0]


@pytest.mark.parametrize(
    ("change", "dtype", "tags", "said"),
    [
        (lambda v: 10 ** (v / 10), "float32", (1, 0), "VV.*looks like linear power"),
        (lambda v: 10 ** (v / 10) - 0.02, "float32", (1, 0), "looks like linear power"),
        (lambda v: 10 ** (v / 20), "float32", (1, 0), "power or amplitude"),
        (lambda v: 600 * 10 ** (v / 20), "uint16", (1, 0), "looks like digital numbers"),
        (lambda v: v * 10, "int16", (1, 0), "looks like dB times 10:"),
        (lambda v: v * 100, "int16", (1, 0), "looks like dB times 100:"),
        (lambda v: v / 10, "float32", (1, 0), "looks like dB divided by 10"),
        (np.abs, "float32", (1, 0), "looks like dB without their sign"),
        (lambda v: v + 17, "float32", (1, 0), "looks like dB that were shifted"),
        (lambda v: v + 40, "float32", (1, 0), "looks like dB that were shifted.*VV is above VH as in dB; take off"),
        (lambda v: v + 60, "uint8", (1, 0), "looks like dB that were shifted|looks like digital numbers"),
        (lambda v: v - 100, "int16", (1, 0), "looks like dB that were shifted: half of it is below -1.., and nearly"),
        (lambda v: (v - v.mean()) / v.std(), "float32", (1, 0), "lies around zero .*mean 0 and deviation 1"),
        (lambda v: v / 4.343, "float32", (1, 0), "VH of .* no land or sea has: if it is a natural logarithm"),
        (lambda v: v, "float32", (1e-4, -0.1), "tags say scale 0.0001 and offset -0.1"),
        (lambda v: v, "float32", (1, -1000), "tags say scale 1 and offset -1000"),
    ],
)
def test_sentinel1_in_another_unit(
    tmp_path: Path, change: Any, dtype: str, tags: tuple[float, float], said: str
) -> None:
    images = {band: change(image) for band, image in radar().items()}
    path = write(tmp_path / "x.tif", images, dtype, tags=tags)
    assert re.search(said, refusal(path, images))
    with rasterio.open(path) as raster:
        grid = open_scene(write(tmp_path / "s2.tif", land()), needed=RGB).grid
        assert raster.shape == (grid.height // 2, grid.width // 2)
    with pytest.raises(SceneError, match=said):
        open_sentinel1([path], grid)


def test_dB_times_ten_with_its_scale_tag_are_dB(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", {b: 10 * v for b, v in radar().items()}, "int16", tags=(0.1, 0))
    assert open_scene(path, needed=S1_BANDS).remarks == ()


def test_one_polarisation_that_is_something_else(tmp_path: Path) -> None:
    held, path = radar(), tmp_path / "x.tif"
    angle = np.linspace(30, 46, held["VV"].size).reshape(held["VV"].shape)
    ratio = 10 ** ((held["VV"] - held["VH"]) / 10)
    for other in (angle, ratio, -held["VH"]):
        text = refusal(write(path, held | {"VH": other}, "float32"), held)
        assert re.search("VH of .* is above zero .* where VV is dB, as an incidence angle or a ratio is: give VH", text)
    # What is right stays as it is.
    text = refusal(write(path, held | {"VH": held["VH"] / 10}, "float32"), held)
    assert "(asarray (read 1 1) (* (read 1 2) 10.0))" in text


def test_doubled_decibels_are_doubted(tmp_path: Path) -> None:
    """Of land, whose medians are those of other land: speckle is twice as strong."""
    held = {band: 2 * image for band, image in radar((-7, -12)).items()}
    (remark,) = open_scene(write(tmp_path / "x.tif", held, "float32"), needed=S1_BANDS).remarks
    assert re.search(r"VV, VH of .* change by \d\.\d dB from place to place, as single looks do, or dB", remark)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: (v - v.mean()) / v.std(), "as standardised values or logarithms do, and no DN"),
        (lambda v: 10 * np.log10(v / 1e4), "as standardised values or logarithms do, and no DN"),
        (
            lambda v: np.clip((v - np.quantile(v, 0.02)) / np.ptp(v) * 1.5, 0, 1),
            "pictures that were stretched from 0 to 1; give the product's own values",
        ),
        (lambda v: (v - v.min()) / np.ptp(v), "were stretched from 0 to 1; give the product's own values"),
        (lambda v: 5 * v, "brighter than"),
    ],
)
@pytest.mark.parametrize("bands", [S2_BANDS, ("B02", "B03", "B04", "B08")], ids=len)
def test_sentinel2_as_it_is_prepared_for_other_things(
    tmp_path: Path, change: Any, said: str, bands: tuple[str, ...]
) -> None:
    images = {band: change(land()[band]) for band in bands}
    assert said in refusal(write(tmp_path / "x.tif", images, "float32", np.nan), images)


def test_an_offset_of_less_than_a_dn_is_no_offset(tmp_path: Path) -> None:
    """A tag of -0.1 without the scale that belongs to it took nothing off and silenced the question about the 1000."""
    images = {band: image + 1000 for band, image in land().items()}
    path = write(tmp_path / "x.tif", images, tags=(1, -0.1))
    text = refusal(path, images)
    assert "gives B01 an offset of -0.1, as of reflectance from 0 to 1, but holds DN; its tags say scale 1" in text
    run_printed(re.sub("with (?=python)", ": ", text), tmp_path)
    assert "say --offset 1000" in refusal(path, images)


@pytest.mark.parametrize("tagged", [("B01",), ("B12",), ("B02", "B03", "B04"), ("B08",)])
def test_tags_that_only_some_bands_have(tmp_path: Path, tagged: tuple[str, ...]) -> None:
    images = {band: image + 1000 for band, image in land().items()}
    path = write(tmp_path / "x.tif", images)
    with rasterio.open(path, "r+") as raster:
        raster.scales = [1e-4 if band in tagged else 1 for band in images]
        raster.offsets = [-0.1 if band in tagged else 0 for band in images]
    text = refusal(path, images)
    assert re.search("look as if they still had the offset of 1000 that .*; its tags say scale 0.0001", text)


def test_tags_that_only_some_bands_have_are_said_where_values_do_not_tell(tmp_path: Path) -> None:
    images = {band: image + (1000 if band in VISIBLE else 0) for band, image in land().items()}
    path = write(tmp_path / "x.tif", images)
    with rasterio.open(path, "r+") as raster:
        raster.offsets = [-1000 if band in VISIBLE else 0 for band in images]
    scene = open_scene(path, needed=S2_BANDS)
    (remark,) = scene.remarks
    assert "take an offset off some bands and none off B05, B06, B07, B08, B8A, B09, B11, B12" in remark
    assert scene.decisions[OFFSET_REMOVED] == "1000 and 0 (said by the file)"


@pytest.mark.parametrize("bands", [S2_BANDS, ("B02", "B03", "B04", "B08"), ("B03", "B04", "B8A")], ids=len)
@pytest.mark.parametrize("kinds", [("forest", "forest"), ("field", "lake"), ("forest", "bare soil"), ("field", "sea")])
def test_the_visible_in_another_unit_than_the_infrared(
    tmp_path: Path, kinds: tuple[str, str], bands: tuple[str, ...]
) -> None:
    one, other = (surface(SPECTRA[kind]) for kind in kinds)
    images = {band: np.hstack([one[band], other[band]]) for band in bands}
    assert not open_scene(write(tmp_path / "right.tif", images), needed=bands).remarks
    dark = {band: np.maximum(image / 10, 1) if band in VISIBLE else image for band, image in images.items()}
    text = refusal(write(tmp_path / "x.tif", dark), dark)
    assert re.search("as if in another unit|look like reflectance times 1000", text)


def test_a_red_edge_in_another_unit(tmp_path: Path) -> None:
    images = land()
    images["B05"] = images["B05"] / 10
    assert re.search(r"B05 of .* as if in another unit", refusal(write(tmp_path / "x.tif", images), images))


@pytest.mark.parametrize("size", [120, 240])
def test_dark_grey_ground_is_doubted_and_not_refused(tmp_path: Path, size: int) -> None:
    """What is told to multiply by 10 would make a desert of coal."""
    coal = surface((250, 260, 280, 300, 310, 330, 340, 350, 360, 370, 420, 400), size)
    (remark,) = open_scene(write(tmp_path / "x.tif", coal), needed=S2_BANDS).remarks
    assert "are very dark" in remark


@pytest.mark.parametrize("kind", ["algae", "kelp"])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_plants_in_water_are_doubted_and_not_refused(tmp_path: Path, kind: str, share: float) -> None:
    """Water below them takes away the light of the shortwave."""
    plants, sea = surface(AFLOAT[kind]), surface(SPECTRA["sea"])
    edge = int(120 * share)
    images = {band: np.hstack([plants[band][:, :edge], sea[band][:, edge:]]) for band in S2_BANDS}
    remarks = open_scene(write(tmp_path / "x.tif", images), needed=S2_BANDS).remarks
    assert remarks
    assert all("over plants, as if in another unit" in remark for remark in remarks)


@pytest.mark.parametrize("factor", [2, 3.3])
def test_histograms_with_gaps_in_all_bands_are_doubted(tmp_path: Path, factor: float) -> None:
    images = {band: np.rint(image) * factor for band, image in land(480).items()}
    for bands in (RGB, S2_BANDS):
        path = write(tmp_path / "x.tif", {band: images[band] for band in bands})
        if factor > 3 and bands == S2_BANDS:
            assert "brighter than leaves are" in refusal(path, images, offset=0)
            continue
        remarks = open_scene(path, needed=bands, offset=0).remarks
        assert any("as if they had been multiplied" in remark for remark in remarks)


@pytest.mark.parametrize("band", ["B02", "B03", "B04", "B06", "B07", "B8A", "B09", "B11", "B12"])
@pytest.mark.parametrize("factor", [10, 0.1])
def test_one_band_as_reflectance_times_another_power_of_ten(tmp_path: Path, band: str, factor: float) -> None:
    images = land() | {band: np.maximum(land()[band] * factor, 1)}
    text = refusal(write(tmp_path / "x.tif", images), images, offset=0)
    assert re.search(rf"{band} of .* times (darker|brighter) than|than {band}, beside it|brighter than snow", text)


def test_dark_snow_is_doubted(tmp_path: Path) -> None:
    images = {band: np.maximum(image / 10, 1) for band, image in surface(SPECTRA["snow"]).items()}
    (remark,) = open_scene(write(tmp_path / "x.tif", images), needed=S2_BANDS).remarks
    assert "as white as snow, but dark" in remark


@pytest.mark.parametrize(
    "raised",
    [["B01"], ["B02"], ["B03"], ["B04"], ["B05"], ["B06"], ["B07"], ["B08"], ["B8A"], ["B09"], ["B11"], ["B12"],
     ["B02", "B03", "B04", "B08"], ["B05", "B06", "B07", "B8A", "B11", "B12"], ["B01", "B09"], ["B11", "B12"],
     [band for band in S2_BANDS if band != "B08"]],
    ids=",".join,
)  # fmt: skip
def test_an_offset_that_is_left_in_some_bands(tmp_path: Path, raised: list[str]) -> None:
    images = {band: image + 1000 * (band in raised) for band, image in land().items()}
    text = refusal(write(tmp_path / "x.tif", images), images)
    found = re.match(r"([B0-9A, ]+) of .* still had the offset of 1000 that ([B0-9A, ]+), beside them", text)
    assert found
    assert set(found[1].split(", ")) <= set(raised)
    assert not set(found[2].split(", ")) & set(raised)
    (remark,) = open_scene(tmp_path / "x.tif", needed=S2_BANDS, offset=0).remarks
    assert "give bands of one product" in remark


@pytest.mark.parametrize(("copy", "of"), [("B11", "B12"), ("B8A", "B08"), ("B01", "B02"), ("B04", "B11")])
@pytest.mark.parametrize("border", [0, 60])
def test_a_band_that_is_a_copy_of_another_is_named(tmp_path: Path, copy: str, of: str, border: int) -> None:
    images = land()
    images[copy] = images[of].copy()
    for image in images.values():
        image[:, :border] = 0
    first, second = (band for band in S2_BANDS if band in (copy, of))
    assert f"{first} and {second} of " in (text := refusal(write(tmp_path / "x.tif", images), images))
    assert "the same pixels" in text


@pytest.mark.parametrize(("bands", "taken"), [(S2_BANDS, True), (RGB, False)])
def test_bands_that_are_all_alike_are_doubted_and_three_of_them_refused(tmp_path: Path, bands, taken) -> None:
    """Somebody tries a picture in all bands; a grey one of three bands is no stack of three."""
    image = land()["B04"]
    path = write(tmp_path / "x.tif", dict.fromkeys(bands, image))
    if taken:
        said = open_scene(path, needed=bands).remarks
        assert any("All 12 bands of " in one and "hold the same pixels" in one for one in said)
    else:
        with pytest.raises(SceneError, match="hold the same pixels: one was copied twice"):
            open_scene(path, needed=bands)


def test_polarisations_of_the_same_pixels(tmp_path: Path) -> None:
    images = {"VV": radar()["VV"], "VH": radar()["VV"]}
    path = write(tmp_path / "x.tif", images, "float32")
    assert "VV and VH of " in refusal(path, images)
    grid = open_scene(write(tmp_path / "s2.tif", land()), needed=RGB).grid
    with pytest.raises(SceneError, match=r"VV and VH of .* the same pixels"):
        open_sentinel1([path], grid)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clipped=st.floats(0.3, 0.8), seed=st.integers(0, 99))
def test_bands_that_are_clipped_alike_are_no_copies(tmp_path: Path, clipped: float, seed: int) -> None:
    """Of clear water hardly anything is left but the value that it is clipped to."""
    rng = np.random.default_rng(seed)
    where = rng.random((120, 120)) < clipped
    images = {
        b: np.where(where, 1, np.clip(image, 2, None)) for b, image in surface(SPECTRA["lake"], bands=RGB).items()
    }
    assert open_scene(write(tmp_path / "x.tif", images), needed=RGB).bands == RGB


@pytest.mark.parametrize("factor", [0.1, 10])
def test_both_shortwave_bands_in_another_unit(tmp_path: Path, factor: float) -> None:
    images = land()
    for band in ("B11", "B12"):
        images[band] = images[band] * factor
    text = refusal(write(tmp_path / "x.tif", images), images)
    assert re.search(r"B11 of .* times as bright as B08 over plants|B11 of .* brighter than snow", text)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize(("factor", "like"), [(0.1, "reflectance times 1000"), (0.01, "percent")])
def test_clouds_do_not_hide_another_unit(tmp_path: Path, share: float, factor: float, like: str) -> None:
    rng = np.random.default_rng(0)
    edge = round(240 * share**0.5)
    right = land()
    for image in right.values():
        image[:edge, :edge] = rng.normal(8500, 300, (edge, edge))
    path = tmp_path / "x.tif"
    assert open_scene(write(path, right, "float32"), needed=S2_BANDS).bands == S2_BANDS
    images = {band: image * factor for band, image in right.items()}
    text = refusal(write(path, images, "float32"), images)
    assert f"look like {like}, not" in text
    assert f"(* {1 / factor:.0f} (read 1))" in text


@pytest.mark.parametrize("factor", [0.1, 0.01])
def test_near_infrared_alone_in_another_unit_beside_the_visible(tmp_path: Path, factor: float) -> None:
    images = {band: image for band, image in land().items() if band in (*RGB, "B08")}
    images["B08"] = images["B08"] * factor
    text = refusal(write(tmp_path / "x.tif", images, "float32"), images)
    assert re.search(r"B08 of .* as bright as green and red", text)


def test_water_that_varies_is_not_refused_for_its_dark_infrared(tmp_path: Path) -> None:
    bands = (*RGB, "B08")
    parts = [surface(ODD[kind], 120, bands) for kind in ("lagoon", "clear sea", "turquoise lake")]
    parts.append(surface((900, 950, 1150, 900, 800, 330, 320, 250, 220, 200, 60, 50), 120, bands))
    images = {band: np.block([[parts[0][band], parts[1][band]], [parts[2][band], parts[3][band]]]) for band in bands}
    assert open_scene(write(tmp_path / "x.tif", images), needed=bands).bands == bands


@pytest.mark.parametrize("kind", ["snow", "bright snow"])
def test_shortwave_bands_in_another_unit_over_snow(tmp_path: Path, kind: str) -> None:
    images = surface(SPECTRA[kind])
    for factor, certain in ((0.1, False), (0.01, True)):
        path = write(
            tmp_path / "x.tif", {b: i * factor if b in ("B11", "B12") else i for b, i in images.items()}, "float32"
        )
        if certain:
            assert re.search(r"B11 of .* over snow, darker than snow is", refusal(path, images))
        else:
            remarks = open_scene(path, needed=S2_BANDS).remarks
            assert any(re.search(r"B11 of .* over snow, darker than snow is", text) for text in remarks)


@pytest.mark.parametrize("cloud", [0, 20, 70])
def test_visible_bands_times_1000_are_doubted_under_clouds_too(tmp_path: Path, cloud: int) -> None:
    images = {band: land()[band] / 10 for band in RGB}
    for image in images.values():
        image[:cloud, :cloud] = np.random.default_rng(0).normal(800, 30, (cloud, cloud))
    path = write(tmp_path / "x.tif", images)
    assert any("reflectance times 1000" in text or "0 to 255" in text for text in open_scene(path, needed=RGB).remarks)


def test_percent_of_dark_land_is_called_so(tmp_path: Path) -> None:
    """The visible of a forest in percent is below 2, as reflectance is."""
    images = {band: image / 100 for band, image in surface(SPECTRA["forest"]).items()}
    text = refusal(write(tmp_path / "x.tif", images, "float32"), images)
    assert "look like percent" in text
    assert "(* 100 (read 1))" in text


@pytest.mark.parametrize(
    ("levels", "factor", "like"),
    [
        ((-9, -14.5), 256, "256 or 100"),
        ((-12, -18.5), 100, "100"),
        ((-17, -25), 256, "256"),
        ((-9, -14.5), 1000, "1000"),
    ],
)
def test_decibels_times_what_integers_are_packed_with(
    tmp_path: Path, levels: tuple[float, float], factor: int, like: str
) -> None:
    images = {band: image * factor for band, image in radar(levels).items()}
    text = refusal(write(tmp_path / "x.tif", images, "int32"), images)
    assert f"looks like dB times {like}:" in text
    assert f"(/ (read 1) {factor}.0)" in text


# --- other levels, other satellites, and two units side by side -------------------------------------------------------


def test_numbers_of_landsat(tmp_path: Path) -> None:
    """As of Collection 2, without their tags: divided by ten they would be a map of something else."""
    images = land()
    numbers = {band: (image / 10_000 + 0.2) / 0.0000275 for band, image in images.items()}
    text = refusal(write(tmp_path / "x.tif", numbers, nodata=0), numbers)
    assert "as Landsat's numbers are" in text
    run_printed(text, tmp_path)
    scene = open_scene(tmp_path / "x_dn.tif", needed=S2_BANDS, bands=list(S2_BANDS))
    assert scene.remarks == ()
    with rasterio.open(tmp_path / "x_dn.tif") as raster:
        np.testing.assert_allclose(raster.read(), np.stack(list(images.values())), atol=0.5)
    bright = {band: 10 * image for band, image in images.items()}
    assert "(/ (read 1) 10.0)" in refusal(write(tmp_path / "y.tif", bright, nodata=0), bright)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["forest", "bare soil", "bright snow", "sea"])
def test_reflectance_beside_dn(tmp_path: Path, kind: str, share: float) -> None:
    """Images of two sources side by side; water alone has DN of 2 in the shortwave, and is not meant."""
    images = surface(SPECTRA[kind])
    width = round(120 * share)
    mixed = {band: np.hstack([image[:, :width] / 10_000, image[:, width:]]) for band, image in images.items()}
    text = refusal(write(tmp_path / "x.tif", mixed, "float32"), mixed)
    assert re.search(r"two units: \d+ % of B\d\w are reflectance from 0 to 1", text), text
    open_scene(write(tmp_path / "right.tif", images, "float32"), needed=S2_BANDS, offset=0)


AIR = dict(zip(S2_BANDS, (1100, 750, 420, 230, 160, 120, 90, 70, 50, 40, 10, 5), strict=True))
"""DN that air adds to dark ground, about."""


@pytest.mark.parametrize("bands", [S2_BANDS, ("B02", "B03", "B04", "B08", "B11")])
def test_the_top_of_the_atmosphere_is_doubted(tmp_path: Path, bands: tuple[str, ...]) -> None:
    images = land()
    above = {band: 0.9 * images[band] + AIR[band] for band in bands}
    scene = open_scene(write(tmp_path / "x.tif", above), needed=bands, offset=0)
    assert any("if this is Level-1C, give the product of Level-2A" in one for one in scene.remarks)


@pytest.mark.parametrize("kind", [*SPECTRA, *ODD, *BRIGHT])
def test_the_surface_is_not_called_the_top_of_the_atmosphere_nor_its_bands_exchanged(tmp_path: Path, kind: str) -> None:
    images = surface({**SPECTRA, **ODD, **BRIGHT}[kind])
    try:
        said = " ".join(open_scene(write(tmp_path / "x.tif", images), needed=S2_BANDS, offset=0).remarks)
    except SceneError as error:
        said = str(error)
    assert "Level-1C" not in said
    assert "exchanged" not in said


def test_a_band_that_is_the_same_everywhere_is_no_image(tmp_path: Path) -> None:
    images = land()
    images["B01"] = np.full_like(images["B01"], np.median(images["B01"]))
    remarks = open_scene(write(tmp_path / "x.tif", images), needed=S2_BANDS, offset=0).remarks
    assert any(re.search(r"B01 of .* everywhere, which is no image", one) for one in remarks)
    even = {band: np.full((120, 120), 1000.0 + place) for place, band in enumerate(S2_BANDS)}
    remarks = open_scene(write(tmp_path / "even.tif", even), needed=S2_BANDS, offset=0).remarks
    assert not any("everywhere" in one for one in remarks)


def test_bands_of_sentinel1_without_names_are_named_in_the_file(tmp_path: Path) -> None:
    """Beside Sentinel-2 there is no --bands for them."""
    path = write(tmp_path / "x.tif", radar() | {"ratio": radar()["VV"]}, "float32", named=False)
    with pytest.raises(SceneError, match="its bands have no names; name VV and VH, as in") as refused:
        open_scene(path, needed=S1_BANDS)
    run_printed(str(refused.value), tmp_path)
    assert open_scene(path, needed=S1_BANDS).remarks == ()


@pytest.mark.parametrize("pair", [("B11", "B12"), ("B02", "B04")])
def test_two_bands_that_are_exchanged_are_doubted(tmp_path: Path, pair: tuple[str, str]) -> None:
    images = land()
    one, other = pair
    exchanged = images | {one: images[other], other: images[one]}
    scene = open_scene(write(tmp_path / "x.tif", exchanged), needed=S2_BANDS, offset=0)
    assert any("as if the two were exchanged" in said for said in scene.remarks)
    assert open_scene(write(tmp_path / "y.tif", images), needed=S2_BANDS, offset=0).remarks == ()


# --- what is assumed --------------------------------------------------------------------------------------------------


def test_swapped_polarisations(tmp_path: Path) -> None:
    held = radar()
    swapped = {"VV": held["VH"], "VH": held["VV"]}
    for named in (True, False):
        text = refusal(write(tmp_path / "x.tif", swapped, "float32", named=named), swapped)
        assert re.search(r"VV, VH of .*look swapped: VH is 6\.\d dB above VV", text)
    path = write(tmp_path / "two names.tif", swapped, "float32")
    with pytest.raises(SceneError) as refused:
        open_scene(path, needed=S1_BANDS)
    run_printed(str(refused.value), tmp_path)
    assert open_scene(path, needed=S1_BANDS).remarks == ()
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == ("VH", "VV")
    rng = np.random.default_rng(0)
    alike = {"VV": held["VV"], "VH": held["VV"] + rng.normal(0, 1, held["VV"].shape)}
    scene = open_scene(write(tmp_path / "x.tif", alike, "float32"), needed=S1_BANDS)
    assert re.search(r"VV is -?0\.\d dB above VH", scene.remarks[0])


def test_two_bands_without_names_are_said_to_be_assumed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", radar(), "float32", named=False)
    scene = open_scene(path, needed=S1_BANDS)
    (remark,) = scene.remarks
    assert "have no names and are taken for VV and VH" in remark
    assert scene.decisions == {"POLARISATIONS": "VV,VH (assumed of two bands without names)"}
    assert open_scene(path, needed=S1_BANDS, bands=["VV", "VH"]).decisions == {}
    run_printed(remark, tmp_path)
    assert open_scene(path, needed=S1_BANDS).remarks == ()


def test_an_offset_that_contradicts_tags_or_means_nothing(tmp_path: Path) -> None:
    raised = {band: image + 1000 for band, image in land().items()}
    path = write(tmp_path / "x.tif", raised, tags=(1e-4, -0.1))
    scene = open_scene(path, needed=S2_BANDS)
    assert scene.decisions == {"OFFSET_REMOVED": "1000 (said by the file)"}
    assert open_scene(path, needed=S2_BANDS, offset=1000).identity == scene.identity
    with pytest.raises(SceneUseError, match="has an offset of 1000, so --offset 0 contradicts it; leave out --offset"):
        open_scene(path, needed=S2_BANDS, offset=0)
    with pytest.raises(SceneUseError, match="is 0 or 1000, not 500"):
        open_scene(path, needed=S2_BANDS, offset=500)
    s1 = write(tmp_path / "s1.tif", radar(), "float32")
    with pytest.raises(SceneUseError, match="no band of Sentinel-2 is read"):
        open_scene(s1, needed=S1_BANDS, offset=0)


@pytest.mark.parametrize("offset", [None, 0, 1000])
def test_tags_that_add_an_offset(tmp_path: Path, offset: int | None) -> None:
    raised = {band: image + 1000 for band, image in land().items()}
    path = write(tmp_path / "x.tif", raised, tags=(1e-4, 0.1))
    text = refusal(path, raised, offset=offset)
    assert "add 1000 to its values" in text
    assert "its tags say scale 0.0001 and offset 0.1" in text
    code = re.search(r'python -c "(.*)"', text)
    assert code
    exec(code[1], {})
    assert "say --offset 1000" in refusal(path, raised)
    assert open_scene(path, needed=S2_BANDS, offset=1000).remarks == ()


def test_an_offset_taken_off_by_request_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", land())
    assert "--offset 0 where it is off already" in refusal(path, land(), offset=1000)


# --- the cures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "dtype"),
    [
        ({band: image / 10_000 for band, image in land().items()}, "float32"),
        ({band: image / 100 for band, image in land().items()}, "float32"),
        ({band: image * 10 for band, image in land().items()}, "uint32"),
        ({band: np.maximum(image / 10, 1) for band, image in land().items()}, "uint16"),
        ({band: 10 ** (image / 10) for band, image in radar().items()}, "float32"),
        ({band: 10 * image for band, image in radar().items()}, "int16"),
        ({band: image / 10 for band, image in radar().items()}, "float32"),
        ({band: -image for band, image in radar().items()}, "float32"),
        (land() | {"B05": land()["B05"] / 10_000}, "float32"),
        (radar() | {"VH": 10 ** (radar()["VH"] / 10)}, "float32"),
        (radar() | {"VV": 100 * radar()["VV"]}, "float32"),
    ],
    ids=[
        "0 to 1",
        "percent",
        "x 100000",
        "x 1000",
        "power",
        "dB x 10",
        "dB / 10",
        "no sign",
        "one 0 to 1",
        "VH power",
        "VV x 100",
    ],
)
def test_what_is_advised_works_when_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Images, dtype: str
) -> None:
    monkeypatch.chdir(tmp_path)
    held = {band: image.copy() for band, image in images.items()}
    for image in held.values():
        image[:, :30] = 0
    path = write(tmp_path / "my scene.tif", held, dtype, 0)
    words = run_printed(refusal(path, held), tmp_path)
    made = "my scene_dn.tif" if len(held) > 2 else "my scene_db.tif"
    assert words[-1] == made
    scene = open_scene(Path(made), needed=tuple(held), bands=list(held))
    assert scene.remarks == ()
    right = land() if len(held) > 2 else radar()
    with scene.open() as reader:
        found = reader.read(Window(0, 0, scene.grid.width // 6 * 6, scene.grid.height // 6 * 6), scene.bands)
    for band, array in found.items():
        inside = right[band][:, 30:]
        np.testing.assert_allclose(array[:, 30:], inside, atol=6 if len(held) > 2 else 0.06)


UNEVEN = "look as if they still had the offset of 1000 that B03 and B04 have not: where all are darkest"
INFRARED = S2_BANDS[5:]


@pytest.mark.parametrize("bands", [S2_BANDS, ("B02", "B03", "B04", "B08", "B11")], ids=len)
@pytest.mark.parametrize("water", ["sea", "lake", "clear sea"])
def test_the_offset_left_in_all_of_the_infrared_is_told_by_water(
    water: str, bands: tuple[str, ...], tmp_path: Path
) -> None:
    pieces = [surface({**SPECTRA, **ODD}[kind], bands=bands) for kind in (water, "forest", "field")]
    images = {band: np.hstack([piece[band] for piece in pieces]) for band in bands}
    assert UNEVEN not in _said_of(write(tmp_path / "right.tif", images), bands, bands)
    raised = {band: image + 1000 * (band in INFRARED) for band, image in images.items()}
    assert UNEVEN in _said_of(write(tmp_path / "wrong.tif", raised), bands, bands)
    asked = open_scene(tmp_path / "wrong.tif", needed=bands, bands=bands, offset=0)
    assert any(UNEVEN in remark for remark in asked.remarks)


@pytest.mark.parametrize("kind", [*SPECTRA, *AFLOAT, *ODD, *BRIGHT])
@pytest.mark.parametrize("beside", ["", "forest", "lake", "bright snow"])
def test_infrared_without_the_offset_is_not_said_to_have_it(kind: str, beside: str, tmp_path: Path) -> None:
    known = {**SPECTRA, **AFLOAT, **ODD, **BRIGHT}
    pieces = [surface(known[name]) for name in (kind, beside) if name]
    images = {band: np.hstack([piece[band] for piece in pieces]) for band in S2_BANDS}
    assert UNEVEN not in _said_of(write(tmp_path / "x.tif", images), S2_BANDS, S2_BANDS)


REVERSED = re.compile("or its bands are in another order: reversed|only if they are reversed")


@pytest.mark.parametrize("bands", [S2_BANDS, S2_BANDS[1:9], ("B02", "B03", "B04", "B08")], ids=len)
def test_bands_in_reverse_order_are_said_to_be_so(bands: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", {band: land()[band] for band in bands}, named=False)
    assert REVERSED.search(_said_of(path, bands, bands[::-1]))
    assert not _said_of(path, bands, bands)


@pytest.mark.parametrize("bands", [S2_BANDS, ("B02", "B03", "B04", "B08"), ("B02", "B03", "B04", "B05")], ids=str)
@pytest.mark.parametrize("kind", [*SPECTRA, *AFLOAT, *ODD, *BRIGHT])
def test_bands_in_their_order_are_not_said_to_be_in_another(kind: str, bands: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever the unit: a group of bands in another one is not explained by their order."""
    images = surface({**SPECTRA, **AFLOAT, **ODD, **BRIGHT}[kind], bands=bands)
    assert not REVERSED.search(_said_of(write(tmp_path / "x.tif", images), bands, bands))
    for part in (bands, bands[:3], bands[3:], bands[-2:]):
        wrong = images | {band: images[band] / 10 for band in part}
        assert not REVERSED.search(_said_of(write(tmp_path / "x.tif", wrong, "float32"), bands, bands))


def _said_of(path: Path, needed: tuple[str, ...], bands: tuple[str, ...]) -> str:
    try:
        return " ".join(open_scene(path, needed=needed, bands=bands).remarks)
    except SceneError as error:
        return str(error)


@pytest.mark.parametrize("told", [False, True], ids=["named by the file", "named by the user"])
def test_cures_of_several_scenes_are_typed_in_one_folder_with_the_bands_that_they_list(
    told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    held = {"B04": land()["B04"], "SCL": np.full_like(land()["B04"], 4), "B02": land()["B02"], "B03": land()["B03"]}
    bands = ["B04", "-", "B02", "B03"] if told else None
    for name in ("one", "other"):
        names = {str(place): image for place, image in enumerate(held.values())} if told else held
        path = write(Path(f"{name}.tif"), {band: image / 10_000 for band, image in names.items()}, "float32")
        with pytest.raises(SceneError, match="reflectance from 0 to 1") as refused:
            open_scene(path, needed=RGB, bands=bands)
        run_printed(str(refused.value), tmp_path)
        listed = re.search(r"--bands (\S+)$", str(refused.value))
        assert listed
        scene = open_scene(Path(f"{name}_dn.tif"), needed=RGB, bands=listed[1].split(","))
        with scene.open() as reader:
            found = reader.read(Window(0, 0, 120, 120), RGB)
        for band in RGB:
            np.testing.assert_allclose(found[band], land()[band][:120, :120], atol=1)


def test_names_that_may_be_places_are_not_listed(tmp_path: Path) -> None:
    images = {f"B{place}": land()[band] / 10_000 for place, band in enumerate(RGB, 1)}
    with pytest.raises(SceneError, match=r"and name its bands with --bands$"):
        open_scene(write(tmp_path / "a.tif", images, "float32"), needed=["B02", "B03"])


@pytest.mark.parametrize("order", [("VV", "VH"), ("VH", "VV"), ("angle", "VH", "VV")])
@pytest.mark.parametrize("filled", [False, True])
def test_what_is_advised_for_radar_beside_a_scene_works_when_typed(
    order: tuple[str, ...], filled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made has no names of bands, and those of a scene are not those of --s1."""
    monkeypatch.chdir(tmp_path)
    held = {"angle": np.full_like(radar()["VV"], 38), **{band: 10 ** (image / 10) for band, image in radar().items()}}
    for image in held.values():
        image[:, :30] *= not filled
    scene = write(tmp_path / "scene.tif", land())
    path = write(tmp_path / "radar.tif", {band: held[band] for band in order}, "float32", 0 if filled else None)
    needed = (*S2_BANDS, *S1_BANDS)
    with pytest.raises(SceneError) as refused:
        open_scene(scene, needed=needed, s1=path)
    text = str(refused.value)
    assert "--bands" not in text
    run_printed(text, tmp_path)
    opened = open_scene(scene, needed=needed, s1=tmp_path / "radar_db.tif")
    with opened.open() as reader:
        found = reader.read(Window(0, 0, 120, 120), S1_BANDS)
    for band, array in found.items():
        np.testing.assert_allclose(array[:, 32:118], radar()[band][:120, 32:118], atol=0.06)


@pytest.mark.parametrize(("rows", "share"), [(120, None), (60, "50"), (90, "75")])
def test_radar_that_ends_within_a_scene_is_told(rows: int, share: str | None, tmp_path: Path) -> None:
    scene = write(tmp_path / "scene.tif", land())
    size = land()["B02"].shape[0]
    held = {band: np.tile(image, (2, 2))[: rows * size // 120, :size] for band, image in radar().items()}
    path = write(tmp_path / "radar.tif", held, "float32")
    remarks = " ".join(open_scene(scene, needed=(*S2_BANDS, *S1_BANDS), s1=path).remarks)
    found = re.search(r"radar.tif covers about (\d+) % of the scene; the rest has no data", remarks)
    assert (found and found[1]) == share


def test_two_files_of_a_band_of_which_one_does_not_say_its_resolution(tmp_path: Path) -> None:
    for name in ("B02.tif", "B03.tif", "B04.tif", "T33UXP_B04_10m.tif"):
        write(tmp_path / name, {"": land()[re.findall("B0.", name)[0]]})
    assert "2 files for B04; keep one" in refusal(tmp_path, dict.fromkeys(RGB, np.zeros(0)))
    (tmp_path / "B04.tif").rename(tmp_path / "B04_20m.tif")
    assert open_scene(tmp_path, needed=RGB).layers["B04"].header.file.name == "T33UXP_B04_10m.tif"


def test_what_is_advised_for_one_band_of_a_folder_leaves_the_others(tmp_path: Path) -> None:
    images = {band: land()[band] for band in RGB} | {"B03": land()["B03"] / 10_000}
    folder = tmp_path / "given"
    folder.mkdir()
    for band, image in images.items():
        write(folder / f"{band}.tif", {band: image}, "float32")
    text = refusal(folder, images)
    run_printed(text, tmp_path)
    assert "copy B02, B04 into it as they are" in text
    for band in ("B02", "B04"):
        (tmp_path / "given_dn" / f"{band}.tif").write_bytes((folder / f"{band}.tif").read_bytes())
    with open_scene(tmp_path / "given_dn", needed=RGB).open() as reader:
        found = reader.read(Window(0, 0, 120, 120), RGB)
    for band in RGB:
        np.testing.assert_allclose(found[band], land()[band][:120, :120], atol=1)


def test_a_product_that_says_an_offset_that_its_values_do_not_have(tmp_path: Path) -> None:
    """Its metadata are right or its values are; an option cannot tell, and is not advised."""
    made = synthesise_scene(tmp_path / "out", 240, seed=1, baseline="02.07")
    metadata = made.product / "MTD_MSIL2A.xml"
    metadata.write_text(
        re.sub(r"(<PROCESSING_BASELINE>)[^<]*", r"\g<1>05.11", metadata.read_text(encoding="utf-8")), encoding="utf-8"
    )
    with pytest.raises(SceneError, match="taken off twice") as error:
        open_scene(made.product, needed=S2_BANDS)
    assert "contradict each other: get the product anew" in str(error.value)
    assert "--offset" not in str(error.value)


def test_taking_out_tags_as_advised(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", land(), tags=(1e-4, -0.1))
    code = re.search(r'python -c "(.*)"', refusal(path, land()))
    assert code
    exec(code[1], {})
    assert open_scene(path, needed=S2_BANDS).remarks == ()


# --- quantiles --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.integers(1, 20000), min_size=1, max_size=50),
    quantile=st.floats(0, 1),
    bounds=st.tuples(st.integers(0, 20001), st.integers(0, 20001)),
)
def test_quantiles_and_shares_are_those_of_numpy(
    tmp_path: Path, values: list[int], quantile: float, bounds: tuple[int, int]
) -> None:
    path = write(tmp_path / "x.tif", {"B02": np.array([values], np.float64)})
    layer = tagged_layer("B02", read_header(str(path)))
    spread = Spread(layer, look([layer])[0].sample(layer))
    assert spread.at(quantile) == pytest.approx(np.quantile(values, quantile))
    low, high = sorted(bounds)
    assert spread.share(low, high) == pytest.approx(np.mean([low <= value < high for value in values]))
