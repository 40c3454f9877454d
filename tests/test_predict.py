"""``seg predict`` from files to files: maps, restarts, several processes, parts, labels, areas and what goes wrong."""

import csv
import hashlib
import json
import re
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import forks
import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
from catalogues import api_of, write_item
from quick import quick_evaluate, quick_run
from range_server import served
from rasterio.transform import Affine, xy
from rasterio.warp import transform_bounds
from shapely.geometry import Point, box
from web_pages import about, whole

import seg
from seg.catalogue.search import Search
from seg.cli.main import main
from seg.engine.distributed import Ranks
from seg.errors import ForeignFileError, MapError, SceneError, SegError, WrongUseError
from seg.inference.windows import lay_axis
from seg.maps import elsewhere, mapping, parts
from seg.maps import scene_map as map_files
from seg.maps.map_files import joint_files
from seg.maps.part import read_box
from seg.maps.targets import map_targets
from seg.metrics.area import adjusted_areas
from seg.metrics.evidence import total_counts
from seg.metrics.evidence_file import load_evidence
from seg.models.checkpoint import read_checkpoint
from seg.pipeline.areas import map_areas
from seg.pipeline.predict import predict
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import GeoRef
from seg.scenes import units as looked
from seg.store import written
from seg.synthetic.scene import synthesise_scene
from seg.synthetic.tree import synthesise

pytestmark = pytest.mark.usefixtures("one_thread")
USED = ("B02", "B03", "B04", "B05", "B09")
SIZE = 480
SMALL = {"window": 160, "overlap": 64}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def run(place):
    """A run that has been trained for a moment, and scored."""
    synthesise(place / "reben", patches=24)
    build_store(published_sources(place / "reben"), place / "store")
    settings = {"model__encoder": "tu-test_efficientnet", "data__bands": ",".join(USED)}
    run = quick_run(place / "run", place / "store", train__batch_size=4, train__precision="float32", **settings)
    quick_evaluate(run)
    return run


@pytest.fixture(scope="module")
def scene(place):
    return synthesise_scene(place / "scene", SIZE, seed=1)


@pytest.fixture(scope="module")
def mapped(run, scene, place):
    """A map with everything that belongs to it."""
    extras = {"probabilities": True, "web": True, "labels": True, "areas": True, "quicklook": True}
    (one,) = predict(run, [scene.product], place / "map.tif", **SMALL, **extras)
    return one


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("map*.tif"))}


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read().squeeze()


def test_a_map_lies_where_the_scene_does_and_says_what_it_is(mapped, scene, run, place):
    with rasterio.open(mapped.path) as dataset:
        assert dataset.crs.to_epsg() == scene.grid.epsg
        assert dataset.transform[:6] == (10, 0, scene.grid.x_min, 0, -10, scene.grid.y_max)
        assert dataset.shape == (SIZE, SIZE)
        assert (dataset.nodata, dataset.count, dataset.dtypes) == (255, 1, ("uint8",))
        tags = dataset.tags()
        classes = dataset.read(1)
    assert tags["SYNTHETIC"] == "YES"
    assert tags["MODEL"] == "linknet tu-test_efficientnet"
    assert tags["SCENE"] in scene.product.name
    with rasterio.open(scene.stack) as stack:
        no_data = (stack.read() == 0).all(0)
    assert 0 < no_data.mean() < 0.5
    np.testing.assert_array_equal(classes == 255, no_data)
    assert mapped.nodata == pytest.approx(no_data.mean())
    expected = {"map.tif", "map.qml", "map.png", "map_probabilities.tif", "map_confidence.tif", "map_labels.parquet"}
    styles = {f"map{layer}.{kind}" for layer in ("", "_probabilities", "_confidence") for kind in ("qml", "sld")}
    styles |= {"map.tif.aux.xml"}
    areas = {"map_areas.csv", "map_areas.csvt", "map_areas.md"}
    assert {path.name for path in mapped.files} == expected | styles | areas | {"index.html"}
    assert all(path.is_file() for path in mapped.files)
    assert {path for path in place.glob("map*") if path.is_file()} <= set(mapped.files)
    assert not list(place.glob("*.unfinished"))
    assert "480 x 480 pixels in 25 windows" in mapped.summary
    assert len(np.unique(classes)) > 2


def test_the_page_of_a_map_shows_it_and_goes_with_it(mapped, scene, run, place, tmp_path):
    page = place / "map_web" / "index.html"
    assert page in mapped.files
    np.testing.assert_array_equal(whole(page, "map"), read(mapped.path))
    assert np.abs(whole(page, "confidence").astype(int) - read(place / "map_confidence.tif")[0]).max() <= 2
    assert set(about(page)["tiles"]["layers"]) == {"map", "confidence", "picture"}
    text = page.read_text("utf-8")
    assert "<title>SYNTHETIC – S2" in text
    assert f"{mapped.hectares_K.sum():,.1f}" in text
    for name in (".seg-written.jsonl", *(path.name for path in place.glob("map*") if path.is_file())):
        shutil.copy2(place / name, tmp_path)
    shutil.copytree(page.parent, tmp_path / "map_web")
    said: list[str] = []
    extras = {"probabilities": True, "confidence": True, "labels": True, "areas": True, "quicklook": True}
    predict(run, [scene.product], tmp_path / "map.tif", **SMALL, **extras, notify=said.append)
    assert not (tmp_path / "map_web").exists()
    assert "Removed map_web, which belonged to the earlier map.tif." in said


