"""Products as people have them: formats of all years, folders in folders, odd names, and what systems leave behind."""

import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from seg.errors import SceneError
from seg.rasters.header import in_zip, read_header, shown
from seg.rasters.listing import files_below, is_litter
from seg.reben.bands import S2_BANDS
from seg.scenes.classification import find_classification
from seg.scenes.grid import Window
from seg.scenes.open import open_scene
from seg.synthetic.scene import synthesise_scene

SIZE = 120
ALL = Window(0, 0, SIZE, SIZE)
SOME = ("B02", "B05", "B01")
APPLE = bytes.fromhex("00051607") + bytes(4092)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthesise_scene(tmp_path_factory.mktemp("scene") / "out", SIZE, seed=0)


@pytest.fixture
def safe(made, tmp_path):
    (tmp_path / "in").mkdir()
    return Path(shutil.copytree(made.product, tmp_path / "in" / made.product.name))


def values(path, needed=SOME, **more):
    scene = open_scene(path, needed=needed, **more)
    with scene.open() as reader:
        return reader.read(ALL, scene.bands), scene


@pytest.fixture(scope="module")
def expected(made):
    return values(made.product)[0]


def same(path, expected):
    arrays, scene = values(path)
    for band in SOME:
        assert np.array_equal(arrays[band], expected[band]), band
    return scene


def edit(safe, *changes):
    path = next(safe.glob("*.xml"))
    text = path.read_text()
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text)
        assert count, pattern
    path.write_text(text)


def without_offset(safe):
    """The same reflectance stored as before baseline 04.00."""
    for path in safe.rglob("*_B??_*.jp2"):
        with rasterio.open(path) as raster:
            stored = raster.read()
            profile = {
                key: raster.profile[key] for key in ("driver", "width", "height", "count", "dtype", "crs", "transform")
            }
        stored = np.where(stored > 0, np.maximum(stored.astype(int) - 1000, 1), 0).astype(np.uint16)
        path.unlink()
        with rasterio.open(path, "w", **{**profile, "QUALITY": "100", "REVERSIBLE": "YES"}) as raster:
            raster.write(stored)
    edit(safe, (r"(?s)<BOA_ADD_OFFSET_VALUES_LIST>.*</BOA_ADD_OFFSET_VALUES_LIST>\n", ""))


PILOT = (
    # Names of elements in metadata of the pilot production of 2017, format 14.2.
    ("Product_Info>", "L2A_Product_Info>"),
    ("Product_Organisation>", "L2A_Product_Organisation>"),
    ("Product_Image_Characteristics>", "L2A_Product_Image_Characteristics>"),
    ("<PRODUCT_URI>(.*)</PRODUCT_URI>", r"<PRODUCT_URI_1C>x.SAFE</PRODUCT_URI_1C><PRODUCT_URI_2A>\1</PRODUCT_URI_2A>"),
    ("<IMAGE_FILE>(.*)</IMAGE_FILE>", r"<IMAGE_FILE_2A>\1</IMAGE_FILE_2A>"),
    ("<PROCESSING_LEVEL>Level-2A<", "<PROCESSING_LEVEL>Level-2Ap<"),
    ("<PRODUCT_TYPE>S2MSI2A<", "<PRODUCT_TYPE>S2MSI2Ap<"),
    ("QUANTIFICATION_VALUES_LIST>", "L1C_L2A_Quantification_Values_List>"),
    (
        "<BOA_QUANTIFICATION_VALUE unit=\"none\">10000</BOA_QUANTIFICATION_VALUE>",
        '<L1C_TOA_QUANTIFICATION_VALUE unit="none">1000</L1C_TOA_QUANTIFICATION_VALUE>'
        '<L2A_BOA_QUANTIFICATION_VALUE unit="none">10000</L2A_BOA_QUANTIFICATION_VALUE>'
        '<L2A_AOT_QUANTIFICATION_VALUE unit="none">1000.0</L2A_AOT_QUANTIFICATION_VALUE>',
    ),
    ("psd-14.sentinel2", "psd-12.sentinel2"),
)  # fmt: skip


