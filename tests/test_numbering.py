"""Which numbers a land-cover file has: every product that looks like CORINE and is not, and CORINE in all its forms."""

import json
import re
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
import shapely
from commands import run_printed
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

from seg.errors import LandCoverError
from seg.reben.classes import CLASS_OF_CODE
from seg.reben.clc_legend import CLC_LEGEND
from seg.reben.patch import GeoRef, tile_corner
from seg.region.clc import codes_on, open_clc
from seg.region.legend import legend_of, values_in
from seg.region.numbering import CODES, NOTHING, Legend, code_table, decide

TILE = "33UUP"
EPSG, X, Y = tile_corner(TILE)
GRID = GeoRef(EPSG, X, Y, 10.0, 120, 120)
GRID_NUMBERS = list(range(1, 45))

OTHERS = {
    "CLC+ Backbone": [*range(1, 12), 253, 254, 255],
    "CLC+ Backbone, no sea, no fill": [1, 2, 3, 5, 6, 7, 9, 10],
    "Esri": [1, 2, 4, 5, 7, 8, 9, 10, 11],
    "WorldCover": [10, 20, 30, 40, 50, 60, 80, 90, 95, 100],
    "WorldCover inland": [10, 20, 30, 40],
    "level 1": [1, 2, 3, 4, 5],
    "level 2": [11, 12, 13, 14, 21, 22, 23, 24, 31, 32, 33, 41, 42, 51, 52],
    "level 2, a clip": [11, 12, 21, 23, 24, 31, 32],
    "national": list(range(1, 50)),
    "Dynamic World": list(range(9)),
    "Dynamic World without water": list(range(1, 8)),
    "GLC_FCS30": [10, 11, 12, 20, 51, 61, 71, 120, 130, 150, 190, 210],
    "CCI": [10, 11, 30, 40, 60, 70, 100, 110, 130, 190, 210],
    "Copernicus": [20, 30, 40, 50, 80, 90, 111, 112, 115, 121, 126, 200],
    "Copernicus forest": [111, 112, 121, 122],
    "times 10": [1120, 2110, 2310, 3110, 3120, 5120],
    "level 4": [1111, 1121, 3111, 3112, 3121],
    "mixed": [111, 112, 211, 12, 23, 24],
    "reBEN's classes": list(range(19)),
    "reBEN's classes from 1": list(range(1, 20)),
    "MODIS": list(range(1, 18)),
    "NLCD": [11, 21, 22, 23, 24, 31, 41, 42, 43, 52, 71, 81, 82, 90, 95],
    "few": [1, 2, 3],
    "one": [7],
    "negative": [-1, 23, 24, 25, 29],
    "0 undeclared": [0, 23, 24, 25, 29],
    "255 undeclared": [2, 12, 23, 24, 25, 29, 255],
    "128 undeclared": [2, 12, 23, 24, 25, 29, 128],
    "big": [23, 24, 25, 29, 70000],
}


def written(folder: Path, values, dtype="int32", nodata=None, colors=None, name="clc.tif", **more) -> Path:
    """A raster in which each of the values occurs."""
    array = np.resize(np.array(values), (120, 120)).astype(dtype)
    with rasterio.open(
        folder / name, "w", driver="GTiff", height=120, width=120, count=1, dtype=dtype, nodata=nodata,
        crs=f"EPSG:{EPSG}", transform=Affine(*GRID.transform), **more,
    ) as file:  # fmt: skip
        file.write(array, 1)
        if colors:
            file.write_colormap(1, colors)
    return folder / name


def codes_of(path: Path, **more) -> list[int]:
    with codes_on(open_clc(path, **more), GRID, TILE) as land:
        return np.unique(land.read(0, 120)).tolist()


def refused(path: Path, **more) -> str:
    with pytest.raises(LandCoverError) as caught:
        codes_of(path, **more)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500 + 3 * len(str(path))
    return text


