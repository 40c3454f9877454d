"""Scenes in every form against rasterio read directly, windows against the whole, and bad input one sentence each."""

import re
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio._env import get_gdal_config
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject
from scipy.ndimage import map_coordinates

from seg.errors import SceneError
from seg.rasters.header import read_header
from seg.reben.bands import BANDS, MODALITIES, S1_BANDS, S2_BANDS
from seg.reben.names import band_in, product_in
from seg.reben.patch import GeoRef, PatchId
from seg.scenes.cells import cell_grid
from seg.scenes.grid import Window
from seg.scenes.open import open_scene
from seg.scenes.reader import cache_bytes
from seg.synthetic.scene import synthesise_scene

REAL = Path(__file__).resolve().parents[2] / "shared" / "real" / "reben-full-4"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real samples at {REAL}")
SIZE = 300
ALL = Window(0, 0, SIZE, SIZE)
CRS, CORNER = "EPSG:32633", (300_000, 5_400_000)


def native(scene, stack):
    """Band to array at its own resolution, out of the stack by rasterio alone."""
    with rasterio.open(stack) as raster:
        return {
            band: raster.read(index)[:: BANDS[band].pixel_size // 10, :: BANDS[band].pixel_size // 10]
            for index, band in enumerate(S2_BANDS, 1)
        }


def write(path, images, metres=10, *, corner=CORNER, crs=CRS, names=None, transform=None, **options):
    """A GeoTIFF of (band, row, column) images."""
    images = np.atleast_3d(np.asarray(images)) if np.ndim(images) != 2 else np.asarray(images)[None]
    transform = transform or Affine(metres, 0, corner[0], 0, -metres, corner[1])
    with rasterio.open(
        path, "w", driver="GTiff", height=images.shape[1], width=images.shape[2], count=len(images),
        dtype=images.dtype, crs=crs, transform=transform, **options,
    ) as raster:  # fmt: skip
        raster.write(images)
        for index, name in enumerate(names or (), 1):
            raster.set_band_description(index, name)
    return path


def bands_folder(folder, arrays, name="scene_{}.tif", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for band, array in arrays.items():
        write(folder / name.format(band), array, round(SIZE / array.shape[0]) * 10, **options)
    return folder


def whole(scene, bands=None):
    with scene.open() as reader:
        return reader.read(ALL, bands or scene.bands), reader.valid(ALL)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthesise_scene(tmp_path_factory.mktemp("scene") / "out", SIZE, seed=0)


@pytest.fixture(scope="module")
def truth(made):
    return native(made, made.stack)


@pytest.fixture
def safe(made, tmp_path):
    """A copy of the product to damage."""
    return Path(shutil.copytree(made.product, tmp_path / made.product.name))


@pytest.fixture
def folder(truth, tmp_path):
    return bands_folder(tmp_path / "bands", truth)


def refused(path, match, needed=S2_BANDS, **more):
    with pytest.raises(SceneError, match=match) as error:
        open_scene(path, needed=needed, **more)
    text = str(error.value)
    assert "\n" not in text
    assert not text.endswith(".")


# --- the forms --------------------------------------------------------------------------------------------------------


def forms(made, truth, folder):
    """Every form of the same scene."""
    root = made.product.parent
    zipped, flat = folder / "product.zip", folder / "flat.zip"
    for path, top in ((zipped, root), (flat, made.product)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in made.product.rglob("*"):
                archive.write(file, file.relative_to(top))
    outer = folder / "outer"
    shutil.copytree(made.product, outer / made.product.name)
    older = synthesise_scene(folder / "older", SIZE, seed=0, baseline="02.07").product
    local = synthesise_scene(folder / "local", SIZE, seed=0, baseline="99.99").product
    named = bands_folder(folder / "named", truth, "T33UUP_20170613T101111_{}_10m.tif")
    short = bands_folder(folder / "short", truth, "{}.TIFF")
    return {
        "folder": made.product, "zip": zipped, "flat zip": flat, "one level in": outer, "02.07": older,
        "99.99": local, "bands": named, "short names": short,
    }  # fmt: skip


def test_all_forms_give_the_same_values_and_masks(made, truth, tmp_path):
    outside = (truth["B02"] == 0) & (truth["B09"] == 0).repeat(6, 0).repeat(6, 1)
    for name, path in forms(made, truth, tmp_path).items():
        scene = open_scene(path, needed=S2_BANDS)
        arrays, valid = whole(scene)
        assert scene.grid == made.grid, name
        assert scene.factors == {band: BANDS[band].pixel_size // 10 for band in S2_BANDS}
        assert tuple(arrays) == scene.bands == S2_BANDS
        for band in S2_BANDS:
            assert arrays[band].dtype == np.uint16
            assert np.array_equal(arrays[band], truth[band]), (name, band)
        assert np.array_equal(valid, ~outside), name


def test_a_stack_gives_every_band_at_its_own_grid(made, truth):
    scene = open_scene(made.stack, needed=S2_BANDS)
    arrays, valid = whole(scene)
    assert set(scene.factors.values()) == {1}
    with rasterio.open(made.stack) as raster:
        for index, band in enumerate(S2_BANDS, 1):
            assert np.array_equal(arrays[band], raster.read(index))
        assert np.array_equal(valid, (raster.read() != 0).any(0))


def test_only_the_needed_bands_are_read_in_the_order_of_reben(made):
    scene = open_scene(made.product, needed=MODALITIES["rgb"])
    assert scene.bands == ("B02", "B03", "B04")
    with scene.open() as reader:
        assert list(reader.read(ALL, ["B04", "B02"])) == ["B04", "B02"]


def test_names_and_products(made, folder, tmp_path):
    product = "S2B_MSIL2A_20170613T101111_N0511_R022_T33UUP"
    scene = open_scene(made.product, needed=["B02"])
    assert (scene.name, scene.product) == (made.product.name.removesuffix(".SAFE"), product)
    assert open_scene(made.stack, needed=["B02"]).product == product
    assert open_scene(folder, needed=["B02"]).product is None
    assert open_scene(folder, needed=["B02"]).name == "bands"


def test_identity_changes_with_the_files_and_not_with_their_place(made, safe):
    first = open_scene(made.product, needed=["B02", "B03"]).identity
    assert open_scene(made.product, needed=["B03", "B02"]).identity == first
    assert open_scene(safe, needed=["B02", "B03"]).identity == first
    assert open_scene(made.product, needed=["B02"]).identity != first
    metadata = safe / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace(">-1000<", ">0<"))
    assert open_scene(safe, needed=["B02", "B03"]).identity != first
    assert re.fullmatch("[0-9a-f]{16,}", first)


@needs_real
def test_real_patches_as_scenes_equal_their_files():
    patches = sorted((REAL / "BigEarthNet-S2").glob("*/*"))
    assert len(patches) == 4
    for path in patches:
        scene = open_scene(path, needed=S2_BANDS)
        patch = PatchId.parse(path.name)
        assert (scene.grid, scene.product, scene.name) == (patch.georef, patch.product, str(patch))
        with scene.open() as reader:
            arrays = reader.read(Window(0, 0, 120, 120), S2_BANDS)
            assert reader.valid(Window(0, 0, 120, 120)).all()
        for band in S2_BANDS:
            with rasterio.open(path / f"{path.name}_{band}.tif") as raster:
                assert np.array_equal(arrays[band], raster.read(1))


@needs_real
def test_real_sentinel_1_on_the_same_grid_is_not_changed_by_warping():
    for s1 in (REAL / "BigEarthNet-S1").glob("*/*"):
        tile, column, row = s1.name.split("_")[-3:]
        (s2,) = (REAL / "BigEarthNet-S2").glob(f"*/*_T{tile}_{int(column):02d}_{int(row):02d}")
        scene = open_scene(s2, needed=(*S1_BANDS, "B02"), s1=s1)
        alone = open_scene(s1, needed=S1_BANDS)
        assert alone.grid == scene.grid
        for one in (scene, alone):
            with one.open() as reader:
                arrays = reader.read(Window(0, 0, 120, 120), S1_BANDS)
            for band in S1_BANDS:
                with rasterio.open(s1 / f"{s1.name}_{band}.tif") as raster:
                    assert np.array_equal(arrays[band], raster.read(1))


# --- offset, scale and nodata -----------------------------------------------------------------------------------------


def edit(safe, *changes):
    path = safe / "MTD_MSIL2A.xml"
    text = path.read_text()
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text, flags=re.DOTALL)
        assert count, pattern
    path.write_text(text)


def stored(safe, band):
    (path,) = safe.rglob(f"*_{band}_{BANDS[band].pixel_size}m.jp2")
    with rasterio.open(path) as raster:
        return raster.read(1).astype(int)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((r">-1000</BOA_ADD_OFFSET>", ">1000</BOA_ADD_OFFSET>"), r"1000 \(B01, B02, B03, \.\.\.\), but"),
        ((r">-1000</BOA_ADD_OFFSET>", ">-999</BOA_ADD_OFFSET>"), r"-999 \("),
        ((r">-1000</BOA_ADD_OFFSET>", ">nan</BOA_ADD_OFFSET>"), "nan"),
        ((r'band_id="4">-1000<', 'band_id="4">-1500<'), r"-1500 \(B05\), but"),
        ((r'band_id="12">-1000<', 'band_id="12">0<'), r"0 \(B12\), but"),
        ((r'<BOA_ADD_OFFSET band_id="3">[^<]*</BOA_ADD_OFFSET>', ""), "and none for B04, but"),
    ],
)
def test_offsets_that_no_product_has(safe, change, said):
    edit(safe, change)
    with pytest.raises(SceneError, match=f"its metadata gives offsets of .*{said}"):
        open_scene(safe, needed=["B05", "B11"])


