"""The nomenclature, bands, patch ids, georeference and split rule, against the official files."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import transform

from seg.errors import UnknownCodeError, UnknownNameError
from seg.reben.bands import BANDS, MODALITIES, band_names, selection_name
from seg.reben.classes import (
    CLASS_NAMES,
    CLASS_OF_CODE,
    CLASSES,
    IGNORE_INDEX,
    UNLABELLED_CODES,
    class_index,
    label_bits,
    names_of_bits,
)
from seg.reben.patch import PatchId, geographic_split, s1_scene, tile_corner
from seg.reben.reference_map import class_indices, implied_bits

OFFICIAL = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")


@pytest.fixture(scope="module")
def official_ids(real):
    tables = [
        pq.read_table(real / "official-metadata" / name, columns=["patch_id", "split", "s1_name"]) for name in OFFICIAL
    ]
    return [row for table in tables for row in zip(*(table[c].to_pylist() for c in table.column_names), strict=True)]


def test_split_rule_equals_every_official_row(official_ids):
    assert len(official_ids) == 549_488
    cells = {}
    for patch_id, split, _ in official_ids:
        cells.setdefault((int(patch_id[-5:-3]), int(patch_id[-2:])), set()).add(split)
    wrong = {cell: splits for cell, splits in cells.items() if splits != {geographic_split(*cell)}}
    assert wrong == {}


def test_official_names_parse_and_print_back(official_ids):
    for patch_id, split, s1_name in official_ids[::997]:
        patch = PatchId.parse(patch_id)
        assert str(patch) == patch_id
        assert patch.split == split
        assert patch.product == patch_id[:-6]
        assert patch.acquired.strftime("%Y%m%dT%H%M%S") == patch_id.split("_")[2]
        assert s1_scene(s1_name) == "_".join(s1_name.split("_")[:-3])


def test_no_test_patch_is_near_a_train_patch_of_its_tile():
    cells = {(c, r): geographic_split(c, r) for c in range(91) for r in range(91)}
    test = np.array([cell for cell, split in cells.items() if split == "test"])
    train = np.array([cell for cell, split in cells.items() if split == "train"])
    gaps = np.abs(test[:, None] - train[None]).max(-1).min(1) - 1
    assert gaps.min() * 1200 >= 6000


def test_classes_are_the_authors(real):
    rows = json.loads((real / "official-metadata" / "clc_metadata.json").read_text())["clc_data"]
    colors = {int(row["code"]): tuple(row["color"][:3]) for row in rows}
    named = {int(row["code"]): row["name_19"] for row in rows}
    for code, index in CLASS_OF_CODE.items():
        expected = "UNLABELED" if index == IGNORE_INDEX else CLASS_NAMES[index]
        assert named.get(code, "UNLABELED") == expected
    assert set(named) <= set(CLASS_OF_CODE)
    for c in CLASSES:
        assert c.color in {colors[code] for code in c.codes}
    assert len({c.color for c in CLASSES}) == 19
    assert all(len(c.short) <= 24 for c in CLASSES)


def test_georeference_equals_every_real_geotiff(real):
    files = [f for f in real.rglob("*.tif") if f.name.startswith("S2")]
    assert len(files) > 400
    for file in files:
        georef = PatchId.parse("_".join(file.name.split("_")[:8])).georef
        with rasterio.open(file) as source:
            assert source.crs.to_epsg() == georef.epsg, file
            assert source.bounds == georef.bounds, file
            if source.width == 120:
                assert tuple(source.transform)[:6] == georef.transform, file


def test_map_classes_equal_the_official_labels(real):
    checked = 0
    for folder in ("reben-10m-80", "reben-full-4"):
        table = pq.read_table(real / folder / "metadata.parquet", columns=["patch_id", "labels"])
        for row in table.to_pylist():
            patch = row["patch_id"]
            path = real / folder / "Reference_Maps" / patch[:-6] / patch / f"{patch}_reference_map.tif"
            with rasterio.open(path) as source:
                bits = implied_bits(class_indices(source.read(1), path.name))
            assert list(names_of_bits(bits)) == row["labels"], patch
            assert bits == label_bits(row["labels"])
            checked += 1
    assert checked == 84


TILES = ["33UUP", "29SNB", "34WFU", "32TMT", "35VLG", "31NAA", "60CWV", "01KAB", "19FDV", "30PYS"]


@pytest.mark.parametrize("tile", TILES)
def test_tile_lies_in_its_zone_and_latitude_band(tile):
    epsg, x, y = tile_corner(tile)
    assert epsg % 100 == int(tile[:2])
    assert epsg // 100 == (326 if tile[2] >= "N" else 327)
    assert x % 60 == (y - (0 if tile[2] >= "N" else 10_000_000)) % 60 == 0
    (west, east), (north, south) = transform(f"EPSG:{epsg}", "EPSG:4326", [x, x + 109_800], [y, y - 109_800])
    lowest = -80 + 8 * "CDEFGHJKLMNPQRSTUVWX".index(tile[2])
    assert south < lowest + 8
    assert north > lowest
    middle = -183 + 6 * int(tile[:2])
    assert min(abs(west - middle), abs(east - middle)) < 4.5


@given(st.integers(0, 90), st.integers(0, 90))
def test_patch_ids_round_trip(column, row):
    text = f"S2B_MSIL2A_20180204T101031_N9999_R022_T33UUP_{column:02d}_{row:02d}"
    patch = PatchId.parse(text)
    assert (patch.column, patch.row, str(patch)) == (column, row, text)
    origin = PatchId.parse(text[:-5] + "00_00").georef
    assert patch.georef.x_min - origin.x_min == 1200 * column
    assert origin.y_max - patch.georef.y_max == 1200 * row


@pytest.mark.parametrize(
    "text",
    [
        "",
        "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP",
        "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_91_00",
        "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_1_2",
        "S2A_MSIL2A_20171313T101031_N9999_R022_T33UUP_01_02",
        "S2A_MSIL1C_20170613T101031_N9999_R022_T33UUP_01_02",
        "S2A_MSIL2A_20170613T101031_N9999_R022_T33IUP_01_02",
        "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_01_02\n",
    ],
)
def test_malformed_patch_ids_are_refused(text):
    with pytest.raises(UnknownNameError, match=r"patch id|run from|no date"):
        PatchId.parse(text)


def test_impossible_tiles_and_s1_names_are_refused():
    with pytest.raises(UnknownNameError, match="no MGRS tile 33UAP"):
        tile_corner("33UAP")
    with pytest.raises(UnknownNameError, match="no MGRS tile"):
        tile_corner("61UUP")
    with pytest.raises(UnknownNameError, match="Sentinel-1"):
        s1_scene("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_01_02")


def test_modalities():
    assert MODALITIES["s1"] == ("VV", "VH")
    assert MODALITIES["s1s2"] == MODALITIES["s1"] + MODALITIES["s2"]
    assert len(MODALITIES["s2"]) == 12
    assert set(MODALITIES["s2-10m"]) == {"B02", "B03", "B04", "B08"}
    assert len(MODALITIES["s2-10m-20m"]) == 10
    assert MODALITIES["rgb"] == ("B04", "B03", "B02")
    assert {band.size for band in BANDS.values()} == {120, 60, 20}


def test_bands_by_name():
    assert band_names("VV, VH,B02") == ("VV", "VH", "B02")
    assert band_names("s2") == MODALITIES["s2"]
    for name, members in MODALITIES.items():
        assert selection_name(members) == name
    assert selection_name(("B02", "VV")) == "B02,VV"
    with pytest.raises(UnknownNameError, match="did you mean B8A"):
        band_names("b8a")
    with pytest.raises(UnknownNameError, match="named twice"):
        band_names("VV,VV")
    with pytest.raises(UnknownNameError):
        band_names("")


@given(st.lists(st.sampled_from([*CLASS_OF_CODE]), min_size=1, max_size=60))
def test_lookup_of_codes_against_a_dictionary(codes):
    indices = class_indices(np.array(codes, dtype=np.uint16), "test")
    assert indices.dtype == np.uint8
    assert indices.tolist() == [CLASS_OF_CODE[code] for code in codes]
    assert implied_bits(indices) == sum(1 << i for i in set(indices.tolist()) - {IGNORE_INDEX})


@settings(deadline=None)
@given(st.integers(0, 65535).filter(lambda code: code not in CLASS_OF_CODE))
def test_unknown_codes_are_named(code):
    with pytest.raises(UnknownCodeError, match=re.compile(rf"somewhere\.tif: code {code} ")):
        class_indices(np.array([[111, code]], dtype=np.uint16), "somewhere.tif")


def test_nodata_is_no_code():
    assert 0 not in CLASS_OF_CODE
    assert 999 in UNLABELLED_CODES


def test_labels_by_name():
    assert class_index("Marine waters") == 18
    assert names_of_bits(label_bits(["Pastures", "Arable land"])) == ("Arable land", "Pastures")
    with pytest.raises(UnknownNameError, match="Sea"):
        label_bits(["Sea"])