def colors_of(table: dict[int, int], values) -> dict[int, tuple[int, int, int, int]]:
    return {value: (*CLC_LEGEND[table[value]][1], 255) for value in values if table.get(value) in CLC_LEGEND}


# ------------------------------------------------------------------------------------------------------------ CORINE


@pytest.mark.parametrize(
    ("values", "dtype", "nodata"),
    [
        (GRID_NUMBERS, "uint8", None),
        ([*GRID_NUMBERS, 48], "int8", -128),
        ([2, 12], "int8", -128),
        ([2, 12, 18, 23, 24, 25, 40, 41], "uint8", 255),
        (range(20, 45), "int16", 0),
    ],
)
def test_numbers_that_only_corine_has_are_taken_as_they_are(tmp_path, values, dtype, nodata):
    path = written(tmp_path, list(values), dtype, nodata)
    assert codes_of(path) == sorted({code_table("grid")[value] for value in values})
    assert open_clc(path).decision.numbering == "grid"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            ("map.tif", kind)
            for kind in ("WorldCover", "level 1", "level 2, a clip", "CLC+ Backbone, no sea, no fill", "Esri", "one")
        ),
        *(("clc.tif", kind) for kind in ("level 1", "level 2", "level 2, a clip")),
    ],
)
def test_other_classes_in_the_form_of_corines_own_raster_are_asked_about(tmp_path, name, kind):
    """What calculators write of CORINE's raster keeps its type and nodata."""
    path = written(tmp_path, OTHERS[kind], "int8", -128, name=name)
    assert re.search("could be CORINE's numbers|looks like", refused(path))


@pytest.mark.parametrize("name", ["map.tif", "clc_plus.tif", "CLC+.tif", "oclcs.tif"])
def test_small_numbers_alone_are_asked_about(tmp_path, name):
    """Any classes may be numbered from 1 to 44, whatever they are."""
    path = written(tmp_path, GRID_NUMBERS, "uint8", name=name)
    assert "could be CORINE's numbers 1 to 44 or of another product; say --numbering grid" in refused(path)
    assert codes_of(path, numbering="grid") == list(CODES)


def test_classes_that_are_counted_from_0_are_told_as_such(tmp_path):
    """Declaring their 0 as nodata alone would take each of the others for the one before it."""
    text = refused(written(tmp_path, range(44), "uint8"))
    assert "holds numbers from 0 to 43: CORINE's begin at 1, so they may be its classes counted from 0" in text
    assert "counted from 0" not in refused(written(tmp_path, range(45), "uint8"))


@pytest.mark.parametrize("name", ["U2018_CLC2018_V2020_20u1.tif", "corine_2018.tif", "my-clc.tif", "CLC18.tif"])
def test_a_file_that_is_called_so_has_corines_numbers(tmp_path, name):
    assert open_clc(written(tmp_path, GRID_NUMBERS, "uint8", name=name)).decision.by == "its values and name"


@pytest.mark.parametrize("values", [CODES, (*CODES, NOTHING), (112, 211, 231, 311, 312), (311,), (523,)])
@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_codes_are_taken_as_they_are(tmp_path, values, dtype):
    path = written(tmp_path, values, dtype, 0)
    assert codes_of(path) == sorted(values)
    assert open_clc(path).record == {"file": "clc.tif", "numbering": "clc", "decided by": "its values"}


def test_the_legend_is_the_official_one(real):
    rows = json.loads((real / "official-metadata" / "clc_metadata.json").read_text())["clc_data"]
    official = {int(row["code"]): (row["name_clc"], tuple(row["color"][:3])) for row in rows if row["code"] != "999"}
    assert official == CLC_LEGEND
    assert set(CLC_LEGEND) | {NOTHING} == set(CLASS_OF_CODE)