def test_windows_are_not_seen_in_the_map(run, scene, tmp_path):
    """Against the scene as a whole: few other pixels, and no more of them where windows meet."""
    whole, tiled = (
        predict(run, [scene.product], tmp_path / f"{window}.tif", window=window, overlap=128, probabilities=True)[0]
        for window in (SIZE, 288)
    )
    assert (whole.windows, tiled.windows) == (1, 9)
    differs = (read(whole.path) != read(tiled.path))[32:-32, 32:-32]
    assert differs.mean() <= 0.005
    shares, of_windows = (read(path.path.with_name(f"{path.path.stem}_probabilities.tif")) for path in (whole, tiled))
    error = np.abs(shares.astype(float) - of_windows).mean(0)
    starts = lay_axis(SIZE, 288, 128, 32)
    seam = np.zeros(SIZE, bool)
    for number in (1, 2):
        seam[starts.begin(number) - 8 : starts.begin(number) + starts.ramp + 8] = True
    inner = np.zeros_like(seam)
    inner[32:-32] = True
    at_seams = error[np.ix_(seam, inner)].mean()
    elsewhere = error[np.ix_(~seam & inner, ~seam & inner)].mean()
    assert at_seams <= 2 * elsewhere + 0.1
    # Steps from a pixel to the next are no larger at the seams than they are in the whole map.
    steps = [np.abs(np.diff(maps.astype(float), axis=1)).mean((0, 2)) for maps in (shares, of_windows)]
    assert np.abs(steps[1] - steps[0])[32:-32].max() <= 0.1 * steps[0][32:-32].mean() + 0.02


def test_probabilities_confidence_and_classes_agree(mapped, place):
    classes, shares = read(mapped.path), read(place / "map_probabilities.tif")
    confidence, entropy = read(place / "map_confidence.tif")
    there = classes != 255
    np.testing.assert_array_equal(shares[:, there].max(0), confidence[there])
    chosen = np.take_along_axis(shares, np.where(there, classes, 0)[None], 0)[0]
    np.testing.assert_array_equal(chosen[there], confidence[there])
    assert (shares[:, ~there] == 255).all()
    p = shares[:, there] / 250.0
    exact = -(p * np.log(np.where(p > 0, p, 1))).sum(0) / np.log(NUM_CLASSES) * 250
    assert np.abs(exact - entropy[there]).max() < 12
    with rasterio.open(place / "map_confidence.tif") as dataset:
        assert dataset.descriptions == ("confidence", "entropy / ln 19")
    with rasterio.open(place / "map_probabilities.tif") as dataset:
        assert dataset.descriptions == CLASS_NAMES
        assert dataset.scales[0] == pytest.approx(1 / 250)