def test_the_offset_of_a_band_that_is_not_read_may_be_missing(safe):
    edit(safe, (r'<BOA_ADD_OFFSET band_id="10">[^<]*</BOA_ADD_OFFSET>', ""))
    assert open_scene(safe, needed=["B05"]).decisions == {"OFFSET_REMOVED": "1000 (said by the product)"}


def test_dark_pixels_that_contradict_the_offset_of_a_product(safe):
    edit(safe, (">-1000</BOA_ADD_OFFSET>", ">0</BOA_ADD_OFFSET>"))
    scene = open_scene(safe, needed=S2_BANDS)
    assert scene.decisions == {"OFFSET_REMOVED": "0 (said by the product)"}
    (remark,) = scene.remarks
    assert "says that there is no offset, but the darkest pixels" in remark


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0"])
def test_a_quantification_that_is_no_number_of_dn(safe, value):
    edit(safe, (">10000<", f">{value}<"))
    refused(safe, "is damaged", ["B05"])


LIST = r"<BOA_ADD_OFFSET_VALUES_LIST>.*</BOA_ADD_OFFSET_VALUES_LIST>"


@pytest.mark.parametrize(
    ("changes", "offset"),
    [
        ([(LIST, "")], 1000),
        ([(LIST, ""), (">05.11<", ">04.00<")], 1000),
        ([(LIST, ""), (">05.11<", ">03.01<")], 0),
        ([(LIST, ""), (">05.11<", ">99.99<")], 0),
        ([(">05.11<", ">99.99<")], 1000),
    ],
)
def test_the_baseline_says_whether_there_is_an_offset(safe, changes, offset):
    edit(safe, *changes)
    arrays, _ = whole(open_scene(safe, needed=["B8A"]))
    dn = stored(safe, "B8A")
    assert np.array_equal(arrays["B8A"], np.where(dn == 0, 0, np.maximum(dn - offset, 1)))