@given(st.sets(st.sampled_from(CODES), min_size=1), st.sets(st.sampled_from(GRID_NUMBERS), min_size=1))
def test_what_is_told_is_taken_where_it_fits(codes, numbers):
    assert decide("f", codes, Legend(), "clc", str).numbering == "clc"
    assert decide("f", numbers, Legend(), "grid", str).by == "--numbering"
    for values, told in ((codes, "grid"), (numbers, "clc"), (codes | numbers, "clc"), (codes | numbers, "grid")):
        with pytest.raises(LandCoverError):
            decide("f", values, Legend(), told, str)
    with pytest.raises(LandCoverError, match="give a file of one numbering"):
        decide("f", codes | numbers, Legend(), None, str)


# ------------------------------------------------------------------------------------------------------ not CORINE


@pytest.mark.parametrize("kind", OTHERS)
def test_other_products_are_refused_or_asked_about(tmp_path, kind):
    values = OTHERS[kind]
    sentence = refused(written(tmp_path, values))
    if set(values) <= set(GRID_NUMBERS):
        assert "say --numbering grid if it is CORINE Land Cover" in sentence
        assert codes_of(tmp_path / "clc.tif", numbering="grid") == sorted({CODES[value - 1] for value in values})
        refused(tmp_path / "clc.tif", numbering="clc")
    elif set(values) <= set(CODES):
        assert "say --numbering clc" in sentence
        assert codes_of(tmp_path / "clc.tif", numbering="clc") == values
    else:
        for numbering in ("clc", "grid"):
            refused(tmp_path / "clc.tif", numbering=numbering)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("CLC+ Backbone", "looks like CLC+ Backbone"),
        ("WorldCover", "looks like ESA WorldCover"),
        ("WorldCover inland", "but also ESA WorldCover"),
        ("level 1", "but also level 1 of CORINE"),
        ("level 2, a clip", "but also level 2 of CORINE"),
        ("national", "looks like a national raster of 49 classes"),
        ("Dynamic World", "looks like Dynamic World"),
        ("GLC_FCS30", "looks like GLC_FCS30"),
        ("times 10", "looks like CORINE's codes times 10"),
        ("level 4", "looks like level 4 of CORINE"),
        ("mixed", "holds both CORINE's codes of level 3 (111, 112 and more) and small numbers (12, 23 and more)"),
        ("NLCD", "looks like NLCD"),
    ],
)
def test_the_message_says_what_it_looks_like(tmp_path, kind, words):
    assert words in refused(written(tmp_path, OTHERS[kind]))


@given(st.lists(st.integers(-10, 1200), min_size=1, max_size=60, unique=True))
def test_nothing_is_taken_that_is_not_corines(values):
    """Whatever is decided, every value has a code; and small numbers alone are never decided on."""
    try:
        decision = decide("f", values, Legend(), None, str)
    except LandCoverError:
        return
    assert set(values) <= set(code_table(decision.numbering))
    if decision.numbering == "grid":
        assert sum(value > 23 for value in values) >= 3


# ------------------------------------------------------------------------------------------------ colours and names


@pytest.mark.parametrize("values", [[1, 2, 3], [10, 20, 30, 40], [7]])
def test_the_official_colours_settle_it(tmp_path, values):
    path = written(tmp_path, values, "uint8", colors=colors_of(code_table("grid"), GRID_NUMBERS))
    assert codes_of(path) == [CODES[value - 1] for value in values]
    assert open_clc(path).decision.by == "its colours"


def test_the_official_colours_of_codes(tmp_path):
    path = written(tmp_path, [112, 121], "uint16", colors=colors_of(code_table("clc"), CODES))
    assert codes_of(path) == [112, 121]


def test_other_colours_are_asked_about(tmp_path):
    colors = {value: ((37 * value) % 256, (91 * value) % 256, (13 * value) % 256, 255) for value in GRID_NUMBERS}
    path = written(tmp_path, GRID_NUMBERS, "uint8", colors=colors)
    assert "the colours in" in refused(path)
    assert "(1 is 37, 91, 13)" in refused(path)
    assert codes_of(path, numbering="grid") == list(CODES)