def rename(safe, pattern, new):
    """File names below GRANULE."""
    for path in sorted(safe.rglob("*"), reverse=True):
        if path.name != (name := re.sub(pattern, new, path.name)) and path != safe:
            path.rename(path.with_name(name))


def pilot(safe, baseline="02.05"):
    without_offset(safe)
    edit(safe, *PILOT, (r"<PROCESSING_BASELINE>[^<]*<", f"<PROCESSING_BASELINE>{baseline}<"))
    rename(safe, r"^(T\d\d[A-Z]{3}_)", r"L2A_\1")


@pytest.mark.parametrize("baseline", ["02.04", "02.05", "02.06"])
def test_products_of_the_pilot_of_2017(safe, expected, baseline):
    pilot(safe, baseline)
    scene = same(safe, expected)
    assert scene.product is not None
    assert all(layer.offset == 0 for layer in scene.layers.values())


def test_user_products_of_before_format_14(safe, made, expected):
    pilot(safe, "02.02")
    edit(
        safe,
        ("<PROCESSING_LEVEL>Level-2Ap<", "<PROCESSING_LEVEL>Level-2A<"),
        (r"<PRODUCT_URI_2A>.*?</PRODUCT_URI_2A>", ""),
    )
    (safe / "MTD_MSIL2A.xml").rename(safe / "S2A_USER_MTD_SAFL2A_PDMC_20160101T000000_R022_V20151231T101030.xml")
    rename(
        safe, r"^L2A_(T\d\d[A-Z]{3})_\d{8}T\d{6}_(B\w\w_\d0m)", r"S2A_USER_MSI_L2A_TL_SGS__20160101T000000_A001_\1_\2"
    )
    safe = safe.rename(safe.with_name("S2A_USER_PRD_MSIL2A_PDMC_20160101T000000_R022_V20151231T101030.SAFE"))
    same(safe, expected)
    same(safe / "S2A_USER_MTD_SAFL2A_PDMC_20160101T000000_R022_V20151231T101030.xml", expected)


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.05", 0), ("02.06", 0), ("02.07", 0), ("02.08", 0), ("02.09", 0), ("02.10", 0), ("02.12", 0), ("02.13", 0),
     ("02.14", 0), ("03.00", 0), ("03.01", 0), ("04.00", -1000), ("05.00", -1000), ("05.09", -1000), ("05.10", -1000),
     ("05.11", -1000), ("99.99", 0)],
)  # fmt: skip
def test_all_baselines(safe, baseline, offset):
    """Without a list of offsets, the baseline decides."""
    edit(
        safe, (r"<PROCESSING_BASELINE>[^<]*<", f"<PROCESSING_BASELINE>{baseline}<"),
        (r"(?s)<BOA_ADD_OFFSET_VALUES_LIST>.*</BOA_ADD_OFFSET_VALUES_LIST>\n", ""),
    )  # fmt: skip
    assert {layer.offset for layer in values(safe)[1].layers.values()} == {offset}


def test_a_pilot_product_that_is_damaged_is_still_refused(safe):
    pilot(safe)
    edit(safe, ("<L2A_BOA_QUANTIFICATION_VALUE.*</L2A_BOA_QUANTIFICATION_VALUE>", ""))
    with pytest.raises(SceneError, match="is damaged; get the product anew"):
        open_scene(safe, needed=SOME)


@pytest.mark.parametrize(
    "place", ["IMG_DATA/R20m/L2A_T33UUP_20170613T101031_SCL_20m.jp2", "IMG_DATA/L2A_T33UUP_x_SCL_20m.jp2"]
)
def test_the_classification_of_a_pilot_product(safe, place):
    pilot(safe)
    granule = next((safe / "GRANULE").iterdir())
    shutil.copy(next(granule.rglob("*_B05_20m.jp2")), granule / place)
    assert find_classification(safe, open_scene(safe, needed=SOME).grid).endswith("_SCL_20m.jp2")