def test_another_quantification_is_brought_to_reben_s(safe):
    edit(safe, (">10000<", ">20000<"))
    arrays, _ = whole(open_scene(safe, needed=["B09"]))
    dn = stored(safe, "B09")
    assert np.array_equal(arrays["B09"], np.where(dn == 0, 0, np.maximum(np.rint((dn - 1000) / 2), 1)))


def reflectance(truth):
    return truth["B02"].astype(float) / 10_000, truth["B02"] == 0


def test_scale_and_offset_tags_are_honoured(tmp_path, truth):
    rho, empty = reflectance(truth)
    images = np.stack([np.where(empty, 0, np.rint(rho * 10_000) + 1000)] * 2).astype(np.uint16)
    path = write(tmp_path / "x.tif", images, names=["B02", "B03"], nodata=0)
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (1e-4, 1e-4), (-0.1, -0.1)
    arrays, valid = whole(open_scene(path, needed=["B02"]))
    assert np.array_equal(arrays["B02"], truth["B02"])
    assert np.array_equal(valid, ~empty)


def test_tagged_float_with_nan_and_declared_nodata(tmp_path, truth):
    rho, empty = reflectance(truth)
    percent = np.where(empty, np.nan, rho * 100).astype(np.float32)
    percent[0, :7] = -9999
    path = write(tmp_path / "x.tif", percent, names=["B02"], nodata=-9999)
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (0.01,), (0.0,)
    arrays, valid = whole(open_scene(path, needed=["B02"]))
    expected = truth["B02"].copy()
    expected[0, :7] = 0
    assert np.array_equal(arrays["B02"], expected)
    assert np.array_equal(valid, expected != 0)


def test_signed_integers_clip_to_data_and_nodata_is_kept(tmp_path):
    image = np.full((60, 60), -5, np.int16)
    image[0], image[1] = -32768, 400
    path = write(tmp_path / "x.tif", image, names=["B04"], nodata=-32768)
    scene = open_scene(path, needed=["B04"])
    with scene.open() as reader:
        array = reader.read(Window(0, 0, 60, 60), ["B04"])["B04"]
        assert np.array_equal(reader.valid(Window(0, 0, 60, 60)), image != -32768)
    assert (array[0] == 0).all()
    assert (array[1] == 400).all()
    assert (array[2:] == 1).all()


def test_float_dn_are_dn(tmp_path, truth):
    path = write(tmp_path / "x.tif", truth["B02"].astype(np.float32), names=["B02"])
    assert np.array_equal(whole(open_scene(path, needed=["B02"]))[0]["B02"], truth["B02"])


def test_untagged_reflectance_is_refused(tmp_path, truth):
    path = write(tmp_path / "x.tif", reflectance(truth)[0].astype(np.float32), names=["B02"])
    refused(path, r"holds reflectance from 0 to 1.*\(\* 10000 \(read 1\)\)", ["B02"])