def test_a_grey_table_says_nothing(tmp_path):
    path = written(tmp_path, GRID_NUMBERS, "uint8", colors={v: (v * 5, v * 5, v * 5, 255) for v in GRID_NUMBERS})
    assert open_clc(path).decision.by == "its values and name"


def attribute_table(path: Path, rows: dict[int, tuple[str, ...]], columns: tuple[str, ...], way: str) -> None:
    if way == "categories":
        names = "".join(f"<Category>{rows.get(v, ('',))[0]}</Category>" for v in range(max(rows) + 1))
        table = f"<CategoryNames>{names}</CategoryNames>"
    elif way == "table":
        fields = "".join(
            f'<FieldDefn index="{i}"><Name>{name}</Name><Type>2</Type><Usage>{5 if not i else 0}</Usage></FieldDefn>'
            for i, name in enumerate(("Value", "Count", *columns))
        )
        lines = "".join(
            f'<Row index="{i}"><F>{v}</F><F>311</F>' + "".join(f"<F>{t}</F>" for t in texts) + "</Row>"
            for i, (v, texts) in enumerate(rows.items())
        )
        table = f"<GDALRasterAttributeTable>{fields}{lines}</GDALRasterAttributeTable>"
    else:
        frame = pd.DataFrame({"Value": list(rows), "Count": 311})
        for i, column in enumerate(columns):
            frame[column] = [texts[i] for texts in rows.values()]
        pyogrio.write_dataframe(frame, path.parent / "x.dbf", driver="ESRI Shapefile")
        (path.parent / "x.dbf").rename(f"{path}.vat.dbf")
        return
    Path(f"{path}.aux.xml").write_text(f'<PAMDataset><PAMRasterBand band="1">{table}</PAMRasterBand></PAMDataset>')


@pytest.mark.parametrize("way", ["categories", "table", "dbf"])
@pytest.mark.parametrize("spelled", range(4))
def test_the_official_names_settle_it(tmp_path, way, spelled):
    path = written(tmp_path, [1, 2, 3], "uint8")
    names = {
        n: [name, name.upper(), f"{code} - {name}", ".".join(str(code))][spelled]
        for n, (code, (name, _)) in enumerate(CLC_LEGEND.items(), 1)
    }
    attribute_table(path, {n: (name,) for n, name in names.items()}, ("CODE_18",), way)
    assert open_clc(path).decision.by == "its names"
    assert codes_of(path) == [111, 112, 121]


@pytest.mark.parametrize("way", ["categories", "table", "dbf"])
@pytest.mark.parametrize("numbers", [list(range(1, 12)), GRID_NUMBERS])
def test_other_names_are_asked_about(tmp_path, way, numbers):
    path = written(tmp_path, numbers, "uint8")
    attribute_table(path, {n: (f"Sealed surface {n}",) for n in numbers}, ("LABEL",), way)
    assert "the names in" in refused(path)
    assert "(1 is 'Sealed surface 1')" in refused(path)
    assert codes_of(path, numbering="grid")[0] == 111


def test_names_in_another_language_do_not_outweigh_the_colours(tmp_path):
    path = written(tmp_path, [1, 2, 3], "uint8", colors=colors_of(code_table("grid"), GRID_NUMBERS))
    attribute_table(path, {1: ("Ville dense",), 2: ("Ville",), 3: ("Zones industrielles",)}, ("LABEL",), "table")
    assert open_clc(path).decision.by == "its colours"


def test_a_table_of_counts_says_nothing(tmp_path):
    path = written(tmp_path, [1, 2, 3], "uint8")
    attribute_table(path, {1: ("9",), 2: ("8",), 3: ("7",)}, ("Area",), "table")
    with rasterio.open(path) as raster:
        assert legend_of(raster) == Legend()


# -------------------------------------------------------------------------------------------- large rasters, cures