ODD = ["a b", "[x]", "{y}", "z}{", "a{{b}", "#1", "50%", "what?", "äöü", "x'y", "a;b&c", "v.zip"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_of_folders_and_zips(made, expected, tmp_path, name):
    odd = tmp_path / name / "deeper"
    shutil.copytree(made.product, odd / made.product.name)
    same(odd / made.product.name, expected)
    same(tmp_path / name, expected)
    archive = tmp_path / name / f"{name}.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in files_below(made.product, 9):
            target.write(made.product / file, f"{name}/{name}/{made.product.name}/{file}")
    scene = same(archive, expected)
    header = next(iter(scene.layers.values())).header
    assert header.file == archive
    assert shown(header.path).startswith(str(archive))
    assert "vsi" not in shown(header.path)
    (tmp_path / "bands").mkdir()
    for index, band in enumerate(SOME):
        file = next(made.product.rglob(f"*_{band}_?0m.jp2"))
        shutil.copy(file, tmp_path / "bands" / f"{name}{index}_{band}{file.name[-8:]}")
    assert values(tmp_path / "bands", offset=1000)[1].grid == scene.grid


def test_a_zip_that_has_the_name_of_the_folder_in_it(made, expected, tmp_path):
    archive = tmp_path / made.product.name
    with zipfile.ZipFile(archive, "w") as target:
        for file in files_below(made.product, 9):
            target.write(made.product / file, f"{made.product.name}/{file}")
    same(archive, expected)


@pytest.mark.parametrize("top", ["", "{}/", "a/b/{}/"])
def test_zips_with_backslashes(made, expected, tmp_path, top):
    """As older tools of Windows write them."""
    archive = tmp_path / f"{made.product.stem}.zip"
    top = top.format(made.product.name)
    with zipfile.ZipFile(archive, "w") as target:
        for file in files_below(made.product, 9):
            target.write(made.product / file, f"{top}{file}".replace("/", "\\"))
    with zipfile.ZipFile(archive) as target:
        assert all("\\" in name or "/" not in name for name in target.namelist())
    same(archive, expected)


@given(st.text("{}a.zip/", max_size=12), st.text("{}b/.", min_size=1, max_size=9))
def test_the_path_of_a_file_in_a_zip_is_taken_apart_again(folder, member):
    """Whatever braces there are: as GDAL sees the zip, so does the message."""
    archive = Path("/none") / f"{folder.replace('/', '')}x.zip"
    member = member.strip("/").replace("//", "/").replace("//", "/") or "b"
    assert shown(in_zip(archive) + member) == f"{archive}/{member}"


def test_the_metadata_file_may_be_in_small_letters_and_suffixes_in_large_ones(safe, expected, tmp_path):
    (safe / "MTD_MSIL2A.xml").rename(safe / "mtd_msil2a.xml")
    for file in safe.rglob("*.jp2"):
        file.rename(file.with_suffix(".JP2"))
    same(safe, expected)
    same(safe.rename(safe.with_suffix(".safe")), expected)
    (tmp_path / "bands").mkdir()
    for file in (tmp_path / "in").rglob("*.JP2"):
        shutil.copy(file, tmp_path / "bands")
    assert values(tmp_path / "bands", offset=1000)[1].grid.width == SIZE


def test_links_to_products_and_in_them(safe, expected, tmp_path):
    (tmp_path / "link").symlink_to(safe)
    same(tmp_path / "link", expected)
    (tmp_path / "apart").mkdir()
    (safe / "GRANULE").rename(tmp_path / "apart" / "GRANULE")
    (safe / "GRANULE").symlink_to(tmp_path / "apart" / "GRANULE")
    (safe / "AUX_DATA").symlink_to(safe)  # a circle
    same(safe, expected)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_product_some_folders_deeper(made, expected, tmp_path, depth):
    below = tmp_path / "top" / Path(*"abc"[:depth])
    shutil.copytree(made.product, below / made.product.name)
    scene = same(tmp_path / "top", expected)
    assert scene.name == made.product.stem
    assert scene.product is not None


def test_several_products_deeper_are_named(made, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(made.product, tmp_path / "top" / name / "x" / made.product.name)
    with pytest.raises(SceneError, match=r"several products .*a/x/.*b/x/.*name one of them"):
        open_scene(tmp_path / "top", needed=SOME)


def litter(folder):
    """What macOS and Windows leave in a folder and in those below it."""
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for file in [path for path in place.iterdir() if path.is_file()]:
            (place / f"._{file.name}").write_bytes(APPLE)
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (place / name).write_bytes(APPLE)
    twin = folder / "__MACOSX" / folder.name
    twin.mkdir(parents=True)
    (twin / "._MTD_MSIL2A.xml").write_bytes(APPLE)
    (folder / "__MACOSX" / "MTD_MSIL2A.xml").write_bytes(APPLE)


def test_what_systems_leave_behind_is_no_data(safe, expected, tmp_path):
    litter(safe)
    same(safe, expected)
    litter(tmp_path / "in")
    same(tmp_path / "in", expected)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as target:
        for path in sorted(path for path in (tmp_path / "in").rglob("*") if path.is_file()):
            target.write(path, path.relative_to(tmp_path / "in").as_posix())
    same(tmp_path / "x.zip", expected)
    (tmp_path / "bands").mkdir()
    for file in safe.rglob("T*_B*.jp2"):
        shutil.copy(file, tmp_path / "bands")
    before = values(tmp_path / "bands", offset=1000)[0]
    litter(tmp_path / "bands")
    after = values(tmp_path / "bands", offset=1000)[0]
    assert all(np.array_equal(before[band], after[band]) for band in SOME)


def test_which_files_are_litter():
    assert all(map(is_litter, ["._x.tif", "a/._b/x.tif", "__MACOSX/x", ".DS_Store", "a/thumbs.DB", "Desktop.ini"]))
    assert not any(map(is_litter, ["x.tif", "_x.tif", ".x.tif", "a.b/_.tif", "MACOSX/x.tif", "Thumbs.db.tif"]))


@pytest.mark.parametrize("form", ["SAFE", "folder", "zip"])
def test_sentinel_1_as_delivered_is_told_what_it_lacks(tmp_path, form):
    name = "S1A_IW_GRDH_1SDV_20230613T165809_20230613T165834_048974_05E3B5_ABCD.SAFE"
    place = tmp_path / ("x" if form == "folder" else "") / name / "measurement"
    place.mkdir(parents=True)
    (place / "s1a-iw-grd-vv-20230613t165809-20230613t165834-048974-05e3b5-001.tiff").write_bytes(b"")
    (place.parent / "manifest.safe").write_text("")
    path = {"SAFE": place.parent, "folder": tmp_path / "x", "zip": tmp_path / "x.zip"}[form]
    if form == "zip":
        with zipfile.ZipFile(path, "w") as target:
            for file in files_below(tmp_path, 5):
                if file != "x.zip":
                    target.write(tmp_path / file, file)
    with pytest.raises(SceneError, match=r"no map grid yet.*terrain-correct"):
        open_scene(path, needed=["VV", "VH"] if form == "folder" else SOME)


def test_all_bands_of_a_pilot_product_are_found(safe):
    pilot(safe)
    assert open_scene(safe, needed=S2_BANDS).bands == S2_BANDS
    assert os.listdir(safe)
    assert read_header(str(next(safe.rglob("L2A_*_B02_10m.jp2")))).width == SIZE