def test_areas_are_those_of_the_map_and_of_the_evidence(mapped, run, place):
    with rasterio.open(mapped.path) as dataset:
        classes = dataset.read(1).ravel()
        rows, columns = (each.ravel() for each in np.indices(dataset.shape))
        projection = pyproj.Proj(dataset.crs.to_epsg())
        degrees = projection(*(np.array(each) for each in xy(dataset.transform, rows, columns)), inverse=True)
    on_the_ground = 0.01 / projection.get_factors(*degrees).areal_scale
    hectares = np.bincount(classes, on_the_ground, minlength=256)[:NUM_CLASSES]
    np.testing.assert_allclose(mapped.hectares_K, hectares, rtol=1e-5)
    assert abs(hectares.sum() / (np.sum(classes < NUM_CLASSES) / 100) - 1) > 1e-4
    hectares = mapped.hectares_K
    with (place / "map_areas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(CLASS_NAMES)
    # To the square metre.
    np.testing.assert_allclose([float(row["mapped_ha"]) for row in rows], hectares, atol=1e-4)
    counts = total_counts(load_evidence(run / "eval" / "test" / "evidence"))
    expected, there = adjusted_areas(hectares, counts), counts.sum(1) > 0
    for key, values in (("adjusted_ha", expected.area_K), ("adjusted_se_ha", expected.error_K)):
        found = np.array([float(row[key] or "nan") for row in rows])
        np.testing.assert_allclose(found[there], values[there], atol=1e-4)
    assert sum(expected.area_K) == pytest.approx(hectares.sum())
    assert "SYNTHETIC" in (place / "map_areas.md").read_text()


def halves(path: Path, grid: GeoRef, **columns: list[str]) -> Path:
    """Two zones that share out a map and reach 1 km beyond it in the east and west, in degrees."""
    west, south, east, north = grid.bounds
    middle = (west + east) / 2
    shapes = [box(west - 1000, south, middle, north), box(middle, south, east + 1000, north)]
    zones = geopandas.GeoDataFrame({"name": ["west", "east"], **columns}, geometry=shapes, crs=grid.epsg)
    zones.to_crs(4326).to_file(path)
    return path


def test_areas_within_zones_are_those_of_seg_areas(mapped, run, scene, tmp_path):
    zones = halves(tmp_path / "zones.gpkg", scene.grid, code=["W", "E"])
    said = []
    extras = {"zones": zones, "zone_column": "code", "stac": True, "notify": said.append}
    (one,) = predict(run, [scene.product], tmp_path / "map.tif", **SMALL, **extras)
    assert [path.name for path in one.files if "zones" in path.name] == [
        f"map_zones.{kind}" for kind in ("csv", "csvt", "md")
    ]
    told = []
    map_areas(one.path, out=tmp_path / "again.csv", zones=zones, zone_column="code", run=run, notify=told.append)
    for kind in ("csv", "csvt", "md"):
        assert (tmp_path / f"map_zones.{kind}").read_text() == (tmp_path / f"again.{kind}").read_text()
    assert told
    assert set(told) <= set(said)
    with (tmp_path / "map_zones.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["mapped_ha"]) for row in rows) == pytest.approx(one.hectares_K.sum(), rel=1e-3)
    assert {"zones", "zones-text"} <= json.loads((tmp_path / "map.json").read_text())["assets"].keys()
    # They go with the map, like everything else that is not asked for again.
    predict(run, [scene.product], tmp_path / "map.tif", **SMALL, notify=said.append)
    assert not list(tmp_path.glob("map_zones*"))
    assert any("map_zones.csv" in one for one in said)


def test_zones_that_do_not_fit_are_told_before_anything_is_made(run, scene, tmp_path):
    elsewhere = replace(scene.grid, x_min=scene.grid.x_min + 100_000)
    far = halves(tmp_path / "far.gpkg", elsewhere)
    for zones, column, error in (
        (far, None, "no polygon of .*far.gpkg lies on .*map.tif"),
        (far, "missing", "has no column 'missing'"),
        (tmp_path / "nowhere.gpkg", None, "nowhere.gpkg does not exist"),
        (None, "name", "give that with --zones"),
    ):
        with pytest.raises(SegError, match=error):
            predict(run, [scene.product], tmp_path / "map.tif", zones=zones, zone_column=column, **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far.gpkg"]


def test_cells_are_named_as_patches_of_reben(mapped, scene, run):
    table = geopandas.read_parquet(mapped.path.with_name("map_labels.parquet"))
    assert table.crs.to_string() == "OGC:CRS84"
    assert len(table) <= (SIZE // 120) ** 2
    product = scene.product.name.removesuffix(".SAFE").rsplit("_", 1)[0]
    assert set(table.patch_id) == {f"{product}_{c:02d}_{r:02d}" for c, r in zip(table.column, table.row, strict=True)}
    first = table[table.patch_id.str.endswith("_03_00")].to_crs(scene.grid.epsg).iloc[0]
    west, _, _, north = first.geometry.bounds
    assert (west, north) == pytest.approx((scene.grid.x_min + 3600, scene.grid.y_max), abs=0.01)
    limits = read_checkpoint(run / "checkpoints" / "best")[0].thresholds
    for _, row in table.iterrows():
        expected = [n for n, limit in zip(CLASS_NAMES, limits, strict=True) if row[f"probability: {n}"] > limit]
        assert list(row.predicted_labels) == expected
    assert table.data_share.min() > 0


def test_a_map_that_was_killed_is_taken_up_again(run, scene, place, mapped, tmp_path, monkeypatch):
    """At any strip: the same bytes, and until then nothing that looks finished."""
    extras = {"probabilities": True, "confidence": True}
    written, original = [], parts.Unfinished.write

    def dies(self, piece):
        if len(written) == 2:
            raise KeyboardInterrupt
        original(self, piece)
        written.append(piece.number)

    monkeypatch.setattr(parts.Unfinished, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        predict(run, [scene.product], tmp_path / "map.tif", **SMALL, **extras)
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif.unfinished"]
    first, notes = list(written), []
    written.append(None)
    predict(run, [scene.product], tmp_path / "map.tif", **SMALL, **extras, notify=notes.append)
    assert "Taking up the map" in notes[0]
    assert first == [0, 1]
    assert not set(first) & set(written[3:])
    assert digests(tmp_path) == digests(place)


def test_strips_of_something_else_are_not_used(run, scene, place, mapped, tmp_path, monkeypatch):
    monkeypatch.setattr(mapping, "finish_map", _killed)
    with pytest.raises(KeyboardInterrupt):
        predict(run, [scene.product], tmp_path / "map.tif", window=192, overlap=64)
    monkeypatch.undo()
    notes = []
    predict(run, [scene.product], tmp_path / "map.tif", **SMALL, notify=notes.append)
    assert "starting anew" in notes[0]
    np.testing.assert_array_equal(read(tmp_path / "map.tif"), read(mapped.path))
    strange = tmp_path / "other.tif.unfinished"
    strange.mkdir()
    (strange / "mine.txt").write_text("kept")
    with pytest.raises(ForeignFileError, match="holds something else"):
        predict(run, [scene.product], tmp_path / "other.tif")
    assert (strange / "mine.txt").read_text() == "kept"


def _killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("damaged", ["classes-0000.tif", "probabilities-0001.tif", "cells-0000.npy", "left-out-*.json"])
@pytest.mark.parametrize("kept", [0, 0.8])
@pytest.mark.usefixtures("mapped")
def test_what_a_crash_has_left_damaged_is_made_anew(run, scene, place, tmp_path, monkeypatch, damaged, kept):
    """Files of strips are renamed before they are on disk: a machine that loses its power may keep a part of them."""
    extras = {"probabilities": True, "confidence": True, "labels": True}
    monkeypatch.setattr(mapping, "finish_map", _killed)
    with pytest.raises(KeyboardInterrupt):
        predict(run, [scene.product], tmp_path / "map.tif", **SMALL, **extras)
    monkeypatch.undo()
    (path,) = (tmp_path / "map.tif.unfinished").glob(damaged)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    notes = []
    predict(run, [scene.product], tmp_path / "map.tif", **SMALL, **extras, notify=notes.append)
    assert "Taking up the map" in notes[0]
    assert notes[1] == f"Files in it are damaged and made anew: {path.name}."
    assert {name: digest for name, digest in digests(tmp_path).items() if name in digests(place)} == digests(place)


@pytest.mark.parametrize("left", [".identity.json.12345678.partial", "identity.json"])
def test_a_map_that_was_killed_before_it_said_what_it_is_of_is_begun_anew(run, scene, mapped, tmp_path, left):
    folder = tmp_path / "map.tif.unfinished"
    folder.mkdir()
    (folder / left).write_bytes(b"\xff\xfe")
    predict(run, [scene.product], tmp_path / "map.tif", **SMALL)
    np.testing.assert_array_equal(read(tmp_path / "map.tif"), read(mapped.path))
    assert not folder.exists()


def test_several_processes_make_the_same_map(run, scene, place, mapped, tmp_path):
    options = ["--window", 160, "--overlap", 64, "--probabilities", "--confidence", "--labels"]
    forks.together(3, tmp_path, forks.command, "predict", run, scene.product, "--out", tmp_path / "map.tif", *options)
    assert digests(tmp_path) == digests(place)
    ours = geopandas.read_parquet(tmp_path / "map_labels.parquet")
    assert ours.equals(geopandas.read_parquet(place / "map_labels.parquet"))


def test_processes_share_rows_of_windows():
    for count in (1, 2, 3, 7):
        shares = [mapping._share(range(5), Ranks(rank, count)) for rank in range(count)]
        assert [n for share in shares for n in share] == list(range(5))


def test_patches_come_out_as_an_export_has_them(run, place, tmp_path):
    """Single-band files of a patch, as published, give the class map of `seg export`."""
    seg.export(run, tmp_path / "maps", split="test")
    model = seg.load_model(run)
    compared = 0
    for exported in sorted((tmp_path / "maps").rglob("*_map.tif"))[:3]:
        patch = exported.stem.removesuffix("_map")
        (folder,) = [path for path in (place / "reben").rglob(patch) if any(path.glob("*_B02.tif"))]
        (one,) = predict(run, [folder], tmp_path / f"{patch}.tif")
        ours_HW, theirs_HW = read(one.path), read(exported)
        # Kernels may round a patch in a batch otherwise than alone, which tells where two classes are all but equal.
        pixels = {name: read(next(folder.glob(f"*_{name}.tif"))) for name in USED}
        probabilities = np.sort(model.predict(pixels).probabilities_KHW, axis=0)
        differ = ours_HW != theirs_HW
        assert (probabilities[-1] - probabilities[-2])[differ].max(initial=0) < 1e-5
        assert differ.mean() < 1e-3
        with rasterio.open(one.path) as ours, rasterio.open(exported) as theirs:
            assert (ours.crs, ours.transform) == (theirs.crs, theirs.transform)
        compared += 1
    assert compared


def test_parts_of_a_scene(run, scene, mapped, tmp_path):
    whole, grid = read(mapped.path), scene.grid
    square = box(grid.x_min + 1005, grid.y_max - 3000, grid.x_min + 3000, grid.y_max - 1500)
    frame = geopandas.GeoDataFrame(geometry=[square.difference(Point(square.centroid).buffer(300))], crs=grid.epsg)
    frame.to_file(tmp_path / "part.gpkg")
    (part,) = predict(run, [scene.product], tmp_path / "part.tif", geometry=tmp_path / "part.gpkg", **SMALL)
    with rasterio.open(part.path) as dataset:
        assert dataset.transform[:6] == (10, 0, grid.x_min + 1000, 0, -10, grid.y_max - 1500)
        values = dataset.read(1)
    assert values.shape == (150, 200)
    centre = values[75 - 20 : 75 + 20, 100 - 20 : 100 + 20]
    assert (centre == 255).all()
    assert (values != 255).mean() > 0.8
    west, south, east, north = frame.to_crs(4326).total_bounds
    (boxed,) = predict(run, [scene.product], tmp_path / "box.tif", box=(west, south, east, north), **SMALL)
    assert (boxed.height, boxed.width) >= (150, 200)
    # The surroundings are seen too, so the part is nearly what the whole map shows.
    there = values != 255
    assert (values != whole[150:300, 100:300])[there].mean() < 0.1


def test_several_scenes(run, scene, tmp_path):
    other = shutil.copy(scene.stack, tmp_path / "other.tif")
    maps = predict(run, [scene.product, Path(other)], tmp_path / "maps", **SMALL, web=True)
    assert [one.path.name for one in maps] == [scene.product.name.replace(".SAFE", ".tif"), "other.tif"]
    with rasterio.open(tmp_path / "maps" / "map.vrt") as dataset:
        assert dataset.shape == (SIZE, SIZE)
    index = tmp_path / "maps" / "maps.html"
    pages = re.findall(r'<li><a href="([^"]+)"', index.read_text("utf-8"))
    assert [index.parent / page for page in pages] == [
        path for one in maps for path in one.files if path.suffix == ".html"
    ]
    assert index in joint_files([one.path for one in maps])
    maps = predict(run, [scene.product, Path(other)], tmp_path / "maps", **SMALL)
    assert not index.exists()
    told = {*(file for one in maps for file in one.files), *joint_files([one.path for one in maps])}
    assert told == {path for path in (tmp_path / "maps").rglob("[!.]*") if path.is_file()}


def test_an_item_of_a_catalogue_is_mapped_as_its_product(run, scene, mapped, tmp_path, monkeypatch):
    """From a server that breaks down for good while the scene is read: the same command goes on, where it is."""
    monkeypatch.setattr("seg.rasters.header.WAITS", ())
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    write_item(scene.product, tmp_path / "catalogue", "planetary-computer")
    with served(tmp_path / "catalogue") as server:
        where, out, notes = f"{server.url}/item.json", tmp_path / "map.tif", []
        written, original = [], parts.Unfinished.write

        def breaks(self, piece):
            original(self, piece)
            written.append(piece.number)
            server.faults |= {".tif": 503} if len(written) == 1 else {}

        monkeypatch.setattr(parts.Unfinished, "write", breaks)
        # All may have been read before the first strip is written; then the map is made again.
        for _ in range(9):
            written.clear()
            try:
                predict(run, where, out, **SMALL)
            except SceneError as error:
                assert re.search(r"cannot be read|answers 503", str(error))  # noqa: PT017
                break
            server.faults.clear()
        else:
            pytest.fail("the server never broke down in time")
        server.faults.clear()
        predict(run, where, out, **SMALL, notify=notes.append)
        assert "Taking up the map" in notes[0]
        assert sorted(written) == [*range(len(written))]
        clouds = predict(run, where, tmp_path / "clear.tif", **SMALL, cloud_mask=True)[0]
    np.testing.assert_array_equal(read(out), read(mapped.path))
    with rasterio.open(out) as dataset:
        tags = dataset.tags()
    assert tags["ACQUIRED"] == "2018-05-25T09:51:15Z"
    assert tags["SOURCE"] == where
    assert tags["OFFSET_REMOVED"] == "1000 (said by the STAC item, of baseline 05.11)"
    with rasterio.open(tmp_path / "catalogue" / "SCL.tif") as raster:
        clouded = np.isin(raster.read(1), (3, 8, 9)).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(read(clouds.path) == 255, (read(out) == 255) | clouded)
    with rasterio.open(clouds.path) as dataset:
        assert dataset.tags()["CLOUD_MASK"] == "3,8,9 of the scene classification"


def test_scenes_that_a_search_finds_are_mapped(run, scene, mapped, tmp_path):
    pytest.importorskip("pystac_client")
    item = json.loads(write_item(scene.product, tmp_path / "catalogue", "planetary-computer").read_text())
    box_here = transform_bounds(scene.grid.epsg, 4326, *scene.grid.bounds)
    item |= {"bbox": list(box_here), "geometry": box(*box_here).__geo_interface__}
    west, south, east, north = box_here
    inner = (west + 0.01, south + 0.01, east - 0.01, north - 0.01)
    with served(tmp_path / "catalogue") as server:
        for asset in item["assets"].values():
            asset["href"] = f"{server.url}/{asset['href']}"
        api, _ = api_of(
            server, [item, {**item, "id": "cloudy", "properties": {**item["properties"], "eo:cloud_cover": 90}}]
        )
        notes = []
        (one,) = predict(
            run, [], tmp_path / "maps", box=inner, search=Search(api, "2018"), **SMALL, stac=True, notify=notes.append
        )
    assert "Of 2 scenes those with the fewest clouds are taken" in notes[0]
    assert one.path == tmp_path / "maps" / f"{item['id']}.tif"
    with rasterio.open(one.path) as part, rasterio.open(mapped.path) as whole:
        assert part.shape < whole.shape
        assert whole.bounds.left <= part.bounds.left < part.bounds.right <= whole.bounds.right
    assert (tmp_path / "maps" / "collection.json").is_file()


def test_maps_have_stac(run, scene, tmp_path):
    pystac = pytest.importorskip("pystac")
    (one,) = predict(run, scene.product, tmp_path / "map.tif", **SMALL, areas=True, stac=True)
    assert {path.name for path in one.files} >= {"map.json", "map_model.json"}
    item = pystac.Item.from_file(str(tmp_path / "map.json"))
    assert item.assets.keys() == {"classes", "areas", "areas-text", "qml"}
    assert item.datetime.isoformat() == "2018-05-25T09:51:15+00:00"
    model = pystac.Item.from_file(str(tmp_path / "map_model.json"))
    weights = (tmp_path / model.assets["weights"].href).resolve()
    assert weights == (run / "checkpoints" / "best" / "model.safetensors").resolve()
    other = Path(shutil.copy(scene.stack, tmp_path / "other.tif"))
    predict(run, [scene.product, other], tmp_path / "maps", **SMALL, stac=True)
    collection = pystac.Collection.from_file(str(tmp_path / "maps" / "collection.json"))
    items = list(collection.get_items())
    assert {item.id for item in items} == {scene.product.stem, "other"}
    assert all((tmp_path / "maps" / item.assets["classes"].href).is_file() for item in items)
    assert (tmp_path / "maps" / "model.json").is_file()
    # Without it, what an earlier map had is gone.
    predict(run, scene.product, tmp_path / "map.tif", **SMALL)
    assert not (tmp_path / "map.json").exists()


def test_scenes_that_others_map_are_mapped_the_same(run, scene, tmp_path, monkeypatch):
    """By a process that is sent scenes, or strips of them, one after the other, though their paths are not whole."""
    shutil.copy(scene.stack, tmp_path / "other.tif")
    scenes = [scene.product, Path("other.tif")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here = []
    predict(run, scenes, "here", notify=here.append, areas=True, **SMALL)
    files = [path for path in Path("here").rglob("*") if path.is_file() and path.name[0] != "."]
    files = [path.relative_to("here") for path in files if "other_areas" not in path.name]
    assert len(files) > 6
    with ProcessPoolExecutor(1, get_context("spawn")) as others:
        for few in (0, 4):
            monkeypatch.setattr(elsewhere, "FEW", few)
            said, folder = {"there": [], "later": []}, Path(f"there-{few}")
            there = predict(run, scenes, folder, notify=said["there"].append, areas=True, executor=others, **SMALL)
            # What was made there is known to be seg's.
            other = folder / "other.tif"
            later = predict(run, scenes[1:], other, notify=said["later"].append, executor=others, **SMALL)
            assert [one.path.name for one in there] == [scene.product.name.replace(".SAFE", ".tif"), "other.tif"]
            assert said["there"] == here
            assert said["later"] == [
                "Removed other_areas.csv, other_areas.csvt, other_areas.md, which belonged to the earlier other.tif."
            ]
            assert later[0].files[0].read_bytes() == Path("here/other.tif").read_bytes()
            assert all((Path("here") / name).read_bytes() == (folder / name).read_bytes() for name in files)


def test_augmented_maps_differ_and_have_the_same_holes(run, scene, mapped, tmp_path):
    (one,) = predict(run, [scene.product], tmp_path / "map.tif", tta=True, **SMALL)
    augmented, plain = read(one.path), read(mapped.path)
    np.testing.assert_array_equal(augmented == 255, plain == 255)
    assert 0 < (augmented != plain).mean() < 0.6


def _stack(path: Path, bands: tuple[str, ...], values: np.ndarray) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[-1], height=values.shape[-2], count=len(bands), dtype="uint16",
        crs="EPSG:32633", transform=Affine(10, 0, 300000, 0, -10, 5300040), nodata=0,
    ) as dataset:  # fmt: skip
        dataset.write(np.broadcast_to(values, (len(bands), *values.shape[-2:])))
    return path


def test_pixels_that_are_masked_or_filled_are_not_mapped(run, tmp_path):
    random, size = np.random.default_rng(0), 240
    held = np.ones((size, size), bool)
    held[:, :50] = False
    values = random.integers(200, 3000, (len(USED), size, size)).astype(np.int16)
    values[:, :40] = -9999
    values[2, 100:140, 100:150] = -9999
    path, mapped = tmp_path / "scene.tif", held & (values != -9999).all(0)
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=len(USED), dtype="int16", crs="EPSG:32633",
        transform=Affine(10, 0, 300000, 0, -10, 5300040),
    ) as dataset:  # fmt: skip
        dataset.write(values)
        dataset.write_mask(held)
        dataset.descriptions = USED
    said: list[str] = []
    extras = {"probabilities": True, "confidence": True, "notify": said.append}
    (one,) = predict(run, [path], tmp_path / "map.tif", **SMALL, **extras)
    assert np.array_equal(read(one.path) != 255, mapped)
    for other in ("probabilities", "confidence"):
        there = read(tmp_path / f"map_{other}.tif") != 255
        assert (there == mapped).all()
    assert one.nodata == pytest.approx(1 - mapped.mean())
    assert sum("-9999, which is not declared as nodata" in remark for remark in said) == 1


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"box": (0.0, 0.0, 1.0, 1.0)}, WrongUseError, "does not touch"),
        ({"geometry": "nowhere.geojson"}, WrongUseError, "nowhere.geojson does not exist"),
        ({"window": 160, "overlap": 150}, WrongUseError, "cannot overlap by 150; use --overlap up to 16"),
        ({"out": "."}, WrongUseError, "is a folder; name the map itself"),
        ({"out": "map.png"}, WrongUseError, "let --out end in .tif"),
        ({"scenes": 2, "out": "map.tif"}, WrongUseError, "2 scenes need a folder"),
        ({"scenes": 2, "out": "maps"}, WrongUseError, "several scenes would become"),
        ({"scenes": 0}, WrongUseError, "there is no scene"),
        ({"out": "a#1.tif", "stac": True}, WrongUseError, "in a link # of a#1.tif means something else"),
        ({"out": "100 %.tif", "stac": True}, WrongUseError, "in a link % of 100 %.tif means something else"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, scene, tmp_path, monkeypatch, changes, error, text):
    monkeypatch.chdir(tmp_path)
    changes = dict(changes)
    scenes = [scene.product] * changes.pop("scenes", 1)
    changes["geometry"] = changes.get("geometry") and Path(changes["geometry"])
    with pytest.raises(error, match=text) as raised:
        predict(run, scenes, Path(changes.pop("out", "map.tif")), **changes)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.rglob("*.tif"))


def test_maps_of_several_scenes_have_names_that_a_link_reads_as_they_are():
    names = [path.name for path in map_targets([Path("a#1.tif"), Path("b%20?.zip"), Path("c d.tif")], Path("maps"))]
    assert names == ["a_1.tif", "b_20_.tif", "c d.tif"]


def test_polygons_that_cannot_be_used(run, scene, tmp_path):
    grid = scene.grid
    square = box(grid.x_min, grid.y_max - 100, grid.x_min + 100, grid.y_max)
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        geopandas.GeoDataFrame(geometry=[square]).to_file(tmp_path / "bare.gpkg")
    geopandas.GeoDataFrame(geometry=[square.centroid], crs=grid.epsg).to_file(tmp_path / "point.gpkg")
    geopandas.GeoDataFrame(geometry=[box(1, 1, 2, 2)], crs=4326).to_file(tmp_path / "far.geojson")
    (tmp_path / "text.geojson").write_text("{}")
    _stack(tmp_path / "raster.tif", USED, np.full((12, 12), 800, np.uint16))
    for name, text in (
        ("bare.gpkg", "has no CRS"),
        ("point.gpkg", "holds no polygons"),
        ("far.geojson", "does not touch"),
        ("text.geojson", "cannot be read as vector data"),
        ("raster.tif", "cannot be read as vector data; give polygons as GeoJSON or GeoPackage$"),
    ):
        with pytest.raises(WrongUseError, match=text):
            predict(run, [scene.product], tmp_path / "map.tif", geometry=tmp_path / name)


def test_what_is_of_seg_and_no_scene(run, scene, tmp_path):
    (made,) = predict(run, [scene.product], tmp_path / "map.tif")
    store = tmp_path / "store"
    store.mkdir()
    (store / "store.json").write_text("{}")
    for source, text in (
        (made.path, "is a map that seg has made, and no scene; name the scene itself"),
        (run, "is a run, and no scene; name a Sentinel-2 product or raster"),
        (store, "is a store of patches, which 'seg export' maps, and no scene"),
    ):
        with pytest.raises(SegError, match=text) as refused:
            predict(run, [source], tmp_path / "other.tif")
        assert refused.value.wrong_use
    with pytest.raises(WrongUseError, match=r"^'gpu' is no device"):
        predict(run, [scene.product], tmp_path / "other.tif", device="gpu")


def test_what_lies_beside_a_product_and_is_not_mapped_is_named(run, scene, tmp_path):
    shutil.copytree(scene.product, tmp_path / "scenes" / scene.product.name)
    told: list[str] = []
    (alone,) = predict(run, [tmp_path / "scenes"], tmp_path / "alone.tif", notify=told.append)
    assert not any("beside it" in one for one in told)
    _stack(tmp_path / "scenes" / "other.tif", USED, np.full((12, 12), 800, np.uint16))
    (both,) = predict(run, [tmp_path / "scenes"], tmp_path / "both.tif", notify=told.append)
    name = scene.product.name.removesuffix(".SAFE")
    assert f"holds the product {name}, which is mapped, and beside it other.tif, which is not." in told[-1]
    with rasterio.open(alone.path) as one, rasterio.open(both.path) as other:
        assert (one.read(1) == other.read(1)).all()


def test_scenes_that_cannot_be_used(run, tmp_path, monkeypatch):
    values = np.full((120, 120), 800, np.uint16)
    with pytest.raises(SceneError, match=r"B09.*, or take a model without that band$"):
        predict(run, [_stack(tmp_path / "few.tif", USED[:4], values)], tmp_path / "map.tif", bands=USED[:4])
    values[:60] = 0
    half = _stack(tmp_path / "half.tif", USED, values)
    (one,) = predict(run, [half], tmp_path / "map.tif", bands=USED)
    assert one.nodata == 0.5
    monkeypatch.setattr(map_files.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(MapError, match="free some space or name another --out"):
        predict(run, [half], tmp_path / "second.tif", bands=USED)
    monkeypatch.undo()
    with rasterio.open(half) as dataset:
        west, _, east, top = rasterio.warp.transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    north = (west + 0.004, top - 0.002, east - 0.004, top - 0.001)
    with pytest.raises(MapError, match="has no data where the map was to be"):
        predict(run, [half], tmp_path / "third.tif", bands=USED, box=north)
    assert not (tmp_path / "third.tif").exists()
    assert not list(tmp_path.glob("*.unfinished"))


def test_command(run, scene, mapped, tmp_path, monkeypatch, capfd):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["seg", "predict", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), *capfd.readouterr()

    monkeypatch.setenv("COLUMNS", "300")
    out = tmp_path / "map.tif"
    code, shown, _ = command(run, scene.product, "--out", out, "--window", 160, "--overlap", 64)
    assert code == 0
    assert "480 x 480 pixels in 25 windows" in shown
    assert set(shown.split()) >= set(map(str, tmp_path.glob("map*")))
    np.testing.assert_array_equal(read(out), read(mapped.path))
    code, _, said = command(run, scene.product, "--out", out, "--bbox", "1,2,3")
    assert code == 2
    assert "is no box" in said
    code, _, said = command(run, scene.product, "--out", tmp_path)
    assert code == 2
    assert "is a folder; name the map itself" in said
    code, _, said = command(run, scene.product, "--out", out, "--bbox", "-5,40,-4,41")
    assert code == 2
    assert "does not touch" in said


def test_boxes():
    assert read_box("13.1,47.7,13.3,47.9") == (13.1, 47.7, 13.3, 47.9)
    for text in ("1,2,3", "a,b,c,d", "3,1,2,4", "47,190,48,191", "nan,0,1,1"):
        with pytest.raises(WrongUseError, match="is no box"):
            read_box(text)


def test_a_model_folder_maps_like_its_run(run, scene, place, tmp_path):
    """What is shared lacks the run's settings and evidence."""
    seg.write_card(run, tmp_path / "card")
    said = []
    (whole,) = predict(run, [scene.product], tmp_path / "run.tif", device="cpu", **SMALL)
    (shared,) = predict(
        tmp_path / "card", [scene.product], tmp_path / "card.tif", device="cpu", areas=True, notify=said.append, **SMALL
    )
    with rasterio.open(whole.path) as a, rasterio.open(shared.path) as b:
        # The run computes in float32, the model folder in what the machine does best.
        assert (a.read(1) == b.read(1)).mean() > 0.98
        assert a.tags()["MODEL_WEIGHTS"] == b.tags()["MODEL_WEIGHTS"] != ""
    assert any("is a model folder without evidence" in sentence for sentence in said)


def test_nothing_is_written_over_what_is_read(run, scene, tmp_path):
    stack = shutil.copy(scene.stack, tmp_path / "stack.tif")
    before = stack.read_bytes()
    with pytest.raises(WrongUseError, match="would be written over, or into, stack"):
        predict(run, [stack], stack, **SMALL)
    with pytest.raises(WrongUseError, match="would be written over, or into"):
        predict(run, [scene.product], scene.product / "map.tif", **SMALL)
    assert stack.read_bytes() == before


def test_files_of_an_earlier_map_of_that_name_go(run, scene, tmp_path):
    out = tmp_path / "map.tif"
    extras = {"confidence": True, "labels": True, "areas": True, "quicklook": True}
    (first,) = predict(run, [scene.product], out, **SMALL, **extras)
    assert len(first.files) == 12
    heard: list[str] = []
    (second,) = predict(run, [scene.product], out, **SMALL, confidence=True, notify=heard.append)
    lost = "map_labels.parquet, map_areas.csv, map_areas.csvt, map_areas.md, map.png"
    assert heard == [f"Removed {lost}, which belonged to the earlier map.tif."]
    assert {path for path in tmp_path.iterdir() if path.name != written.FILE_NAME} == set(second.files)


def test_while_a_map_is_replaced_no_map_is_there(run, scene, tmp_path, monkeypatch):
    """So that what a kill leaves never passes for a map with all that belongs to it."""
    out = tmp_path / "map.tif"
    predict(run, [scene.product], out, **SMALL, confidence=True)
    write, there = map_files.write_cog, []

    def writing(path, *arguments, **more):
        there.append({file.name for file in tmp_path.iterdir() if file.is_file() and file.name[0] != "."})
        return write(path, *arguments, **more)

    monkeypatch.setattr(map_files, "write_cog", writing)
    predict(run, [scene.product], out, **SMALL, confidence=True)
    assert there == [set(), {"map_confidence.tif"}]


def test_a_box_around_everything_takes_the_whole_scene(run, scene, mapped, tmp_path):
    (one,) = predict(run, [scene.product], tmp_path / "map.tif", box=(-180, -90, 180, 90), **SMALL)
    np.testing.assert_array_equal(read(one.path), read(mapped.path))


def test_cells_say_how_much_of_them_was_mapped(run, scene, tmp_path):
    """A polygon over a tenth of a cell."""
    west, north = scene.grid.x_min + 2400, scene.grid.y_max - 1200
    shape = geopandas.GeoSeries([box(west, north - 1200, west + 120, north)], crs=scene.grid.epsg)
    shape.to_file(tmp_path / "part.gpkg")
    (one,) = predict(run, [scene.product], tmp_path / "m.tif", geometry=tmp_path / "part.gpkg", labels=True, **SMALL)
    (row,) = geopandas.read_parquet(one.path.with_name("m_labels.parquet")).itertuples()
    assert (row.column, row.row) == (2, 1)
    assert row.data_share == pytest.approx(0.1, abs=0.001)


def test_what_was_decided_and_doubted_stands_in_the_tags(run, scene, tmp_path):
    with rasterio.open(scene.stack) as source:
        profile, names = source.profile, source.descriptions
        values = source.read().astype(np.int64)
    raised = np.where(values == 0, 0, values + 1000).astype(np.uint16)
    clouds = np.where(values == 0, 0, np.maximum(values, 4000)).astype(np.uint16)
    for name, images in (("raised", raised), ("clouds", clouds)):
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as file:
            file.write(images)
            file.descriptions = names
    with pytest.raises(SceneError, match="say --offset 1000"):
        predict(run, [tmp_path / "raised.tif"], tmp_path / "a.tif", **SMALL)
    (one,) = predict(run, [tmp_path / "raised.tif"], tmp_path / "a.tif", offset=1000, **SMALL)
    (other,) = predict(run, [scene.stack], tmp_path / "b.tif", **SMALL)
    with rasterio.open(one.path) as a, rasterio.open(other.path) as b:
        assert np.array_equal(a.read(1), b.read(1))
        assert a.tags()["OFFSET_REMOVED"] == "1000 (asked for)"
        assert b.tags()["OFFSET_REMOVED"] == "0 (judged by the darkest pixels)"
        assert "WARNINGS" not in a.tags()
    said = []
    (doubted,) = predict(run, [tmp_path / "clouds.tif"], tmp_path / "c.tif", notify=said.append, **SMALL)
    with rasterio.open(doubted.path) as file:
        assert file.tags()["WARNINGS"] == said[0]
    assert "dark enough to tell" in said[0]


def test_what_windows_alone_show_stands_in_the_tags(run, scene, tmp_path, monkeypatch):
    """Also where a map was broken off, and the strips that show it are not read again."""
    with rasterio.open(scene.stack) as source:
        profile, names, values = source.profile, source.descriptions, source.read().astype(np.float32)
    values[names.index("B03"), 20, 70:100] = 1e20
    with rasterio.open(tmp_path / "a.tif", "w", **(profile | {"dtype": "float32"})) as file:
        file.write(values)
        file.descriptions = names
    monkeypatch.setattr(looked, "without_fills", lambda seen, product=False: ([one.layer for one in seen], []))
    with monkeypatch.context() as broken:
        broken.setattr(parts.Unfinished, "write", _full_after(1, parts.Unfinished.write))
        with pytest.raises(OSError, match="full"):
            predict(run, [tmp_path / "a.tif"], tmp_path / "map.tif", **SMALL)
    said = []
    (one,) = predict(run, [tmp_path / "a.tif"], tmp_path / "map.tif", notify=said.append, **SMALL)
    assert "Taking up" in said[0]
    with rasterio.open(one.path) as file:
        assert (file.read(1)[20, 70:100] == 255).all()
        assert file.tags()["WARNINGS"] == said[1]
    assert said[1].startswith("Pixels of a were left out because their values cannot be measured")
    assert "B03 30 (" in said[1]


def _full_after(count, write):
    """Write a few strips; then the disk is full."""
    written_strips = []

    def writing(self, piece):
        if len(written_strips) == count:
            raise OSError("disk full")
        written_strips.append(piece.number)
        write(self, piece)

    return writing
