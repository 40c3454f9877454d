"""A reBEN of one's own: the tree against the scenes that it was cut from, by rasterio, and against the real one."""

import csv
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import rasterio
import shapely
from catalogues import write_item
from commands import printed, run_seg
from range_server import served
from rasterio.features import shapes
from rasterio.transform import Affine
from scipy.ndimage import map_coordinates

from seg.cli.main import main
from seg.cli.make import spread
from seg.errors import BandMissingError, BuildError, LandCoverError, SceneError, WrongUseError
from seg.pipeline.make import make
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.prepare.tile_cells import cells_of
from seg.reben.bands import BANDS, S1_BANDS, S2_BANDS
from seg.reben.classes import CLASS_OF_CODE, CLASSES, IGNORE_INDEX
from seg.reben.patch import GeoRef, PatchId, geographic_split, s1_scene, tile_corner
from seg.region import cut_product
from seg.region.cutting import CLOUDED, NO_DATA, NO_S1, UNLABELLED
from seg.region.making import Made, make_set
from seg.region.request import Request, check_make, request
from seg.scenes import units as looked
from seg.scenes.open import open_scene
from seg.scenes.simulated import find_synthetic_mark
from seg.store.open import open_store
from seg.synthetic.scene import synthesise_scene

CLEAR, FLAGGED = "metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
pytestmark = pytest.mark.usefixtures("forked")
PRODUCT = "S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP"
S1_NAME = "S1A_IW_GRDH_1SDV_20170612T165809"
LONG = "_20170612T165834_017000_01C53F_ABCD"


# --- a small piece of a tile, in plain files --------------------------------------------------------------------------


def place(product=PRODUCT, column=0, row=0, columns=2, rows=2):
    epsg, x, y = tile_corner(product[-5:])
    return GeoRef(epsg, x + 1200 * column, y - 1200 * row, 10.0, 120 * columns, 120 * rows)


def written(path, arrays, grid, pixel=10, names=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = Affine(pixel, 0, grid.x_min, 0, -pixel, grid.y_max)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(arrays), height=arrays[0].shape[0], width=arrays[0].shape[1],
        dtype=arrays[0].dtype, crs=f"EPSG:{grid.epsg}", transform=transform, **more,
    ) as file:  # fmt: skip
        for index, array in enumerate(arrays, 1):
            file.write(array, index)
            if names:
                file.set_band_description(index, names[index - 1])
    return path