def test_of_a_large_raster_windows_all_over_it_are_looked_at(tmp_path):
    path = tmp_path / "big.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=5000, width=5000, count=1, dtype="uint8", nodata=0, tiled=True,
        compress="deflate", crs=f"EPSG:{EPSG}", transform=Affine(*GRID.transform),
    ) as file:  # fmt: skip
        for row in range(10):
            for column in range(10):
                window = rasterio.windows.Window(column * 500, row * 500, 500, 500)
                file.write(np.full((500, 500), 1 + row * 10 + column, np.uint8), 1, window=window)
    with rasterio.open(path) as raster:
        assert values_in(raster) == set(range(1, 101))
    assert "looks like" in refused(path) or "holds" in refused(path)


def test_the_cure_for_undeclared_nodata_works_as_typed(tmp_path):
    folder = tmp_path / "with a space"
    folder.mkdir()
    path = written(folder, [*GRID_NUMBERS, 255], "uint8")
    before = path.read_bytes()
    words = run_printed(refused(path), tmp_path)
    assert codes_of(tmp_path / words[-1]) == [*CODES, NOTHING]
    # What was delivered is left as it is.
    assert path.read_bytes() == before


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("nodata", [-9999, float("nan"), 0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_numbers_are_read_whatever_their_type(tmp_path, nodata, dtype):
    assert codes_of(written(tmp_path, [*CODES, nodata], dtype, nodata)) == [*CODES, NOTHING]


def test_fractions_are_no_codes(tmp_path):
    assert "holds numbers such as 311.5, but codes are whole" in refused(written(tmp_path, [*CODES, 311.5], "float32"))


def test_the_cure_for_several_bands_works_as_typed(tmp_path):
    path = tmp_path / "clc.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=120, width=120, count=3, dtype="uint16", nodata=0, crs=f"EPSG:{EPSG}",
        transform=Affine(*GRID.transform),
    ) as file:  # fmt: skip
        file.write(np.resize(np.array(CODES, np.uint16), (3, 120, 120)))
    words = run_printed(refused(path), tmp_path)
    assert codes_of(tmp_path / words[-1]) == list(CODES)


# ------------------------------------------------------------------------------------------------------ polygons


def polygons(folder: Path, values, column="Code_18", dtype=str) -> Path:
    boxes = [shapely.box(X + 10 * i, Y - 500, X + 10 * i + 10, Y) for i in range(len(values))]
    data = gpd.GeoDataFrame({column: np.array(values).astype(dtype)}, geometry=boxes, crs=EPSG)
    data.to_file(folder / "clc.gpkg", engine="pyogrio")
    return folder / "clc.gpkg"


@pytest.mark.parametrize("dtype", [str, np.int32, np.float64])
def test_polygons_with_corines_numbers(tmp_path, dtype):
    path = polygons(tmp_path, GRID_NUMBERS, "gridcode", dtype)
    assert codes_of(path, column="gridcode") == [*CODES, NOTHING]
    assert open_clc(path, "gridcode").record["numbering"] == "grid"


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind not in ("Copernicus forest", "big")])
@pytest.mark.parametrize("column", ["Code_18", "class"])
def test_polygons_of_other_products(tmp_path, kind, column):
    path = polygons(tmp_path, OTHERS[kind], column)
    sentence = refused(path, column=column)
    assert "rio" not in sentence.replace("numbering", "")
    if set(OTHERS[kind]) <= set(GRID_NUMBERS):
        assert "say --numbering grid" in sentence
        assert codes_of(path, column=column, numbering="grid")[0] == CODES[min(OTHERS[kind]) - 1]


def test_the_own_column_settles_codes_that_others_have_too(tmp_path):
    assert codes_of(polygons(tmp_path, [111, 112])) == [111, 112, NOTHING]


CROPS = [211, 212, 213, 221, 222, 231]


