"""Mosaics, agreement and footprints of an export, against the single patch maps and against independent tools."""

import os
import re
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from matplotlib.image import imread
from quick import quick_run
from rasterio.crs import CRS
from rasterio.warp import transform
from sklearn.metrics import accuracy_score, jaccard_score
from web_pages import about, whole

from seg.errors import UnknownNameError, WrongUseError
from seg.figures.land_cover import land_cover_figure, legend_figure
from seg.figures.style import png_bytes
from seg.maps.mosaics import write_companions
from seg.models.checkpoint import read_checkpoint
from seg.models.weights_file import weights_digest
from seg.pipeline.export import export
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import CLASS_NAMES, CLASSES
from seg.reben.patch import PatchId
from seg.store import written
from seg.store.open import open_store
from seg.styles.palette import AGREEMENT, LAND_COVER
from seg.styles.qgis import style
from seg.synthetic.tree import synthesise
from seg.vectors.footprints import CRS84, write_footprints
from seg.vectors.polygons import PolygonOptions

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("map", "reference", "agreement", "probabilities", "confidence")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    synthesise(folder / "reben", 60, seed=0)
    build_store(published_sources(folder / "reben"), folder / "store")
    settings = {"data__bands": "s2", "train__batch_size": 8, "train__max_steps": 2}
    return quick_run(folder / "run", folder / "store", **settings)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Patch maps and mosaics of one export."""
    out = tmp_path_factory.mktemp("maps")
    everything = {"probabilities": True, "agreement": True, "web": True}
    return export(run, out, mosaic=True, patches=True, stac=True, **everything)


def test_what_spans_all_patches_is_told(exported):
    others = {
        path.name for path in exported.folder.iterdir() if path.is_file() and not path.name.startswith((".", "S2"))
    }
    assert {*(path.name for path in exported.others), exported.overview.name} == others
    assert exported.others[0].name == "footprints.parquet"


@pytest.fixture(scope="module")
def footprints(exported):
    return geopandas.read_parquet(exported.folder / "footprints.parquet")


def values(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


def patch_files(folder, layer):
    return {PatchId.parse(f.name.removesuffix(f"_{layer}.tif")): f for f in sorted(folder.glob(f"*/*_{layer}.tif"))}


@pytest.mark.parametrize("layer", LAYERS)
def test_mosaics_hold_every_patch_where_it_lies_and_nothing_else(exported, layer):
    out = exported.folder
    files = patch_files(out, layer)
    assert len(files) == exported.patches == 15
    mosaics = sorted(out.glob(f"*_{layer}.tif"))
    assert [m.name for m in mosaics] == sorted({f"{patch.product}_{layer}.tif" for patch in files})
    for mosaic in mosaics:
        with rasterio.open(mosaic) as dataset:
            whole = dataset.read()
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert dataset.nodata == 255
            if layer == "probabilities":
                assert dataset.descriptions == CLASS_NAMES
                assert dataset.scales == pytest.approx([1 / 250] * 19)
            seen = np.zeros(dataset.shape, bool)
            for patch, file in files.items():
                if mosaic.name.startswith(patch.product):
                    rows, columns = dataset.window(*patch.georef.bounds).round().toslices()
                    np.testing.assert_array_equal(whole[:, rows, columns], values(file))
                    assert dataset.crs == CRS.from_epsg(patch.georef.epsg)
                    seen[rows, columns] = True
        assert (whole[:, ~seen] == 255).all()
        assert seen[0].any()
        assert seen[:, 0].any()


def test_mosaics_have_stac(exported):
    pystac = pytest.importorskip("pystac")
    collection = pystac.Collection.from_file(str(exported.folder / "collection.json"))
    items = {item.id: item for item in collection.get_items()}
    assert items.keys() == {path.stem for path in exported.mosaics}
    for path in exported.mosaics:
        item = items[path.stem]
        styles = {f"{layer}-style" for layer in LAYERS}
        assert item.assets.keys() == {*LAYERS, *styles, "classes", "qml", "png"} - {"map", "map-style"}
        assert all((exported.folder / asset.href).is_file() for asset in item.assets.values())
        assert item.datetime.strftime("%Y%m%dT%H%M%S") == path.stem.split("_")[2]
        assert item.properties["seg:synthetic"]
    assert pystac.Item.from_file(str(exported.folder / "model.json")).properties["mlm:output"]


def test_the_page_of_a_product_shows_its_mosaics(exported):
    for mosaic in exported.mosaics:
        product = mosaic.name.removesuffix("_map.tif")
        page = mosaic.with_name(f"{product}_web") / "index.html"
        assert set(about(page)["tiles"]["layers"]) == {"map", "reference", "confidence", "picture"}
        for layer in ("map", "reference"):
            expected = values(mosaic.with_name(f"{product}_{layer}.tif"))[0]
            np.testing.assert_array_equal(whole(page, layer), expected)
        shares = values(mosaic.with_name(f"{product}_confidence.tif"))[0]
        assert np.abs(whole(page, "confidence").astype(int) - shares).max() <= 2
        assert f"<title>SYNTHETIC – {product} · linknet" in page.read_text("utf-8")


def test_a_page_leads_to_those_of_all_products(exported):
    text = (exported.folder / "maps.html").read_text("utf-8")
    pages = re.findall(r'<li><a href="([^"]+)"', text)
    assert pages == [f"{path.name.removesuffix('_map.tif')}_web/index.html" for path in exported.mosaics]
    assert all((exported.folder / page).is_file() for page in pages)
    assert "SYNTHETIC" in text


def test_agreement_is_that_of_map_and_reference(exported):
    for mosaic in exported.mosaics:
        stem = mosaic.name.removesuffix("_map.tif")
        predicted, truth, marks = (values(mosaic.with_name(f"{stem}_{layer}.tif")) for layer in LAYERS[:3])
        expected = np.select([predicted == 255, truth == 255, truth == predicted], [255, 2, 1], 0)
        np.testing.assert_array_equal(marks, expected)
        with rasterio.open(mosaic.with_name(f"{stem}_agreement.tif")) as dataset:
            assert [dataset.colormap(1)[i][:3] for i in range(3)] == [e.color for e in AGREEMENT.entries]
            assert [dataset.tags(1)[f"VALUE_{i}"] for i in range(3)] == ["Wrong", "Right", "Unlabelled"]


def test_every_file_says_what_made_it(exported, run):
    card = read_checkpoint(run / "checkpoints" / "best")[0]
    expected = {
        "SEG_VERSION": card.seg_version,
        "MODEL": "linknet tu-test_resnet",
        "MODEL_WEIGHTS": weights_digest(run / "checkpoints" / "best"),
        "BANDS": ",".join(card.bands),
        "DATA_FINGERPRINT": card.data.fingerprint,
        "SYNTHETIC": "YES",
    }
    files = [*exported.folder.rglob("*.tif"), *exported.folder.glob("*.vrt")]
    assert len(files) == 15 * 5 + len(exported.mosaics) * 5 + 5
    for file in files:
        with rasterio.open(file) as dataset:
            assert expected.items() <= dataset.tags().items(), file
    metadata = pq.read_schema(exported.folder / "footprints.parquet").metadata
    assert {k.encode(): v.encode() for k, v in expected.items()}.items() <= metadata.items()


def test_virtual_raster_and_companions(exported):
    out = exported.folder
    assert len({patch.georef.epsg for patch in patch_files(out, "map")}) > 1
    with rasterio.open(out / "map.vrt") as dataset:
        assert dataset.crs == CRS.from_epsg(3035)
        for mosaic in exported.mosaics:
            with rasterio.open(mosaic) as source:
                x, y = transform(source.crs, dataset.crs, *([c] for c in source.xy(50.5, 50.5)))
                (value,) = dataset.sample([(x[0], y[0])])
                assert value[0] in source.read(1)[49:53, 49:53]
    for mosaic in exported.mosaics:
        assert mosaic.with_suffix(".qml").read_text() == style(LAND_COVER)
        assert imread(mosaic.with_suffix(".png")).shape[0] > 100
    assert (out / "legend.png").is_file()
    # Of probabilities too, band by band, and what a GIS shows all of them by.
    with rasterio.open(out / "probabilities.vrt") as dataset:
        assert dataset.descriptions == CLASS_NAMES
        assert dataset.scales == pytest.approx([1 / 250] * 19)
        for path in patch_files(out, "probabilities").values():
            with rasterio.open(path) as source:
                x, y = transform(source.crs, dataset.crs, *([c] for c in source.xy(60.5, 60.5)))
                (shares,) = dataset.sample([(x[0], y[0])])
                around = source.read()[:, 59:63, 59:63].reshape(19, -1)
                assert (around == shares[:, None]).all(0).any()
    for layer in LAYERS:
        palette = {"probabilities": None, "confidence": None, "agreement": AGREEMENT}.get(layer, LAND_COVER)
        assert (out / f"{layer}.qml").read_text() == style(palette)
        assert (out / f"{layer}.sld").is_file()
        for path in patch_files(out, layer).values():
            assert path.with_suffix(".qml").read_text() == style(palette)
            assert path.with_name(f"{path.name}.aux.xml").is_file() == (palette is not None)
    assert [f.name for f in out.iterdir() if f.name.startswith(".")] == [written.FILE_NAME]


def test_footprints_against_the_files_and_scikit_learn(exported, footprints, run):
    folder = exported.folder
    files = {name: patch_files(folder, name) for name in LAYERS}
    store = open_store(run.parent / "store")
    index = {store.index.patch_id(row): row for row in range(len(store.index))}
    thresholds = np.array(read_checkpoint(run / "checkpoints" / "best")[0].thresholds)
    assert footprints.crs == CRS84
    assert footprints.patch_id.tolist() == sorted(map(str, files["map"]))
    for row in footprints.itertuples(index=False):
        patch = PatchId.parse(row.patch_id)
        guess, truth = (values(files[name][patch]).ravel() for name in ("map", "reference"))
        labelled = truth != 255
        assert row.labelled_share == pytest.approx(labelled.mean())
        assert row.pixel_accuracy == pytest.approx(accuracy_score(truth[labelled], guess[labelled]))
        present = np.unique(truth[labelled])
        iou = jaccard_score(truth[labelled], guess[labelled], labels=present, average="macro", zero_division=0)
        assert row.miou == pytest.approx(iou)
        assert list(row.map_labels) == [CLASS_NAMES[k] for k in np.unique(guess)]
        (labels,) = store.index.labels(np.array([index[row.patch_id]]))
        assert list(row.labels) == [CLASS_NAMES[k] for k in np.flatnonzero(labels)]
        shares = footprints.loc[footprints.patch_id == row.patch_id, [f"probability: {n}" for n in CLASS_NAMES]]
        decided = shares.to_numpy(np.float64)[0] > thresholds
        assert list(row.predicted_labels) == [CLASS_NAMES[k] for k in np.flatnonzero(decided)]
        assert (row.product, row.tile, row.split) == (patch.product, patch.tile, "test")
        assert row.country == store.index.countries[index[row.patch_id]].as_py()


def test_footprint_corners_against_gdal(footprints):
    for name, polygon in zip(footprints.patch_id, footprints.geometry, strict=True):
        georef = PatchId.parse(name).georef
        west, south, east, north = georef.bounds
        longitudes, latitudes = transform(
            CRS.from_epsg(georef.epsg),
            CRS.from_string("OGC:CRS84"),
            [west, east, east, west],
            [south, south, north, north],
        )
        corners = set(np.round(np.array(polygon.exterior.coords)[:4], 8).view(complex).ravel().tolist())
        expected = np.round(np.array([longitudes, latitudes]).T.copy(), 8).view(complex).ravel().tolist()
        assert len(corners) == 4
        assert all(min(abs(corner - other) for other in expected) < 2e-8 for corner in corners)
        assert polygon.is_valid


def test_mosaics_alone_and_on_two_processes(run, exported, tmp_path):
    """The same files to the last byte, however many processes share the work."""
    flags = ["--mosaic", "--web", "--agreement", "--probabilities", "--stac"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "-m", "seg", "export", str(run), "--out", str(tmp_path / "two"), *flags],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    both = [exported.folder, tmp_path / "two"]
    listed = [{p.relative_to(f) for p in f.iterdir() if p.is_file()} for f in both]
    assert listed[0] == listed[1]
    folders = {p.name for p in (tmp_path / "two").iterdir() if p.is_dir() and not p.name.endswith("_warped")}
    assert folders == {mosaic.name.replace("_map.tif", "_web") for mosaic in exported.mosaics}
    for file in sorted(listed[0]):
        if file.suffix == ".tif" and not file.stem.endswith(("probabilities", "confidence")):
            first, second = (values(folder / file) for folder in both)
            # Other batch sizes may round a tie differently.
            assert np.count_nonzero(first != second) <= 20, file
    one, two = (geopandas.read_parquet(folder / "footprints.parquet") for folder in both)
    assert one.patch_id.tolist() == two.patch_id.tolist()
    assert np.allclose(one.pixel_accuracy, two.pixel_accuracy, atol=1e-3)


def test_without_reference_the_scores_are_still_there(run, tmp_path):
    said = []
    result = export(run, tmp_path, mosaic=True, split="validation", notify=said.append)
    assert not any("stays as it is" in one for one in said)
    assert not list(tmp_path.rglob("*_reference.tif"))
    table = geopandas.read_parquet(tmp_path / "footprints.parquet")
    assert len(table) == result.patches == 15
    assert table.pixel_accuracy.notna().all()
    assert set(table.split) == {"validation"}


def test_nothing_to_write(run, tmp_path):
    with pytest.raises(ValueError, match="nothing to write"):
        export(run, tmp_path, patches=False)


def test_an_error_leaves_no_parts(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr("seg.maps.mosaics.write_cog", full)
    with pytest.raises(OSError, match="no space"):
        export(run, tmp_path, mosaic=True)
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".") or path.suffix == ".tif"]
    assert left == [written.FILE_NAME]


def test_footprints_of_no_patch_and_of_odd_names(tmp_path):
    empty = pa.table({"patch_id": pa.array([], pa.string())})
    write_footprints(tmp_path / "f.parquet", empty, {})
    table = geopandas.read_parquet(tmp_path / "f.parquet")
    assert len(table) == 0
    assert table.crs == CRS84
    with pytest.raises(UnknownNameError):
        write_footprints(tmp_path / "g.parquet", pa.table({"patch_id": ["odd"]}), {})
    assert os.listdir(tmp_path) == ["f.parquet"]


def texts(figure):
    legend_texts = [text for legend in figure.legends for text in legend.get_texts()]
    return [t.get_text() for t in (*figure.texts, *legend_texts, *(t for a in figure.axes for t in a.texts))]


def test_picture_of_a_map():
    classes_HW = np.full((300, 200), 2, np.uint8)
    classes_HW[:100] = 18
    figure = land_cover_figure(classes_HW, title="T33UUP", synthetic=True, pixel_size=20)
    assert {"SYNTHETIC – T33UUP", "Arable land", "Marine waters", "1 km", "N"} <= set(texts(figure))
    assert "No data" not in texts(figure)
    classes_HW[0, 0] = 255
    figure = land_cover_figure(classes_HW, title="T33UUP", synthetic=False, pixel_size=20)
    assert "No data" in texts(figure)
    assert "T33UUP" in texts(figure)
    assert len(png_bytes(figure)) < 300_000


@pytest.mark.parametrize("shape", [(1, 1), (1, 1400), (1400, 1), (300, 310)])
def test_pictures_of_odd_shapes(shape):
    classes_HW = np.random.default_rng(0).choice([*range(19), 255], shape).astype(np.uint8)
    figure = land_cover_figure(classes_HW, title="x" * 200, synthetic=False, pixel_size=80)
    assert len(png_bytes(figure)) > 1000


def test_legend_names_all_classes_side_by_side_with_nothing():
    figure = legend_figure()
    assert texts(figure) == list(CLASS_NAMES)
    figure.draw_without_rendering()
    assert all(text.get_window_extent().x1 < figure.bbox.width for text in figure.legends[0].get_texts())


def test_companions_of_any_map(tmp_path, exported):
    path = tmp_path / "scene.tif"
    path.write_bytes(exported.mosaics[0].read_bytes())
    picture = write_companions(path, "a scene", synthetic=False)
    assert sorted(os.listdir(tmp_path)) == ["scene.png", "scene.qml", "scene.tif", "scene.tif.aux.xml"]
    assert picture == tmp_path / "scene.png"
    assert all(c.name in (tmp_path / "scene.qml").read_text() for c in CLASSES)


@pytest.mark.parametrize("name", ["config.yaml", "store.json"])
def test_maps_do_not_go_into_a_run_or_a_store(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(WrongUseError, match="is a run or a store"):
        export(tmp_path / "run", tmp_path)


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_an_earlier_export_has_left_goes(run, tmp_path):
    pytest.importorskip("pystac")
    options = {"mosaic": True, "stac": True, "web": True, "probabilities": True, "polygons": PolygonOptions()}
    export(run, tmp_path, **options)
    before = files_below(tmp_path)
    assert {"collection.json", "model.json", "probabilities.vrt", "reference.vrt"} <= before
    own = next(tmp_path.glob("*_reference.qml"))
    own.write_text("changed")
    (tmp_path / "mine.txt").write_text("mine")
    said = []
    export(run, tmp_path, mosaic=True, notify=said.append)
    assert f"What else {tmp_path} holds stays as it is: mine.txt." in said
    spanning = {"overview.png", "footprints.parquet", "legend.png", written.FILE_NAME}
    mapped = {name for name in before if "_map." in name and not name.endswith("_map.json")}
    expected = mapped | {name for name in before if name in spanning or name.startswith("map.")}
    assert len(expected) < len(before) / 2
    assert files_below(tmp_path) == expected | {own.name, "mine.txt"}
    assert not list(tmp_path.glob("*_web"))
    (sentence,) = (one for one in said if one.startswith("Removed "))
    assert sentence.endswith(" more, which belonged to an earlier export.")


def test_pages_are_of_mosaics(run, tmp_path):
    with pytest.raises(WrongUseError, match="pages show mosaics, and none are asked for; add --mosaic"):
        export(run, tmp_path / "maps", web=True)