def bands_of(folder, product=PRODUCT, seed=0, holes=(), **where):
    """A folder of bands of random numbers, which lie where the arguments of `place` say."""
    grid, random = place(product, **where), np.random.default_rng(seed)
    for band in S2_BANDS:
        factor = BANDS[band].pixel_size // 10
        array = random.integers(1, 5000, (grid.height // factor, grid.width // factor)).astype(np.uint16)
        for top, left in holes if band == "B11" else ():
            array[top // factor, left // factor] = 0
        written(folder / f"{product}_{band}.tif", [array], grid, BANDS[band].pixel_size)
    return folder


def s1_of(path, seed=0, gap=None, **where):
    grid, random = place(**where), np.random.default_rng(seed)
    arrays = [random.normal(BANDS[band].mean, 3, (grid.height, grid.width)).astype(np.float32) for band in S1_BANDS]
    if gap:
        arrays[1][gap] = np.nan
    return written(path, arrays, grid, names=S1_BANDS, nodata=np.nan)


def codes_of(path, value=311, **where):
    grid = place(**where)
    codes = np.full((grid.height, grid.width), value, np.uint16) if np.isscalar(value) else value
    return written(path, [codes], grid)


def pixels(path):
    with rasterio.open(path) as file:
        return file.read(1)


class Tree:
    """What was made, read back with rasterio, pyarrow and csv alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clear, self.flagged = (pq.read_table(root / name).to_pylist() for name in (CLEAR, FLAGGED))
        self.rows = {row["patch_id"]: row for row in self.clear + self.flagged}
        with (root / "dropped.csv").open() as log:
            self.dropped = {row["patch_id"]: row for row in csv.DictReader(log)}

    def path(self, name, band):
        row = self.rows[name]
        if band == "reference_map":
            return self.root / "Reference_Maps" / name[:-6] / name / f"{name}_reference_map.tif"
        if band in S1_BANDS:
            s1 = row["s1_name"]
            return self.root / "BigEarthNet-S1" / s1_scene(s1) / s1 / f"{s1}_{band}.tif"
        return self.root / "BigEarthNet-S2" / name[:-6] / name / f"{name}_{band}.tif"

    def read(self, name, band):
        return pixels(self.path(name, band))

    def contents(self):
        return {p.relative_to(self.root): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}


def run(s2, clc, out, **more):
    store, workers = more.pop("store", False), more.pop("workers", 1)
    made = make_set(Request(tuple(s2), clc, **more), out, store=store, workers=workers)
    return made if store else (made, Tree(out))


# --- a synthetic product against what was made of it ------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return synthesise_scene(tmp_path_factory.mktemp("scene") / "out", 600, seed=3)


@pytest.fixture(scope="module")
def clc(scene):
    """Polygons of the codes, as CLC has them: in EPSG:3035, text in Code_18, and none where there is no land cover."""
    with rasterio.open(scene.codes) as file:
        outlines = shapes(file.read(1).astype(np.int32), transform=file.transform)
        found = [(shapely.geometry.shape(outline), int(code)) for outline, code in outlines if code != 999]
    data = {"Code_18": [str(code) for _, code in found], "ID": [f"EU-{i}" for i in range(len(found))]}
    frame = gpd.GeoDataFrame(data, geometry=[polygon for polygon, _ in found], crs=scene.grid.epsg).to_crs(3035)
    path = scene.codes.parent / "clc.gpkg"
    frame.to_file(path, engine="pyogrio")
    return path


@pytest.fixture(scope="module")
def countries(scene):
    x, y = scene.grid.x_min, scene.grid.y_max
    west = shapely.box(x, y - 99999, x + 3600, y)
    frame = gpd.GeoDataFrame({"country": ["Ireland"]}, geometry=[west], crs=scene.grid.epsg)
    path = scene.codes.parent / "countries.gpkg"
    frame.to_crs(4326).to_file(path, engine="pyogrio")
    return path


@pytest.fixture(scope="module")
def made(scene, clc, countries, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "tree"
    return run([scene.product], clc, out, s1=(scene.s1,), countries=countries)


def cell(image, name, size):
    patch = PatchId.parse(name)
    return image[patch.row * size : (patch.row + 1) * size, patch.column * size : (patch.column + 1) * size]


def test_reference_maps_come_back_from_polygons_bit_for_bit(scene, made):
    codes, tree = pixels(scene.codes), made[1]
    assert len(tree.rows) == 23
    for name in tree.rows:
        assert np.array_equal(tree.read(name, "reference_map"), cell(codes, name, 120))
    assert len(np.unique(codes)) > 5


def test_bands_hold_the_values_of_the_product_without_its_offset(scene, made):
    for band in S2_BANDS:
        metres = BANDS[band].pixel_size
        (path,) = scene.product.rglob(f"R{metres}m/*_{band}_{metres}m.jp2")
        stored = pixels(path)
        for name in made[1].rows:
            own = cell(stored, name, BANDS[band].size)
            assert own.min() > 1000
            assert np.array_equal(made[1].read(name, band), own - 1000)


def test_patches_without_data_are_left_out_and_logged(scene, made):
    (path,) = scene.product.rglob("R60m/*_B01_60m.jp2")
    stored, (report, tree) = pixels(path), made
    empty = {f"{product_of(scene)}_{c:02d}_{r:02d}" for r in range(5) for c in range(5)
             if (stored[20 * r : 20 * r + 20, 20 * c : 20 * c + 20] == 0).any()}  # fmt: skip
    assert tree.dropped.keys() == empty
    assert len(empty) == 2
    assert {row["reason"] for row in tree.dropped.values()} == {NO_DATA}
    assert report.dropped == {NO_DATA: 2}
    assert len(tree.rows) == 23
    assert not tree.rows.keys() & empty


def product_of(scene):
    return "_".join(scene.product.name.split("_")[:6])


def test_labels_follow_the_reference_map(made):
    names = {c.index: c.name for c in CLASSES}
    for name, row in made[1].rows.items():
        present = {CLASS_OF_CODE[int(code)] for code in np.unique(made[1].read(name, "reference_map"))}
        assert row["labels"] == sorted(names[c] for c in present - {IGNORE_INDEX})


def test_names_split_and_country(scene, made):
    for name, row in made[1].rows.items():
        patch = PatchId.parse(name)
        assert name.startswith(f"{product_of(scene)}_")
        assert row["split"] == geographic_split(patch.column, patch.row)
        assert row["country"] == ("Ireland" if patch.column < 3 else "unknown")
        assert row["s2v1_name"] == f"{name[:26]}_{patch.column}_{patch.row}"
        scene_name = scene.s1.stem
        assert row["s1_name"] in ("", f"{scene_name}_{patch.tile}_{patch.column}_{patch.row}")
    assert Counter(row["country"] for row in made[1].rows.values())["unknown"] == 10


def test_sentinel_1_is_warped_onto_the_tile_and_paired_where_it_covers_a_patch(scene, made):
    report, tree = made
    rows, columns = np.mgrid[:600, :600]
    with rasterio.open(scene.s1) as file:
        to_s1 = pyproj.Transformer.from_crs(scene.grid.epsg, file.crs, always_xy=True)
        x, y = to_s1.transform(scene.grid.x_min + 10 * columns + 5, scene.grid.y_max - 10 * rows - 5)
        u, v = ~file.transform * (x, y)
        seen = [map_coordinates(image, (v - 0.5, u - 0.5), order=1, cval=np.nan) for image in file.read()]
    for name, row in tree.rows.items():
        for band, image in zip(S1_BANDS, seen, strict=True):
            own = cell(image, name, 120)
            if row["s1_name"]:
                values = tree.read(name, band)
                assert np.isfinite(values).all()
                assert np.nanmax(np.abs(values - own)) < 0.05
                assert np.isfinite(own).mean() > 0.9
            else:
                assert np.isnan(own).any()
    with_s1 = [row for row in tree.rows.values() if row["s1_name"]]
    assert report.with_s1 == len(with_s1) == 17


def test_sentinel_1_values_are_those_that_prediction_sees(scene, made):
    both = open_scene(scene.product, s1=scene.s1, needed=("B02", *S1_BANDS))
    with both.open() as reader:
        seen = reader.read(cells_of(both, product_of(scene)[-5:]).window(2), S1_BANDS)
    name = f"{product_of(scene)}_02_02"
    for band in S1_BANDS:
        assert np.array_equal(made[1].read(name, band), seen[band][:, 240:360])


def test_the_tree_holds_the_published_files_and_nothing_else(made):
    tree = made[1]
    expected = {tree.path(name, band) for name in tree.rows for band in (*S2_BANDS, "reference_map")}
    expected |= {tree.path(name, band) for name, row in tree.rows.items() if row["s1_name"] for band in S1_BANDS}
    expected |= {tree.root / name for name in (CLEAR, FLAGGED, "dropped.csv", "SYNTHETIC.json")}
    assert {path for path in tree.root.rglob("*") if path.is_file()} == expected
    assert [path.name for path in tree.root.parent.iterdir()] == ["tree"]


def test_files_are_like_the_real_ones(made, real):
    tree = made[1]
    name = next(name for name, row in tree.rows.items() if row["s1_name"])
    corner = PatchId.parse(name).georef
    for band in (*BANDS, "reference_map"):
        published = next((real / "reben-full-4").rglob(f"*_{band}.tif"))
        with rasterio.open(tree.path(name, band)) as own, rasterio.open(published) as other:
            for file in (own, other):
                file.where = (file.transform.c, file.transform.f, file.crs)  # the place apart
            mine, theirs = dict(own.profile), dict(other.profile)
            assert mine.pop("transform")[:2] == theirs.pop("transform")[:2]
            assert mine.pop("crs").to_epsg() == corner.epsg
            theirs.pop("crs")
            assert mine == theirs
            assert own.tags(ns="IMAGE_STRUCTURE") == other.tags(ns="IMAGE_STRUCTURE")
            assert (own.transform.c, own.transform.f) == (corner.x_min, corner.y_max)
        if band != "reference_map":
            assert tree.path(name, band).stat().st_size == published.stat().st_size
    for file in (CLEAR, FLAGGED):
        own, other = (pq.read_schema(root / file) for root in (tree.root, real / "official-metadata"))
        assert own.remove_metadata() == other.remove_metadata()


# --- the store --------------------------------------------------------------------------------------------------------


def test_the_store_equals_the_one_that_is_built_of_the_tree(scene, clc, countries, made, tmp_path):
    report = run([scene.product], clc, tmp_path / "store", s1=(scene.s1,), countries=countries, store=True)
    info = build_store(published_sources(made[1].root), tmp_path / "built", workers=1)
    assert report.fingerprint == info.fingerprint
    own, built = open_store(tmp_path / "store"), open_store(tmp_path / "built")
    assert replace(own.info, source={}) == replace(built.info, source={})
    assert own.index.to_table().equals(built.index.to_table())
    keys = list(own.patches.keys())
    assert keys == list(built.patches.keys())
    assert len(keys) == 23 + 23 + 17
    assert all(own.patches.raw(key) == built.patches.raw(key) for key in keys)
    assert own.info.synthetic
    assert {p.name for p in (tmp_path / "store").iterdir()} == {
        "data.mdb",
        "index.parquet",
        "offsets.parquet",
        "store.json",
        "dropped.csv",
    }
    assert (tmp_path / "store" / "dropped.csv").read_bytes() == (made[1].root / "dropped.csv").read_bytes()


@pytest.mark.parametrize("simulated", ["product", "stack", "codes", "s1"])
def test_simulated_inputs_say_so_wherever_they_lie(scene, tmp_path, simulated):
    moved = tmp_path / getattr(scene, simulated).name
    (shutil.copytree if simulated == "product" else shutil.copyfile)(getattr(scene, simulated), moved)
    s2, s1, clc = Path("real.SAFE"), (), Path("real.gpkg")
    asked = {"product": ((moved,), s1, clc), "stack": ((moved,), s1, clc), "codes": ((s2,), s1, moved),
             "s1": ((s2,), (moved,), clc)}[simulated]  # fmt: skip
    assert find_synthetic_mark((*asked[0], *asked[1], asked[2])) == {"synthetic": True, "source": moved.name}
    assert find_synthetic_mark((s2, clc)) is None


# --- several products -------------------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path):
    """Two dates of a tile, whose Sentinel-1 is shared, and a tile in another zone."""
    later, other = PRODUCT.replace("0613", "0702"), PRODUCT.replace("33UUP", "29UPU")
    s2 = [bands_of(tmp_path / f"in{i}", product, i) for i, product in enumerate((PRODUCT, later, other))]
    eve, day = (f"{S1_NAME}{LONG}.tif", f"{S1_NAME.replace('12T', '13T')}.tif")
    s1 = (s1_of(tmp_path / eve), s1_of(tmp_path / day, 1, product=other))
    boxes = [gpd.GeoSeries([shapely.box(*place(p).bounds)], crs=place(p).epsg).to_crs(3035) for p in (PRODUCT, other)]
    wider = [box.buffer(500).iloc[0] for box in boxes]
    data = gpd.GeoDataFrame({"code": [211, 312]}, geometry=wider, crs=3035)
    data.to_file(tmp_path / "clc.gpkg", engine="pyogrio")
    return s2, {"s1": s1, "column": "code", "clc": tmp_path / "clc.gpkg"}


def test_tiles_of_several_zones_and_dates(several, tmp_path):
    s2, more = several
    report, tree = run(s2, out=tmp_path / "tree", **more)
    assert report.tiles == {"33UUP": 32633, "29UPU": 32629}
    assert len(tree.rows) == 12
    for name, row in tree.rows.items():
        with rasterio.open(tree.path(name, "B02")) as file:
            assert file.crs.to_epsg() == report.tiles[PatchId.parse(name).tile]
        assert row["labels"] == [("Coniferous forest" if "29UPU" in name else "Arable land")]
        assert row["s1_name"].startswith(S1_NAME if "33UUP" in name else S1_NAME.replace("12T", "13T"))
    assert len({row["s1_name"] for row in tree.rows.values()}) == 8
    # No mark of a synthetic set lies beside these.
    assert not report.synthetic


@pytest.mark.parametrize("store", [False, True])
def test_processes_and_interruptions_change_nothing(several, tmp_path, monkeypatch, store):
    s2, more = several
    whole, parallel, broken = (tmp_path / name / "set" for name in ("whole", "parallel", "broken"))
    for out in (whole, parallel, broken):
        out.parent.mkdir()
    run(s2, out=whole, store=store, **more)
    run(s2, out=parallel, store=store, workers=2, **more)
    cut_strips, begun = cut_product.cut_strips, []

    def watched(job, codes):
        begun.append(job.product)
        for strip in cut_strips(job, codes):
            yield strip
            if len(begun) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(cut_product, "cut_strips", watched)
    with pytest.raises(KeyboardInterrupt) as interrupted:
        run(s2, out=broken, store=store, **more)
    assert "the same command goes on from there" in interrupted.value.__notes__[0]
    assert not broken.exists()
    with pytest.raises(ValueError, match="unfinished build with other settings"):
        run(s2[:2], out=broken, store=store, clc=more["clc"], column="code")
    run(s2, out=broken, store=store, **more)
    # The first product was finished, so it is not cut again.
    first, second, third = sorted(set(begun))
    assert begun == [first, second, second, third]
    for out in (parallel, broken):
        assert [path.name for path in out.parent.iterdir()] == ["set"]
        if store:
            one, two = open_store(whole), open_store(out)
            assert one.info == two.info
            keys = list(one.patches.keys())
            assert keys == list(two.patches.keys())
            assert len(keys) == 12 * 2 + 8
            assert all(one.patches.raw(key) == two.patches.raw(key) for key in keys)
        else:
            assert Tree(out).contents() == Tree(whole).contents()


def test_a_store_of_several_products_is_that_of_their_tree(several, tmp_path):
    s2, more = several
    run(s2, out=tmp_path / "tree", **more)
    report = run(s2, out=tmp_path / "store", store=True, **more)
    assert (
        report.fingerprint == build_store(published_sources(tmp_path / "tree"), tmp_path / "b", workers=1).fingerprint
    )


# --- what is left out, and pairing ------------------------------------------------------------------------------------


def test_a_quarter_without_label_is_too_much(tmp_path):
    codes = np.full((120, 360), 311, np.uint16)
    codes[:30, :60], codes[30:60, :60] = 999, 142  # a quarter of the first patch, in two codes
    codes[:30, 120:180], codes[30:60, 120:180] = 999, 142
    codes[0, 120] = 311  # and a pixel less than a quarter of the second
    s2 = [bands_of(tmp_path / "in", columns=3, rows=1)]
    report, tree = run(s2, codes_of(tmp_path / "clc.tif", codes, columns=3, rows=1), tmp_path / "out")
    assert [name[-5:] for name in tree.rows] == ["01_00", "02_00"]
    assert {name[-5:]: (row["reason"], float(row["unlabelled"])) for name, row in tree.dropped.items()} == {
        "00_00": (UNLABELLED, 0.25)
    }
    assert report.dropped == {UNLABELLED: 1}


def test_one_pixel_without_data_in_one_band_leaves_a_patch_out(tmp_path):
    s2 = [bands_of(tmp_path / "in", holes=[(119, 239)])]
    _, tree = run(s2, codes_of(tmp_path / "clc.tif"), tmp_path / "out")
    assert [name[-5:] for name in tree.dropped] == ["01_00"]


def test_no_pixel_that_is_masked_or_filled_enters_a_patch(tmp_path):
    """A mask beside a file, an alpha band, fills that are not declared, and bright or clipped data that stay."""
    folder, grid = bands_of(tmp_path / "s2", columns=3, rows=2), place(columns=3, rows=2)
    files = {band: folder / f"{PRODUCT}_{band}.tif" for band in S2_BANDS}
    stored = {band: pixels(path) for band, path in files.items()}
    held = np.ones(stored["B05"].shape, bool)
    held[10, 10] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(files["B05"], "r+") as file:
        file.write_mask(held)
    opaque = np.full((240, 360), 65535, np.uint16)
    opaque[20:25, 130] = 0
    written(files["B02"], [stored["B02"], opaque], grid, alpha="yes")
    stored["B08"][:100, 250:] = 65535
    written(files["B08"], [stored["B08"]], grid)
    signed = stored["B09"].astype(np.int16)
    signed[30, 50] = -9999
    written(files["B09"], [signed], grid, 60)
    stored["B11"][60:, :60] = 10_000
    written(files["B11"], [stored["B11"]], grid, 20)
    s1 = s1_of(tmp_path / f"{S1_NAME}.tif", columns=3, rows=2)
    with rasterio.open(s1, "r+") as file:
        radar = file.read()
        radar[1, 130:150, 130:240] = -9999
        file.write(radar)
    made, tree = run([folder], codes_of(tmp_path / "clc.tif", columns=3, rows=2), tmp_path / "out", s1=(s1,))
    assert {name[-5:]: row["reason"] for name, row in tree.dropped.items()} == dict.fromkeys(
        ("00_00", "01_00", "02_00", "02_01"), NO_DATA
    )
    assert {name[-5:]: bool(row["s1_name"]) for name, row in tree.rows.items()} == {"00_01": True, "01_01": False}
    for band in S2_BANDS:
        size = BANDS[band].size
        own = tree.read(f"{PRODUCT}_00_01", band)
        assert np.array_equal(own, stored[band][size : 2 * size, :size])
    assert tree.read(f"{PRODUCT}_00_01", "VV").min() > -40
    for value in ("65535", "-9999"):
        assert any(f": {value}, which is not declared as nodata" in remark for remark in made.remarks)


@pytest.mark.parametrize("value", [1, 999, 10_000])
def test_no_constant_of_all_bands_enters_a_patch(tmp_path, value):
    folder, grid = bands_of(tmp_path / "s2", columns=2, rows=2), place(columns=2, rows=2)
    for band in S2_BANDS:
        path, factor = folder / f"{PRODUCT}_{band}.tif", BANDS[band].pixel_size // 10
        held = pixels(path)
        held[: 120 // factor, : 72 // factor] = value
        written(path, [held], grid, BANDS[band].pixel_size)
    made, tree = run([folder], codes_of(tmp_path / "clc.tif"), tmp_path / "out")
    assert tree.dropped[f"{PRODUCT}_00_00"]["reason"] == NO_DATA
    assert f"{PRODUCT}_01_01" in tree.rows
    assert any(f": {value}, which is not declared as nodata" in remark for remark in made.remarks)


@pytest.mark.parametrize("store", [False, True])
def test_what_strips_alone_show_is_said(tmp_path, monkeypatch, store):
    folder = bands_of(tmp_path / "s2", columns=2, rows=1)
    file = folder / f"{PRODUCT}_B05.tif"
    values = pixels(file).astype(np.float32)
    values[3, 7:9] = 1e20
    written(file, [values], place(columns=2, rows=1), 20)
    monkeypatch.setattr(looked, "without_fills", lambda seen, product=False: ([one.layer for one in seen], []))
    made = run([folder], codes_of(tmp_path / "clc.tif", columns=2, rows=1), tmp_path / "out", store=store)
    made = made if store else made[0]
    assert made.dropped == {NO_DATA: 1}
    (remark,) = made.remarks[1:]
    assert remark == (
        "Pixels of s2 were left out because their values cannot be measured, though nothing declares them as "
        "nodata: B05 2 (0.028 %), such as 1.00000002e+20."
    )


def test_sentinel_1_that_is_nearest_in_time_and_covers_the_patch(tmp_path):
    s2 = [bands_of(tmp_path / "in", columns=3, rows=1)]
    # 13 June: a gap in the first patch; 10 June: the first two patches; the third has none.
    near = s1_of(tmp_path / f"{S1_NAME.replace('12T', '13T')}.tif", 1, columns=2, rows=1, gap=(5, 5))
    far = s1_of(tmp_path / f"{S1_NAME.replace('12T', '10T')}.tif", 2, columns=2, rows=1)
    clc = codes_of(tmp_path / "clc.tif", columns=3, rows=1)
    report, tree = run(s2, clc, tmp_path / "out", s1=(far, near))
    assert [row["s1_name"][17:25] for row in tree.rows.values()] == ["20170610", "20170613", ""]
    assert report.with_s1 == 2
    with rasterio.open(far) as file:
        first, *_ = tree.rows
        # The same grid, so nothing is interpolated but for the rows and columns at the edge.
        assert np.allclose(tree.read(first, "VH"), file.read(2)[:, :120], atol=1e-4)
    _, required = run(s2, clc, tmp_path / "required", s1=(far, near), require_s1=True)
    assert [row["reason"] for row in required.dropped.values()] == [NO_S1]
    assert required.rows.keys() == {name for name, row in tree.rows.items() if row["s1_name"]}


def test_each_polarisation_in_a_file_of_its_own(tmp_path):
    s2, clc = [bands_of(tmp_path / "in")], codes_of(tmp_path / "clc.tif")
    both = s1_of(tmp_path / f"{S1_NAME}.tif")
    with rasterio.open(both) as file:
        apart = tuple(
            written(tmp_path / f"{S1_NAME}_{band}.tif", [file.read(i)], place(), nodata=np.nan)
            for i, band in enumerate(S1_BANDS, 1)
        )
    _, first = run(s2, clc, tmp_path / "a", s1=(both,))
    _, second = run(s2, clc, tmp_path / "b", s1=apart)
    assert first.contents() == second.contents()


def test_a_part_of_a_tile_in_its_middle(tmp_path):
    where = {"column": 30, "row": 40, "columns": 2, "rows": 1}
    s2 = [bands_of(tmp_path / "in", **where)]
    _, tree = run(s2, codes_of(tmp_path / "clc.tif", **where), tmp_path / "out")
    assert [(name[-5:], row["split"]) for name, row in tree.rows.items()] == [("30_40", "test"), ("31_40", "test")]
    for i, name in enumerate(tree.rows):
        whole = pixels(tmp_path / "in" / f"{PRODUCT}_B05.tif")
        assert np.array_equal(tree.read(name, "B05"), whole[:, 60 * i : 60 * i + 60])


def test_bands_finer_than_those_of_reben_are_averaged(tmp_path):
    grid, random = place(columns=1, rows=1), np.random.default_rng(0)
    arrays = [random.integers(1, 15000, (120, 120)).astype(np.uint16) for _ in S2_BANDS]
    stack = written(tmp_path / "mine.tif", arrays, grid)
    clc = codes_of(tmp_path / "clc.tif")
    _, tree = run([stack], clc, tmp_path / "out", bands=S2_BANDS, product=f"{PRODUCT}_20170613T235959.SAFE")
    (name,) = tree.rows
    for band, array in zip(S2_BANDS, arrays, strict=True):
        size = BANDS[band].size
        means = array.reshape(size, 120 // size, size, 120 // size).astype(float).mean(axis=(1, 3))
        assert np.abs(tree.read(name, band) - means).max() <= 0.5


def test_snow_and_cloud_by_the_scene_classification(scene, tmp_path):
    product = tmp_path / scene.product.name
    shutil.copytree(scene.product, product)
    (near,) = product.rglob("R20m/*_B05_20m.jp2")
    classes = np.full((300, 300), 4, np.uint8)
    classes[:7, 60:120] = 11  # more than a tenth of the second patch of the first row is snow
    classes[:6, 120:180] = 11  # exactly a tenth of the third
    classes[7:60, 60:120] = 9  # the second is cloudy too
    classes[:3, 180:240], classes[3:7, 180:240] = 3, 8
    classes[:60, 240:300] = 10  # cirrus
    with rasterio.open(near) as file:
        options = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "crs": file.crs}
        with rasterio.open(near.with_name(near.name.replace("B05", "SCL")), "w", height=300, width=300, count=1,
                           dtype="uint8", transform=file.transform, **options) as scl:  # fmt: skip
            scl.write(classes, 1)
    _, tree = run([product], scene.codes, tmp_path / "out")
    columns = ("contains_seasonal_snow", "contains_cloud_or_shadow")
    flags = {name[-5:]: tuple(row[column] for column in columns) for name, row in tree.rows.items()}
    assert {name: both for name, both in flags.items() if any(both)} == {"01_00": (True, False), "03_00": (False, True)}
    assert [row["patch_id"][-5:] for row in tree.flagged] == ["01_00", "03_00"]
    _, clear = run([product], scene.codes, tmp_path / "clear", cloud_mask=True)
    clouded = {name[-5:] for name, row in clear.dropped.items() if row["reason"] == CLOUDED}
    assert clouded == {"01_00", "03_00"}
    assert {*clear.rows} == {name for name in tree.rows if name[-5:] not in clouded}


def test_products_of_a_catalogue_make_the_same_set(scene, tmp_path):
    write_item(scene.product, tmp_path / "catalogue", "planetary-computer")
    with served(tmp_path / "catalogue") as server:
        asked = request([f"{server.url}/item.json"], scene.codes)
        made = make_set(asked, tmp_path / "elsewhere", workers=1)
    assert made.tiles == {scene.product.name.split("_")[5][1:]: scene.grid.epsg}
    _, here = run([scene.product], scene.codes, tmp_path / "here")
    there = Tree(tmp_path / "elsewhere")
    assert {*there.rows} == {*here.rows}
    for name in here.rows:
        for band in ("B02", "B05", "B09", "reference_map"):
            np.testing.assert_array_equal(there.read(name, band), here.read(name, band))


def test_the_whole_grid_of_a_tile():
    scene = open_like(place(columns=91, rows=91), width=10980, height=10980)
    cells = cells_of(scene, "33UUP")
    assert (cells.left, cells.top, cells.columns, cells.rows) == (0, 0, 91, 91)
    shifted = replace(scene, grid=GeoRef(32633, scene.grid.x_min + 660, scene.grid.y_max - 1260, 10.0, 400, 300))
    cells = cells_of(shifted, "33UUP")
    assert (cells.left, cells.top, cells.columns, cells.rows, cells.skip_x, cells.skip_y) == (1, 2, 2, 1, 54, 114)
    assert cells.window(0).left % 6 == 0
    wider = replace(scene, grid=GeoRef(32633, scene.grid.x_min - 120, scene.grid.y_max + 120, 10.0, 11400, 11400))
    assert (cells_of(wider, "33UUP").columns, cells_of(wider, "33UUP").skip_x) == (91, 12)


def open_like(grid, width, height):
    from seg.scenes.reader import Scene

    return Scene("scene", replace(grid, width=width, height=height), S2_BANDS, {"B01": 6, "B02": 1}, "", None, {})


@pytest.mark.parametrize(
    ("tile", "move", "said"),
    [("32UQU", (0, 0), "lies in EPSG:32633 .*, but the tile 32UQU in EPSG:32632"),
     ("33UUP", (30, 0), "not on the 60 m grid of the tile 33UUP"), ("33UUP", (0, 7), "not on the 60 m grid"),
     ("33UUP", (0, 1), "not on the 60 m grid"), ("33UVP", (0, 0), "no whole patch of the tile 33UVP")],
)  # fmt: skip
def test_scenes_that_are_not_on_their_tile(tile, move, said):
    grid = place(columns=2, rows=2)
    grid = replace(grid, x_min=grid.x_min + move[0], y_max=grid.y_max - move[1])
    with pytest.raises(SceneError, match=said):
        cells_of(open_like(grid, 240, 240), tile)


# --- bad input --------------------------------------------------------------------------------------------------------


def refused(s2, clc, tmp_path, error, said, **more):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=said):
        run(s2, clc, tmp_path / "out", **more)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_product_twice(tmp_path):
    again = PRODUCT.replace("N0205", "N0500")
    s2 = [bands_of(tmp_path / "a"), bands_of(tmp_path / "b", again)]
    said = f"{tmp_path / 'a'} and {tmp_path / 'b'} are both of the tile 33UUP on 2017-06-13; give one of them"
    refused(s2, codes_of(tmp_path / "clc.tif"), tmp_path, WrongUseError, said)
    with pytest.raises(WrongUseError, match="is given twice"):
        check_make(Request((s2[0], s2[0]), tmp_path / "clc.tif"))


@pytest.mark.parametrize("value", [999, 142])
@pytest.mark.parametrize("store", [False, True])
def test_a_tile_without_any_label(tmp_path, value, store):
    said = "has no class anywhere on the tile 33UUP"
    s2 = [bands_of(tmp_path / "in")]
    refused(s2, codes_of(tmp_path / "clc.tif", value), tmp_path, LandCoverError, said, store=store)


def test_nothing_left(tmp_path):
    s2 = [bands_of(tmp_path / "in", columns=1, rows=1, holes=[(0, 0)])]
    said = r"no patch is left of 1 \(pixels without data: 1\)"
    refused(s2, codes_of(tmp_path / "clc.tif"), tmp_path, BuildError, said)


def test_land_cover_of_another_place(tmp_path):
    clc = codes_of(tmp_path / "clc.tif", column=50)
    refused([bands_of(tmp_path / "in")], clc, tmp_path, LandCoverError, "does not overlap the tile 33UUP")


def test_files_that_name_no_product(tmp_path):
    folder = bands_of(tmp_path / "in")
    for file in folder.iterdir():
        file.rename(folder / file.name.removeprefix(f"{PRODUCT}_"))
    clc = codes_of(tmp_path / "clc.tif")
    refused(
        [folder], clc, tmp_path, WrongUseError, "nothing in .* names its Sentinel-2 product.*--product, such as S2A_"
    )
    _, tree = run([folder], clc, tmp_path / "out", product=PRODUCT)
    assert {name[:-6] for name in tree.rows} == {PRODUCT}


def test_a_product_that_lacks_a_band(tmp_path):
    s2, clc = [bands_of(tmp_path / "in")], codes_of(tmp_path / "clc.tif")
    next(s2[0].glob("*_B05.tif")).unlink()
    refused(s2, clc, tmp_path, BandMissingError, r"has no file for B05 .*_B05.tif$")


def test_sentinel_1_that_is_of_no_use(tmp_path):
    s2, clc = [bands_of(tmp_path / "in")], codes_of(tmp_path / "clc.tif")
    nameless = s1_of(tmp_path / "s1.tif")
    refused(s2, clc, tmp_path, WrongUseError, "does not name its Sentinel-1 scene", s1=(nameless,))
    elsewhere = s1_of(tmp_path / f"{S1_NAME}.tif", column=50)
    refused(s2, clc, tmp_path, SceneError, "overlaps none of the products", s1=(elsewhere,))
    late = S1_NAME.replace("20170612", "20170712")
    half = written(tmp_path / f"{late}.tif", [np.full((240, 240), -12, np.float32)], place(), names=("VV",))
    refused(s2, clc, tmp_path, SceneError, f"{late}.tif does not hold VV and VH; give a raster with both", s1=(half,))


def test_sentinel_1_of_another_month_is_told(tmp_path):
    s2, clc = [bands_of(tmp_path / "in")], codes_of(tmp_path / "clc.tif")
    said = []
    late = S1_NAME.replace("20170612", "20170712")
    for name in (S1_NAME, late):
        asked = request(s2, clc, s1=[s1_of(tmp_path / f"{name}.tif")])
        make(asked, tmp_path / f"with-{name}", notify=said.append)
    assert [one for one in said if "days from" in one] == [
        f"{late} was taken 29 days from {PRODUCT}, whose patches it is paired with."
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [({"s2": ()}, "at least one"), ({"product": "x"}, "'x' is no name of a Sentinel-2"),
     ({"s2": (Path("a"), Path("b")), "product": PRODUCT}, "for a single --s2"),
     ({"require_s1": True}, "no --s1 is given"), ({"country_column": "x"}, "is a column of --countries")],
)  # fmt: skip
def test_requests_that_make_no_sense(more, said):
    with pytest.raises(WrongUseError, match=said):
        check_make(Request(**({"s2": (Path("a"),), "clc": Path("b")} | more)))


def test_a_column_of_a_raster(tmp_path):
    clc = codes_of(tmp_path / "clc.tif")
    refused([bands_of(tmp_path / "in")], clc, tmp_path, WrongUseError, "is a raster; --column", column="x")


def test_a_damaged_band_shows_and_leaves_nothing(tmp_path):
    s2 = bands_of(tmp_path / "in")
    file = s2 / f"{PRODUCT}_B03.tif"
    file.write_bytes(file.read_bytes()[:60_000])
    refused([s2], codes_of(tmp_path / "clc.tif"), tmp_path, SceneError, "B03.tif cannot be read")


# --- the command ------------------------------------------------------------------------------------------------------


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["seg", "data", "make", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0


def test_the_command_takes_several_products_in_a_row(several, tmp_path, monkeypatch, capfd):
    s2, more = several
    arguments = ("--s2", *s2, "--s1", *more["s1"], "--clc", more["clc"], "--column", "code", "--workers", 1)
    assert command(monkeypatch, *arguments, tmp_path / "tree") == 0
    out, err = capfd.readouterr()
    assert f"{tmp_path / 'tree'}: 12 patches of 2 tiles, 12 with Sentinel-1: 12 train" in out
    assert f"seg data build --s2 {tmp_path / 'tree'}/BigEarthNet-S2 --s1" in out
    assert "EPSG:32629, EPSG:32633" in err
    assert "No patch is in validation or test" in err
    assert len(Tree(tmp_path / "tree").rows) == 12
    assert command(monkeypatch, *arguments, tmp_path / "tree") == 2
    assert "is there already; choose another folder" in capfd.readouterr().err
    assert command(monkeypatch, *arguments, "--store", tmp_path / "store") == 0
    assert f"Fingerprint {open_store(tmp_path / 'store').info.fingerprint}" in capfd.readouterr().out


def test_the_command_ends_with_1_where_a_file_is_wrong_and_2_where_its_use_is(tmp_path, monkeypatch, capfd):
    s2, clc = bands_of(tmp_path / "in"), codes_of(tmp_path / "clc.tif", 999)
    assert command(monkeypatch, "--clc", clc, tmp_path / "out", "--s2", s2) == 1
    assert command(monkeypatch, "--clc", clc, "--s2", s2, tmp_path / "out", "--require-s1") == 2
    assert command(monkeypatch, "--clc", clc, tmp_path / "out") == 2
    assert "Traceback" not in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clc.tif", "in"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--s2 a b c --clc f o", "--s2 a --s2 b --s2 c --clc f o"), ("--s2 a --clc f o", "--s2 a --clc f o"),
     ("--clc f --s2 a b o", "--clc f --s2 a --s2 b o"), ("o --clc f --s2 a b", "o --clc f --s2 a --s2 b"),
     ("--clc f --s2 a --store o", "--clc f --s2 a --store o"), ("--s2 a b --s1 c d --clc f o",
     "--s2 a --s2 b --s1 c --s1 d --clc f o"), ("--clc f --s2 a --s2 b o", "--clc f --s2 a --s2 b o"),
     ("--s1 c d --clc f --s2 a o", "--s1 c --s1 d --clc f --s2 a o"), ("--clc f --s2 a", "--clc f --s2 a")],
)  # fmt: skip
def test_options_that_take_several_values(typed, meant):
    assert spread(typed.split(), {"--s2", "--s1", "--clc"}) == meant.split()


def test_what_is_told(several, tmp_path):
    s2, more = several
    told = []
    bow = shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)])
    data = gpd.read_file(more["clc"], engine="pyogrio")
    middle = data.geometry.iloc[0].centroid
    data.loc[2] = [112, shapely.affinity.translate(bow, middle.x, middle.y)]
    data.to_file(tmp_path / "bow.gpkg", engine="pyogrio")
    asked = request(s2[:1], tmp_path / "bow.gpkg", column="code", s1=[more["s1"][0]])
    make(asked, tmp_path / "out", notify=told.append)
    assert told[0] == "1 invalid polygon was repaired."
    assert told[1].startswith("No patch is in validation or test, by the published rule: other parts of the tiles")
    ((_, *command),) = printed(told[1])
    command = [str(tmp_path / "new.parquet") if word == "NEW.parquet" else word for word in command]
    code, said = run_seg(*["random" if word == "block" else word for word in command])
    assert code == 0, said
    assert len(set(pq.read_table(tmp_path / "new.parquet")["split"].to_pylist())) == 3
    assert not (tmp_path / "out" / "SYNTHETIC.json").exists()


def test_what_is_to_be_said_of_products_is_passed_on(monkeypatch, tmp_path):
    said = []
    made = Made(
        tmp_path, {"train": 1, "validation": 1, "test": 1}, {}, 1, {}, None, None, False, ("It has an offset.",)
    )
    monkeypatch.setattr("seg.pipeline.make.make_set", lambda *_, **__: made)
    assert make(SimpleNamespace(s1=()), tmp_path, notify=said.append) == made
    assert said == ["It has an offset."]