def test_crops_that_have_codes_of_corine_are_asked_about(tmp_path):
    """EUCROPMAP has maize and sunflowers under CORINE's codes of fields, and more."""
    path = written(tmp_path, CROPS, name="crops.tif")
    assert "could be CORINE's codes of level 3, but also the crop map of the EU (EUCROPMAP)" in refused(path)
    assert codes_of(path, numbering="clc") == CROPS
    assert "looks like the crop map of the EU" in refused(written(tmp_path, [*CROPS, 232, 300, 500], name="b.tif"))
    assert codes_of(written(tmp_path, [*CROPS, 311], name="c.tif")) == [*CROPS, 311]
    assert codes_of(polygons(tmp_path, CROPS)) == [*CROPS, NOTHING]
    named = polygons(tmp_path, CROPS, "crop").rename(tmp_path / "crops.gpkg")
    assert "say --numbering clc" in refused(named, column="crop")
    assert codes_of(named, column="crop", numbering="clc") == [*CROPS, NOTHING]


@pytest.mark.parametrize("form", ["{}.{}.{}", "{}.{}.{}.", " {}.{}.{} ", "{}{}{}.0"])
def test_codes_as_the_nomenclature_writes_them(tmp_path, form):
    path = polygons(tmp_path, [form.format(*str(code)) for code in CODES])
    assert codes_of(path) == [*CODES, NOTHING]


@pytest.mark.parametrize("text", ["1.12", "11.2", "1.1.2.1", "1.1", "6.1.1", "..2"])
def test_other_numbers_with_points_are_no_codes(tmp_path, text):
    refused(polygons(tmp_path, ["1.1.1", text]))


# -------------------------------------------------------------------------------------------------------- the record


def test_what_was_decided_stands_in_tree_and_store(tmp_path, a_product):
    from seg.pipeline.make import make
    from seg.prepare.build import build_store
    from seg.prepare.sources import published_sources
    from seg.region.request import request

    clc = written(tmp_path, [12], "uint8", name="numbers.tif")
    asked = request([a_product], clc, numbering="grid")
    told: list[str] = []
    make(asked, tmp_path / "tree", workers=1, notify=told.append)
    assert "The values of numbers.tif are CORINE's numbers 1 to 44, by --numbering." in told
    record = {"file": "numbers.tif", "numbering": "grid", "decided by": "--numbering"}
    assert json.loads(pq.read_schema(tmp_path / "tree" / "metadata.parquet").metadata[b"seg.land_cover"]) == record
    (reference,) = (tmp_path / "tree").rglob("*_reference_map.tif")
    with rasterio.open(reference) as raster:
        assert raster.tags()["LAND_COVER"] == "numbers.tif: CORINE's numbers 1 to 44, by --numbering"
        assert (raster.read(1) == 211).all()
    make(asked, tmp_path / "store", store=True, workers=1)
    assert json.loads((tmp_path / "store" / "store.json").read_text())["source"]["clc"] == record
    sources = published_sources(tmp_path / "tree")
    assert build_store(replace(sources, s1=None), tmp_path / "built", workers=1).source["clc"] == record


@pytest.fixture
def a_product(tmp_path) -> Path:
    """One patch of random numbers at the corner of the tile."""
    from seg.reben.bands import BANDS, S2_BANDS

    product = f"S2A_MSIL2A_20170613T101031_N9999_R022_T{TILE}"
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for band in S2_BANDS:
        edge, size = BANDS[band].size, BANDS[band].pixel_size
        with rasterio.open(
            tmp_path / "in" / f"{product}_{band}.tif", "w", driver="GTiff", height=edge, width=edge, count=1,
            dtype="uint16", crs=f"EPSG:{EPSG}", transform=Affine(size, 0, X, 0, -size, Y),
        ) as file:  # fmt: skip
            file.write(random.integers(200, 3000, (edge, edge)).astype(np.uint16), 1)
    return tmp_path / "in"
