"""Class maps and probabilities as GeoTIFF, against rasterio and the real patches; mosaics against their pixels."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rasterio.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from seg.maps.geotiff import (
    write_category_names,
    write_class_map,
    write_probabilities,
    write_reference,
    write_values,
)
from seg.maps.mosaic import assemble
from seg.reben.classes import CLASS_NAMES, CLASSES, IGNORE_INDEX, SHARE_SCALE
from seg.reben.patch import GeoRef, PatchId
from seg.reben.reference_map import class_indices
from seg.styles.palette import AGREEMENT, LAND_COVER

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
PATCH = PatchId.parse("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57")
VALUES = (*range(19), IGNORE_INDEX)


def class_map(georef: GeoRef, seed: int = 0) -> np.ndarray:
    """Every valid value, in random places."""
    values = np.resize(np.array(VALUES, dtype=np.uint8), georef.height * georef.width)
    return np.random.default_rng(seed).permutation(values).reshape(georef.height, georef.width)


def probabilities(georef: GeoRef, dtype: type = np.float32) -> np.ndarray:
    raw = np.random.default_rng(1).exponential(size=(19, georef.height, georef.width)) ** 3
    return (raw / raw.sum(axis=0)).astype(dtype)


def read_class_map(path: Path) -> tuple[np.ndarray, GeoRef]:
    with rasterio.open(path) as dataset:
        pixel, _, x_min, _, _, y_max = dataset.transform[:6]
        georef = GeoRef(dataset.crs.to_epsg(), x_min, y_max, pixel, dataset.width, dataset.height)
        return dataset.read(1), georef


def listed(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_class_map_is_what_a_gis_expects(tmp_path):
    classes_HW = class_map(PATCH.georef)
    path = tmp_path / "map.tif"
    write_class_map(path, classes_HW, PATCH.georef, {"MODEL": "unet-resnet18", "SYNTHETIC": "YES"})

    with rasterio.open(path) as dataset:
        assert dataset.driver == "GTiff"
        assert dataset.dtypes == ("uint8",)
        assert dataset.nodata == 255
        assert dataset.compression.name == "deflate"
        assert dataset.crs == CRS.from_epsg(32633)
        assert dataset.transform == Affine(10, 0, 331200, 0, -10, 5331600)
        assert dataset.colorinterp[0].name == "palette"
        assert dataset.descriptions == ("land cover",)
        tags = dataset.tags()
        assert tags["MODEL"] == "unet-resnet18"
        assert tags["SYNTHETIC"] == "YES"
        names = dataset.tags(1)
        colors = dataset.colormap(1)
        np.testing.assert_array_equal(dataset.read(1), classes_HW)
        np.testing.assert_array_equal(dataset.read_masks(1) == 0, classes_HW == IGNORE_INDEX)
    assert [names[f"CLASS_{i}"] for i in range(19)] == list(CLASS_NAMES)
    assert len([key for key in names if key.startswith("CLASS_")]) == 19
    assert [colors[c.index] for c in CLASSES] == [(*c.color, 255) for c in CLASSES]
    assert colors[IGNORE_INDEX] == (0, 0, 0, 0)
    assert listed(tmp_path) == ["map.tif"]


def test_reference_map_says_so(tmp_path):
    classes_HW = class_map(PATCH.georef)
    write_reference(tmp_path / "reference.tif", classes_HW, PATCH.georef, {"SOURCE": "CLC 2018"})
    with rasterio.open(tmp_path / "reference.tif") as dataset:
        assert dataset.descriptions == ("reference land cover",)
        assert dataset.tags()["SOURCE"] == "CLC 2018"
        np.testing.assert_array_equal(dataset.read(1), classes_HW)


GEOREFS = st.builds(
    GeoRef,
    epsg=st.integers(32601, 32660) | st.integers(32701, 32760),
    x_min=st.integers(100_000, 899_940),
    y_max=st.integers(0, 9_300_000),
    pixel_size=st.sampled_from([10.0, 20.0, 60.0, 2.5]),
    width=st.integers(1, 150),
    height=st.integers(1, 150),
)


@settings(deadline=None, max_examples=25)
@given(georef=GEOREFS, seed=st.integers(0, 99))
def test_class_map_round_trip(tmp_path_factory, georef, seed):
    classes_HW = class_map(georef, seed)
    path = tmp_path_factory.mktemp("maps") / "map.tif"
    write_class_map(path, classes_HW, georef)
    read_HW, read_georef = read_class_map(path)
    np.testing.assert_array_equal(read_HW, classes_HW)
    assert read_HW.dtype == np.uint8
    assert read_georef == georef
    with rasterio.open(path) as dataset:
        assert tuple(dataset.bounds) == georef.bounds


def test_large_map_is_tiled_and_round_trips(tmp_path):
    georef = GeoRef(32633, 300_000, 5_400_000, width=1130, height=700)
    classes_HW = class_map(georef)
    write_class_map(tmp_path / "map.tif", classes_HW, georef)
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.is_tiled
        assert dataset.block_shapes == [(512, 512)]
    np.testing.assert_array_equal(read_class_map(tmp_path / "map.tif")[0], classes_HW)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not on this machine")
@pytest.mark.parametrize("sample", ["reben-10m-80", "reben-full-4"])
def test_georeference_equals_that_of_every_real_patch(tmp_path, sample):
    sources = sorted((REAL / sample / "Reference_Maps").glob("*/*/*_reference_map.tif"))
    assert len(sources) == int(sample.rsplit("-", 1)[1])
    for source in sources:
        patch = PatchId.parse(source.parent.name)
        with rasterio.open(source) as dataset:
            crs, transform, bounds = dataset.crs, dataset.transform, dataset.bounds
            reference_HW = class_indices(dataset.read(1), source.name)
        written = tmp_path / f"{patch}.tif"
        write_reference(written, reference_HW, patch.georef)
        with rasterio.open(written) as dataset:
            assert dataset.crs == crs
            assert dataset.transform == transform
            assert dataset.bounds == bounds
            np.testing.assert_array_equal(dataset.read(1), reference_HW)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_scaled_bands_named_by_class(tmp_path, dtype):
    georef = PATCH.georef
    probabilities_KHW = probabilities(georef, dtype)
    write_probabilities(tmp_path / "p.tif", probabilities_KHW, georef, {"MODEL": "m"})
    with rasterio.open(tmp_path / "p.tif") as dataset:
        assert dataset.count == 19
        assert set(dataset.dtypes) == {"uint8"}
        assert dataset.descriptions == CLASS_NAMES
        assert dataset.scales == pytest.approx([1 / 250] * 19)
        assert dataset.offsets == (0.0,) * 19
        assert set(dataset.nodatavals) == {255}
        assert dataset.compression.name == "deflate"
        assert (dataset.crs, dataset.transform) == (CRS.from_epsg(32633), Affine(*georef.transform))
        assert dataset.tags()["MODEL"] == "m"
        stored_KHW = dataset.read()
        seen_KHW = stored_KHW * dataset.scales[0] + dataset.offsets[0]
    np.testing.assert_array_equal(stored_KHW, np.rint(probabilities_KHW.astype(np.float64) * 250))
    assert np.abs(seen_KHW - probabilities_KHW).max() <= 0.5 / SHARE_SCALE + 1e-6
    assert listed(tmp_path) == ["p.tif"]


def test_probabilities_zero_and_one_are_kept_and_never_nodata(tmp_path):
    georef = GeoRef(32633, 300_000, 5_400_000, width=3, height=2)
    probabilities_KHW = np.zeros((19, 2, 3), dtype=np.float32)
    probabilities_KHW[4] = 1.00001  # a sum of blending weights that rounding left above 1
    probabilities_KHW[5] = -0.00001
    write_probabilities(tmp_path / "p.tif", probabilities_KHW, georef)
    with rasterio.open(tmp_path / "p.tif") as dataset:
        stored_KHW = dataset.read()
    assert (stored_KHW[4] == 250).all()
    assert (np.delete(stored_KHW, 4, axis=0) == 0).all()


@pytest.mark.parametrize("bad", [np.nan, -0.01, 1.01, np.inf])
def test_probabilities_out_of_range_are_refused(tmp_path, bad):
    probabilities_KHW = probabilities(PATCH.georef)
    probabilities_KHW[7, 11, 13] = bad
    with pytest.raises(ValueError, match="between 0 and 1"):
        write_probabilities(tmp_path / "p.tif", probabilities_KHW, PATCH.georef)
    assert listed(tmp_path) == []


@pytest.mark.parametrize(
    ("probabilities_KHW", "message"),
    [
        (np.zeros((18, 120, 120), np.float32), "shape"),
        (np.zeros((19, 120, 119), np.float32), "shape"),
        (np.zeros((19, 120, 120), np.uint8), "uint8"),
    ],
)
def test_probabilities_of_another_shape_or_dtype_are_refused(tmp_path, probabilities_KHW, message):
    with pytest.raises(ValueError, match=message):
        write_probabilities(tmp_path / "p.tif", probabilities_KHW, PATCH.georef)


@pytest.mark.parametrize(
    ("classes_HW", "message"),
    [
        (np.zeros((120, 120), np.int64), "int64"),
        (np.zeros((120, 121), np.uint8), "shape"),
        (np.zeros((1, 120, 120), np.uint8), "shape"),
        (np.full((120, 120), 19, np.uint8), "value 19"),
        (np.full((120, 120), 254, np.uint8), "value 254"),
    ],
)
def test_what_is_no_class_map_is_refused(tmp_path, classes_HW, message):
    with pytest.raises(ValueError, match=message):
        write_class_map(tmp_path / "map.tif", classes_HW, PATCH.georef)
    assert listed(tmp_path) == []


def test_gdal_reads_the_category_names(tmp_path):
    path = tmp_path / "map.tif"
    write_class_map(path, class_map(PATCH.georef), PATCH.georef)
    write_category_names(path)
    assert listed(tmp_path) == ["map.tif", "map.tif.aux.xml"]
    # rasterio has no call for category names, but GDAL copies those that it finds into a VRT.
    rasterio.shutil.copy(path, tmp_path / "map.vrt", driver="VRT")
    vrt = (tmp_path / "map.vrt").read_text()
    names = [line.strip() for line in vrt.splitlines() if "<Category>" in line]
    assert names == [f"<Category>{name}</Category>" for name in CLASS_NAMES]
    read_HW, georef = read_class_map(path)
    assert georef == PATCH.georef
    np.testing.assert_array_equal(read_HW, class_map(PATCH.georef))


@pytest.mark.parametrize("palette", [LAND_COVER, AGREEMENT])
def test_gdal_understands_the_attribute_table(tmp_path, palette):
    path = tmp_path / "map.tif"
    write_values(path, np.zeros((1, 120, 120), np.uint8), PATCH.georef, {}, ("values",), palette)
    write_category_names(path, palette)
    # It writes what it has understood beside a copy.
    rasterio.shutil.copy(path, tmp_path / "copy.png", driver="PNG")
    root = ElementTree.parse(tmp_path / "copy.png.aux.xml").getroot()
    table = root.find("PAMRasterBand/GDALRasterAttributeTable")
    usages = {int(column.findtext("Usage")): column.findtext("Name") for column in table.iter("FieldDefn")}
    assert usages == {5: "Value", 2: "Class", 6: "Red", 7: "Green", 8: "Blue", 9: "Alpha"}
    rows = [[cell.text for cell in row] for row in table.iter("Row")]
    assert rows == [[str(one.value), one.name, *map(str, one.color), "255"] for one in palette.entries]


def test_replacing_a_map_removes_the_sidecar_of_the_old_one(tmp_path):
    path = tmp_path / "map.tif"
    for seed in range(2):
        write_class_map(path, class_map(PATCH.georef, seed), PATCH.georef)
        assert listed(tmp_path) == ["map.tif"]
        write_category_names(path)
    np.testing.assert_array_equal(read_class_map(path)[0], class_map(PATCH.georef, 1))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from seg.maps.geotiff import write_class_map
from seg.reben.patch import GeoRef

georef = GeoRef(32633, 300_000, 5_400_000)
noise_HW = np.random.default_rng(0).integers(0, 19, (120, 120), dtype=np.uint8)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_class_map(Path(sys.argv[1]), noise_HW, georef)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_one_sentence_and_leaves_the_old_map(tmp_path):
    path = tmp_path / "map.tif"
    write_class_map(path, class_map(PATCH.georef), PATCH.georef)
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path} cannot be written (File too large); name a folder that exists and has space left\n"
    assert path.read_bytes() == before
    assert listed(tmp_path) == ["map.tif"]


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_is_none(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="name a folder that exists"):
        write_class_map(tmp_path / folder / "map.tif", class_map(PATCH.georef), PATCH.georef)


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_class_map(tmp_path / "map.tif", class_map(PATCH.georef), PATCH.georef)
    assert listed(tmp_path) == []


@settings(deadline=None, max_examples=25)
@given(
    cells=st.sets(st.tuples(st.integers(80, 84), st.integers(0, 3)), min_size=1, max_size=8), seed=st.integers(0, 99)
)
def test_mosaic_holds_every_patch_where_it_lies(cells, seed):
    patches = [PatchId.parse(f"{PATCH.product}_{column:02d}_{row:02d}") for column, row in sorted(cells)]
    maps = {patch: class_map(patch.georef, seed + i) for i, patch in enumerate(patches)}
    mosaic_HW, georef = assemble(maps)

    assert mosaic_HW.dtype == np.uint8
    assert mosaic_HW.shape == (georef.height, georef.width)
    bounds = np.array([patch.georef.bounds for patch in patches])
    assert georef.bounds == (*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0))
    assert (georef.epsg, georef.pixel_size) == (32633, 10.0)
    # By the coordinates of sampled pixel centres: the value of the patch that covers them, 255 where none does.
    rng = np.random.default_rng(seed)
    for row, column in zip(rng.integers(0, georef.height, 200), rng.integers(0, georef.width, 200), strict=True):
        x, y = rasterio.transform.xy(Affine(*georef.transform), row, column)
        expected = IGNORE_INDEX
        for patch, classes_HW in maps.items():
            west, south, east, north = patch.georef.bounds
            if west < x < east and south < y < north:
                expected = classes_HW[int((north - y) // 10), int((x - west) // 10)]
        assert mosaic_HW[row, column] == expected


def test_mosaic_of_nothing_and_of_two_products_is_refused():
    other = PatchId.parse("S2A_MSIL2A_20170613T101031_N9999_R022_T34VER_00_45")
    with pytest.raises(ValueError, match="no patch"):
        assemble({})
    with pytest.raises(ValueError, match="of 2"):
        assemble({PATCH: class_map(PATCH.georef), other: class_map(other.georef)})


@pytest.mark.parametrize("classes_HW", [np.zeros((120, 60), np.uint8), np.zeros((120, 120), np.int64)])
def test_mosaic_of_an_odd_map_is_refused(classes_HW):
    with pytest.raises(ValueError, match="120 x 120"):
        assemble({PATCH: classes_HW})