def test_a_pixel_is_valid_where_all_bands_have_data(tmp_path):
    images = np.zeros((2, 60, 60), np.uint16)
    images[0, :20], images[1, 10:30] = 7, 9
    path = write(tmp_path / "x.tif", images, names=["B02", "B03"])
    scene = open_scene(path, needed=["B02", "B03"])
    with scene.open() as reader:
        assert np.array_equal(reader.valid(Window(0, 0, 60, 60)), (images != 0).all(0))


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(made):
    scene = open_scene(made.product, s1=made.s1, needed=list(BANDS))
    return scene, *whole(scene)


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_windows_equal_the_whole(both, data):
    scene, arrays, valid = both
    left = 6 * data.draw(st.integers(0, SIZE // 6 - 1))
    top = 6 * data.draw(st.integers(0, SIZE // 6 - 1))
    window = Window(left, top, data.draw(st.integers(1, SIZE - left)), data.draw(st.integers(1, SIZE - top)))
    bands = data.draw(st.lists(st.sampled_from(scene.bands), min_size=1, unique=True))
    with scene.open() as reader:
        if data.draw(st.booleans()):
            mask, part = reader.valid(window), reader.read(window, bands)
        else:
            part, mask = reader.read(window, bands), reader.valid(window)
    rows, columns = slice(top, top + window.height), slice(left, left + window.width)
    assert np.array_equal(mask, valid[rows, columns])
    for band in bands:
        factor = scene.factors[band]
        height, width = -(-window.height // factor), -(-window.width // factor)
        assert part[band].shape == (height, width) == window.shape(factor)
        expected = arrays[band][top // factor :, left // factor :][:height, :width]
        # Places of Sentinel-1 are exact to a thousandth of a pixel.
        assert np.allclose(part[band], expected, atol=0.05 if band in S1_BANDS else 0, rtol=0, equal_nan=True)


def test_what_was_read_may_be_changed(both):
    scene, _, valid = both
    with scene.open() as reader:
        for array in reader.read(ALL, scene.bands).values():
            array[:] = 0
        assert np.array_equal(reader.valid(ALL), valid)
        again = reader.read(ALL, scene.bands)
    assert all(array.any() for array in again.values())


def test_every_thread_may_have_a_reader(both):
    scene, arrays, _ = both

    def read(top):
        with scene.open() as reader:
            return reader.read(Window(0, top, SIZE, 60), ["B02", "VV"])

    with ThreadPoolExecutor(4) as pool:
        for top, part in zip(range(0, SIZE, 60), pool.map(read, range(0, SIZE, 60)), strict=True):
            assert np.array_equal(part["B02"], arrays["B02"][top : top + 60])


@pytest.mark.parametrize("window", [(3, 0, 60, 60), (0, 6, SIZE, SIZE), (-6, 0, 60, 60), (0, 0, 0, 60)])
def test_windows_outside_or_between_pixels_are_an_error(both, window):
    with both[0].open() as reader, pytest.raises(ValueError, match="multiple of 6"):
        reader.read(Window(*window), ["B02"])


def test_the_block_cache_holds_two_rows_of_blocks_and_stays_bounded(both):
    scene = both[0]
    with scene.open():
        assert get_gdal_config("GDAL_CACHEMAX") == cache_bytes(scene)
    tile = {}
    for band, layer in scene.layers.items():
        size = 10_980 // scene.factors[band]
        tile[band] = replace(layer, header=replace(layer.header, width=size, height=size, block=(1024, 1024)))
    ten_metre_bands = 4 * 2 * 11 * 1024 * 1024 * 2
    assert ten_metre_bands < cache_bytes(replace(scene, layers=tile)) < 800e6


def test_sizes_that_are_no_multiple_of_the_largest_factor(tmp_path):
    arrays = {"B02": np.full((100, 70), 300, np.uint16), "B01": np.full((17, 12), 200, np.uint16)}
    (tmp_path / "x").mkdir()
    write(tmp_path / "x" / "B02.tif", arrays["B02"])
    write(tmp_path / "x" / "B01.tif", arrays["B01"], 60)
    scene = open_scene(tmp_path / "x", needed=["B01", "B02"])
    assert (scene.grid.width, scene.grid.height) == (70, 100)
    with scene.open() as reader:
        window = Window(0, 0, 70, 100)
        assert reader.read(window, ["B01"])["B01"].shape == (17, 12)
        assert reader.valid(window).shape == (100, 70)


# --- Sentinel-1 -------------------------------------------------------------------------------------------------------


def reprojected(path, index, grid):
    out = np.full((grid.height, grid.width), np.nan, np.float32)
    with rasterio.open(path) as raster:
        reproject(
            rasterio.band(raster, index), out, dst_transform=Affine(*grid.transform), dst_crs=f"EPSG:{grid.epsg}",
            src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.bilinear, tolerance=0,
            XSCALE=1, YSCALE=1,
        )  # fmt: skip
    return out


def test_sentinel_1_is_warped_as_gdal_does(made, both):
    scene, arrays, valid = both
    assert scene.warped == {"VV", "VH"}
    expected = [reprojected(made.s1, index, scene.grid) for index in (1, 2)]
    for band, image in zip(S1_BANDS, expected, strict=True):
        assert arrays[band].dtype == np.float32
        assert np.array_equal(np.isnan(arrays[band]), np.isnan(image))
        assert np.allclose(arrays[band], image, atol=0.05, rtol=0, equal_nan=True)
        assert np.nanstd(image) > 1
    s2 = whole(open_scene(made.product, needed=S2_BANDS))[1]
    assert np.array_equal(valid, s2 & np.isfinite(expected[0]) & np.isfinite(expected[1]))


def s1_images(size=40, seed=0):
    return np.random.default_rng(seed).normal(-12, 3, (2, size, size)).astype(np.float32)


@pytest.fixture
def optical(tmp_path):
    return write(tmp_path / "optical.tif", np.full((60, 60), 500, np.uint16), names=["B02"])


def test_forms_of_sentinel_1(tmp_path, optical):
    images = s1_images(60)
    forms = [write(tmp_path / "pair.tif", images)]
    forms.append(write(tmp_path / "named.tif", images[::-1], names=["Sigma0_VH_db", "Sigma0_VV_db"]))
    single = [write(tmp_path / f"s1_{band}.tif", image) for band, image in zip(S1_BANDS, images, strict=True)]
    forms.append(single[::-1])
    (tmp_path / "s1").mkdir()
    for path in single:
        shutil.copy(path, tmp_path / "s1")
    forms.append(tmp_path / "s1")
    window = Window(0, 0, 60, 60)
    for form in forms:
        with open_scene(optical, needed=["VH", "B02", "VV"], s1=form).open() as reader:
            arrays = reader.read(window, S1_BANDS)
        for band, image in zip(S1_BANDS, images, strict=True):
            assert np.allclose(arrays[band], image, atol=1e-4), form
    for form in (forms[0], forms[1], forms[3]):
        scene = open_scene(form, needed=S1_BANDS)
        with scene.open() as reader:
            assert np.array_equal(reader.read(window, ["VV"])["VV"], images[0])
            assert reader.valid(window).all()


def test_sentinel_1_that_covers_a_part(tmp_path, optical):
    images = s1_images(30)
    images[:, 5, 5], images[0, 8, 8] = np.nan, np.nan
    path = write(tmp_path / "s1.tif", images)
    scene = open_scene(optical, needed=["VV", "VH", "B02"], s1=path)
    with scene.open() as reader:
        window = Window(0, 0, 60, 60)
        arrays, valid = reader.read(window, scene.bands), reader.valid(window)
    expected = np.zeros((60, 60), bool)
    expected[:30, :30] = np.isfinite(images).all(0)
    assert np.array_equal(valid, expected)
    assert np.isnan(arrays["VV"][40:]).all()
    assert (arrays["B02"] == 500).all()


@pytest.mark.parametrize(("fill", "nodata"), [(0.0, None), (-9999.0, -9999.0), (-np.inf, None)])
def test_sentinel_1_without_data(tmp_path, fill, nodata):
    images = s1_images(60)
    images[:, :, :10] = fill
    path = write(tmp_path / "s1.tif", images, nodata=nodata)
    scene = open_scene(path, needed=S1_BANDS)
    window = Window(0, 0, 60, 60)
    with scene.open() as reader:
        expected = np.ones((60, 60), bool)
        expected[:, :10] = False
        assert np.array_equal(reader.valid(window), expected)
        assert np.isnan(reader.read(window, ["VH"])["VH"][:, :10]).all()


def interpolated(image, source, source_crs, grid):
    """Bilinear values of an image at the pixel centres of a grid, by SciPy."""
    rows, columns = np.mgrid[: grid.height, : grid.width].reshape(2, -1)
    east, north = rasterio.transform.xy(Affine(*grid.transform), rows, columns)
    xs, ys = rasterio.warp.transform(f"EPSG:{grid.epsg}", source_crs, east, north)
    columns = (np.asarray(xs) - source.c) / source.a
    rows = (np.asarray(ys) - source.f) / source.e
    return map_coordinates(image, [rows - 0.5, columns - 0.5], order=1).reshape(grid.height, grid.width)


@pytest.mark.parametrize("coarse", [1, 4])
def test_sentinel_1_in_degrees_is_interpolated(tmp_path, optical, coarse):
    grid = GeoRef(32633, *CORNER, width=60, height=60)
    west, south, east, north = rasterio.warp.transform_bounds(CRS, "EPSG:4326", *grid.bounds)
    width, height = 200 // coarse, 280 // coarse
    transform = rasterio.transform.from_bounds(west - 0.01, south - 0.01, east + 0.01, north + 0.01, width, height)
    images = s1_images(height)[..., :width]
    path = write(tmp_path / "s1.tif", images, crs="EPSG:4326", transform=transform)
    scene = open_scene(optical, needed=["VV", "VH", "B02"], s1=path)
    with scene.open() as reader:
        arrays = reader.read(Window(0, 0, 60, 60), S1_BANDS)
        assert reader.valid(Window(0, 0, 60, 60)).all()
    for band, image in zip(S1_BANDS, images, strict=True):
        assert np.allclose(arrays[band], interpolated(image, transform, "EPSG:4326", grid), atol=0.05)
    refused(path, "not in metres", S1_BANDS)


def test_finer_sentinel_1_is_averaged(tmp_path, optical):
    images = s1_images(300)
    path = write(tmp_path / "s1.tif", images, 2)
    with open_scene(optical, needed=["VV", "VH", "B02"], s1=path).open() as reader:
        vv = reader.read(Window(0, 0, 60, 60), ["VV"])["VV"]
    # A bilinear kernel of the scene's pixels over 25 independent ones each: far less than the 3 dB of one.
    assert np.std(vv) < 1.2
    assert np.isclose(vv.mean(), images[0].mean(), atol=0.1)


def test_bad_sentinel_1(tmp_path, optical):
    needed = ["VV", "VH", "B02"]
    db = s1_images(60)
    path = tmp_path / "s1.tif"
    refused(optical, "has no VV", needed)
    refused(optical, "does not exist", needed, s1=path)
    refused(optical, "linear power", needed, s1=write(path, 10 ** (db / 10)))
    refused(optical, "does not overlap", needed, s1=write(path, db, corner=(400_000, 5_400_000)))
    refused(optical, "has no CRS", needed, s1=write(path, db, crs=None))
    refused(optical, "no data", needed, s1=write(path, db * np.nan))
    refused(optical, "no names", needed, s1=write(path, np.concatenate([db, db])))
    refused(optical, "2 bands named VV", needed, s1=write(path, db, names=["VV", "VV"]))
    refused(optical, "name the Sentinel-1 raster itself", S1_BANDS, s1=write(path, db))
    single = write(tmp_path / "x_VV.tif", db[0])
    refused(optical, "no Sentinel-1 raster for VH", needed, s1=[single, single])
    refused(write(path, db, 20), "coarser than the 10 m", S1_BANDS)


def test_a_product_has_no_sentinel_1(made):
    refused(made.product, "--s1", ["VV", "B02"])


# --- band names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("B02", "B02"), ("T33UUP_20170613T101111_B8A_20m", "B8A"), ("B4, central wavelength 665 nm", "B04"),
        ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57_B12", "B12"), ("b09", "B09"), ("Sigma0_VV_db", "VV"),
        ("S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57_VH", "VH"), ("B10", None), ("SCL", None), ("B13", None),
        ("AB02", None), ("B022", None), ("", None), ("B01_then_B02", None),
        ("x_B02_quality", None), ("x_B02_10m_mask", None), ("B8A std", None), ("B04_conf", None), ("VV_VH_ratio", None),
        ("diff_B04_minus_B02", None), ("B8_minus_B8A", None), ("VV_prob", None), ("B02/B02_10m", "B02"),
        ("plot b1_B02", "B02"), ("plot_B1_B02", "B02"), ("masked_B02_stdout", "B02"), ("mask_B02", None),
        ("cloudmask_B02", None), ("diff B02", None), ("mask_applied_B02", "B02"), ("best_quality_B02", "B02"),
        ("S2_QA_B02", "B02"), ("B02_cloudmask", None),
    ],
)  # fmt: skip
def test_bands_are_found_in_names(text, band):
    assert band_in(text) == band


def test_products_are_found_in_names():
    name = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    assert product_in("x", f"{name}_26_57_B02") == name
    assert product_in(f"{name}_20170613T235959.SAFE") == name
    assert product_in("S2A_MSIL1C_20170613T101031_N9999_R022_T33UUP", "") is None


def test_stacks_take_names_from_the_list(tmp_path):
    images = np.arange(1, 5, dtype=np.uint16)[:, None, None] * np.full((60, 60), 100, np.uint16)
    path = write(tmp_path / "x.tif", images, names=["B02", "B03", "B04", "B08"])
    scene = open_scene(path, bands=["B08", "-", "B03", "B02"], needed=["B02", "B08"])
    with scene.open() as reader:
        arrays = reader.read(Window(0, 0, 60, 60), ["B02", "B08"])
    assert (arrays["B02"] == 400).all()
    assert (arrays["B08"] == 100).all()
    refused(path, "4 bands, but 1 were named", ["B02"], bands=["B02"])
    refused(path, "'B99' is no band", ["B02"], bands=["B99", "-", "-", "B02"])
    refused(path, "has no B04", ["B04"], bands=["B08", "-", "B03", "B02"])
    refused(path, "2 bands named B02", ["B02"], bands=["B02", "-", "-", "B02"])
    refused(write(path, images), "--bands", ["B02"])


# --- bad products and folders -----------------------------------------------------------------------------------------


def test_a_band_is_missing_or_there_twice(safe):
    (path,) = safe.rglob("*_B07_20m.jp2")
    shutil.copy(path, path.with_name("X_B07_20m.jp2"))
    refused(safe, "2 files for B07")
    path.with_name("X_B07_20m.jp2").unlink()
    # Other resolutions of a band are no second file of it, nor do they stand in for it.
    (coarse,) = safe.rglob("*_B01_60m.jp2")
    shutil.copy(coarse, coarse.with_name("X_B07_60m.jp2"))
    open_scene(safe, needed=["B07"])
    path.unlink()
    refused(safe, "no B07 in IMG_DATA/R20m")
    open_scene(safe, needed=["B02"])


@pytest.mark.parametrize("level", ["Level-1C", "Level-3A", "odd"])
def test_other_levels_are_refused(safe, level):
    edit(safe, (">Level-2A<", f">{level}<"))
    refused(safe, "give the Level-2A product")


def test_level_1c_is_told_by_its_metadata_or_name(safe, tmp_path, truth):
    (safe / "MTD_MSIL2A.xml").rename(safe / "MTD_MSIL1C.xml")
    refused(safe, "Level-1C")
    path = write(tmp_path / "S2A_MSIL1C_20170613T101031.tif", truth["B02"], names=["B02"])
    refused(path, "Level-1C", ["B02"])
    refused(bands_folder(tmp_path / "x", {"B02": truth["B02"]}, "S2A_MSIL1C_{}.tif"), "Level-1C", ["B02"])


def test_metadata_that_are_missing_or_damaged(safe):
    path = safe / "MTD_MSIL2A.xml"
    text = path.read_text()
    for bad in (text[:500], re.sub("BOA_QUANTIFICATION_VALUE", "OTHER", text), text.replace(">05.11<", "><")):
        path.write_text(bad)
        refused(safe, "damaged")
    path.unlink()
    refused(safe, "holds no MTD_MSIL2A.xml")


def test_files_that_are_cut_off_or_damaged(safe):
    (path,) = safe.rglob("*_B02_10m.jp2")
    content = path.read_bytes()
    for bad in (content[: len(content) // 2], content[:-1], b"", b"no image", content[:20]):
        path.write_bytes(bad)
        refused(safe, "B02_10m.jp2 is damaged|B02_10m.jp2 cannot be read")
    tile = content.index(b"\xff\x90")
    path.write_bytes(content[:tile] + bytes(12) + content[tile + 12 :])
    refused(safe, "B02_10m.jp2 is damaged")


def test_damage_that_shows_only_when_read(tmp_path, safe):
    image = np.random.default_rng(0).integers(1, 9999, (1024, 256)).astype(np.uint16)
    path = write(tmp_path / "x.tif", image, names=["B02"], compress="deflate", tiled=True, blockysize=256)
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_0_3", "TIFF", bidx=1))
    content[offset : offset + 1000] = bytes(1000)
    # Of a large file not all is looked at; here it is damaged after that.
    scene = open_scene(path, needed=["B02"])
    path.write_bytes(content)
    with scene.open() as reader, pytest.raises(SceneError, match=r"x.tif cannot be read"):
        reader.read(Window(0, 0, 256, 1024), ["B02"])


def test_damaged_zips(made, tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in made.product.rglob("*"):
            archive.write(file, file.relative_to(made.product.parent))
    whole_zip = path.read_bytes()
    open_scene(path, needed=["B02"])
    for bad in (whole_zip[: len(whole_zip) // 2], b"", b"no zip"):
        path.write_bytes(bad)
        refused(path, "no zip: get it anew")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "x")
    refused(path, "no complete Sentinel-2 L2A product")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.SAFE", "b.SAFE"):
            archive.writestr(f"{name}/MTD_MSIL2A.xml", "x")
    refused(path, "several products")


def test_a_part_of_a_product_is_refused(made):
    refused(next(made.product.rglob("R10m")), "part of a Sentinel-2 product")


def test_folders(folder, truth, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no files of single bands")
    refused(tmp_path / "nowhere", "does not exist")
    shutil.copy(folder / "scene_B03.tif", folder / "other_B03.tif")
    refused(folder, "2 files for B03")
    (folder / "other_B03.tif").unlink()
    (folder / "scene_B12.tif").unlink()
    refused(folder, "no file for B12")
    write(folder / "scene_B12.tif", np.stack([truth["B12"]] * 2), 20)
    refused(folder, "holds 2 bands, but its name says B12")
    (folder / "scene_B12.tif").write_bytes(b"II*\0")
    refused(folder, "scene_B12.tif cannot be read")


def test_of_several_resolutions_a_band_s_own_is_taken(tmp_path, truth):
    path = bands_folder(tmp_path / "x", {"B05": truth["B05"]}, "t_{}_20m.tif")
    write(path / "t_B05_60m.tif", truth["B05"][::3, ::3], 60)
    assert np.array_equal(whole(open_scene(path, needed=["B05"]))[0]["B05"], truth["B05"])


def test_grids_that_do_not_align(tmp_path, truth):
    def folder_of(number, **options):
        path = tmp_path / str(number)
        path.mkdir()
        write(path / "B02.tif", truth["B02"])
        write(path / "B05.tif", options.pop("image", truth["B05"]), options.pop("metres", 20), **options)
        return path

    needed = ["B02", "B05"]
    open_scene(folder_of(0), needed=needed)
    refused(folder_of(1, corner=(300_010, 5_400_000)), "its corner is 300010 5400000, not 300000 5400000", needed)
    refused(folder_of(2, corner=(300_000, 5_399_980)), "does not lie on the grid", needed)
    refused(folder_of(3, image=truth["B05"][:-1]), "150 x 149 pixels, not 150 x 150", needed)
    refused(folder_of(4, crs="EPSG:32634"), "EPSG:32634 is not EPSG:32633", needed)
    refused(folder_of(5, metres=30, image=truth["B05"][:100, :100]), "pixels of 30 m", needed)
    refused(folder_of(6, metres=60, image=truth["B01"]), "coarser than the 20 m", needed)


def test_bands_of_one_file_are_warped_to_the_finest(tmp_path, truth):
    """All of them become alike."""
    image = np.stack([truth["B02"][:60, :60], truth["B02"][:60, :60]])
    path = write(tmp_path / "x.tif", image, 3, names=["B01", "B02"])
    refused(path, "pixels of 3 m; the bands of a scene have 10, 20 or 60 m: .*--res 10 ", ["B01", "B02"])
    path = write(tmp_path / "x.tif", image, 20, names=["B01", "B02"])
    refused(path, "holds B02 with pixels of 20 m, coarser than the 10 m", ["B01", "B02"])
    path = write(tmp_path / "B01.tif", truth["B02"][:60, :60], 3)
    refused(path, "pixels of 3 m; the bands of a scene have 10, 20 or 60 m: .*--res 60 ", ["B01"])


def test_georeferences_that_do_not_serve(tmp_path):
    image = np.full((60, 60), 500, np.uint16)
    path = tmp_path / "x.tif"

    def bad(match, **options):
        refused(write(path, image, names=["B02"], **options), match, ["B02"])

    bad("has no CRS", crs=None)
    bad("not in metres", crs="EPSG:4326", transform=Affine(1e-4, 0, 12, 0, -1e-4, 48))
    bad("north-up", transform=Affine(9.8, 1.7, 3e5, 1.7, -9.8, 5.4e6))
    bad("north-up", transform=Affine(10, 0, 3e5, 0, 10, 5.4e6))
    bad("north-up", transform=Affine(10, 0, 3e5, 0, -20, 5.4e6))
    bad("pixels of 15 m", metres=15)
    bad("coarser than the 10 m", metres=20)
    bad("no EPSG code", crs="+proj=tmerc +lat_0=1 +lon_0=2 +k=0.99 +x_0=3 +y_0=4 +ellps=WGS84 +units=m")


def test_all_nodata(tmp_path, folder, truth):
    refused(write(tmp_path / "x.tif", np.zeros((60, 60), np.uint16), names=["B02"]), "no data", ["B02"])
    refused(write(tmp_path / "x.tif", np.full((60, 60), 9, np.uint16), names=["B02"], nodata=9), "no data", ["B02"])
    for band in S2_BANDS:
        write(folder / f"scene_{band}.tif", truth[band] * 0, BANDS[band].pixel_size)
    refused(folder, "every pixel is nodata")
    image = truth["B02"] * 0
    image[-1, -1] = 1
    write(folder / "scene_B02.tif", image)
    refused(folder, "holds no data in B01, B03, B04", S2_BANDS)
    assert whole(open_scene(folder, needed=["B02"]))[1].sum() == 1


# --- what a first user stumbled over ----------------------------------------------------------------------------------


def test_the_metadata_file_stands_for_its_product(made):
    by_file = open_scene(made.product / "MTD_MSIL2A.xml", needed=["B02", "B05"])
    assert by_file == open_scene(made.product, needed=["B02", "B05"])


def test_a_container_without_rasters_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["when"] = [1.0, 2.0]
    with pytest.raises(SceneError, match="holds no raster; give the file"):
        read_header(str(tmp_path / "a.h5"))


def test_a_raster_of_rasters_is_refused(made):
    with pytest.raises(SceneError, match="holds no bands itself"):
        read_header(str(made.product / "MTD_MSIL2A.xml"))


def test_bytes_in_a_zip_that_changed_are_found(safe, tmp_path):
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(safe.rglob("*")):
            archive.write(file, file.relative_to(safe.parent))
        place = archive.getinfo(next(name for name in archive.namelist() if "_B04_10m" in name))
    assert open_scene(path, needed=["B04"]).bands == ("B04",)
    content = bytearray(path.read_bytes())
    middle = place.header_offset + place.file_size // 2
    content[middle : middle + 50] = bytes(50)
    path.write_bytes(content)
    refused(path, "_B04_10m.jp2 is damaged, its checksum is wrong", ["B04"])
    assert open_scene(path, needed=["B03"]).bands == ("B03",)


def test_values_that_still_have_the_offset_need_a_decision(made, folder, truth, tmp_path):
    (tmp_path / "raised").mkdir()
    raised = {band: np.where(array, array + 1000, 0) for band, array in truth.items() if band in S2_BANDS}
    with_offset = bands_folder(tmp_path / "raised", raised)
    refused(with_offset, "as if it still had the offset of 1000.*--offset 1000 .*--offset 0 if it is off already")
    taken_off = open_scene(with_offset, needed=S2_BANDS, offset=1000)
    assert taken_off.remarks == ()
    assert taken_off.decisions == {"OFFSET_REMOVED": "1000 (asked for)"}
    for band, array in whole(taken_off)[0].items():
        np.testing.assert_array_equal(array, truth[band])
    left = open_scene(with_offset, needed=S2_BANDS, offset=0)
    assert left.decisions == {"OFFSET_REMOVED": "0 (asked for)"}
    np.testing.assert_array_equal(whole(left)[0]["B02"], raised["B02"])
    assert left.identity != taken_off.identity
    assert open_scene(folder, needed=S2_BANDS).remarks == ()
    assert open_scene(made.product, needed=S2_BANDS).remarks == ()


def test_options_that_have_no_effect_are_refused(made, folder):
    refused(made.product, "leave it out", ["B02"], bands=["B02"])
    refused(folder, "leave it out", ["B02"], bands=["B02"])
    refused(made.product, "sees no Sentinel-1; leave out --s1", ["B02"], s1=made.s1)


def test_pictures_are_no_scenes(tmp_path):
    refused(write(tmp_path / "x.tif", np.full((60, 60), 90, np.uint8), names=["B02"]), "8-bit values", ["B02"])


def test_polarisations_are_told_by_descriptions_too(made, tmp_path):
    with rasterio.open(made.s1) as dataset:
        profile, values = dataset.profile, dataset.read()
    files = []
    for number, name in enumerate(("VV", "VH")):
        files.append(tmp_path / f"{number}.tif")
        with rasterio.open(files[-1], "w", **{**profile, "count": 1}) as dataset:
            dataset.write(values[number], 1)
            dataset.set_band_description(1, name)
    one, two = (open_scene(made.product, s1=s1, needed=["VV", "VH", "B02"]) for s1 in (made.s1, files))
    for a, b in zip(whole(one), whole(two), strict=True):
        assert all(np.array_equal(a[k], b[k], equal_nan=True) for k in a) if isinstance(a, dict) else (a == b).all()


# --- cells ------------------------------------------------------------------------------------------------------------


def part_of(made, folder, left, top, width, height, name):
    """A stack of a part of the scene that keeps the name of its product."""
    with rasterio.open(made.stack) as dataset:
        window = rasterio.windows.Window(left, top, width, height)
        profile = {**dataset.profile, "width": width, "height": height, "transform": dataset.window_transform(window)}
        path = folder / f"{name}.tif"
        with rasterio.open(path, "w", **profile) as part:
            part.write(dataset.read(window=window))
            part.descriptions = dataset.descriptions
    return path


@pytest.mark.parametrize(("left", "top"), [(0, 0), (120, 0), (30, 40), (60, 100)])
def test_cells_of_a_part_of_a_tile_are_those_of_the_tile(made, tmp_path, left, top):
    product = made.product.name.removesuffix(".SAFE")
    path = part_of(made, tmp_path, left, top, 200, 180, product)
    scene = open_scene(path, needed=["B02"])
    grid = cell_grid(scene)
    seen = set()
    for row in range(grid.rows):
        for column in range(grid.columns):
            patch = PatchId.parse(grid.patch_id(column, row))
            x = scene.grid.x_min + 10 * (grid.left + 120 * column)
            y = scene.grid.y_max - 10 * (grid.top + 120 * row)
            assert (patch.georef.x_min, patch.georef.y_max) == (x, y)
            assert grid.left + 120 * (column + 1) <= 200
            assert grid.top + 120 * (row + 1) <= 180
            seen.add((patch.column, patch.row))
    expected = {
        (c, r) for c in range(5) for r in range(5) if left <= 120 * c <= left + 80 and top <= 120 * r <= top + 60
    }
    assert seen == expected


def test_cells_of_an_unknown_tile_stand_on_the_corner(made, tmp_path):
    scene = open_scene(part_of(made, tmp_path, 30, 40, 260, 130, "anything"), needed=["B02"])
    grid = cell_grid(scene)
    assert (grid.left, grid.top, grid.columns, grid.rows) == (0, 0, 2, 1)
    assert grid.patch_id(1, 0) is None


def test_a_reben_patch_is_one_cell_with_its_own_id(real):
    for path in sorted((real / "reben-full-4" / "BigEarthNet-S2").glob("*/*")):
        grid = cell_grid(open_scene(path, needed=["B02", "B09"]))
        assert (grid.columns, grid.rows, grid.patch_id(0, 0)) == (1, 1, path.name)
