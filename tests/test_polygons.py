"""Polygons of class maps: against GDAL's and shapely's, whatever the pieces they are put together from."""

import sqlite3
from contextlib import closing

import cv2
import geopandas
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import quick_run
from rasterio.features import shapes
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from shapely.geometry import shape

from seg.config.track import silent
from seg.engine.evaluate import predict as predictions
from seg.errors import WrongUseError
from seg.generalise.objects import NO_OBJECT, number_objects
from seg.generalise.units import generalised
from seg.maps.land_cover import write_land_cover
from seg.pipeline.export import export
from seg.pipeline.predict import predict
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import CLASSES, NUM_CLASSES
from seg.reben.ground import hectares_of
from seg.reben.patch import GeoRef, PatchId
from seg.runs.session import open_session
from seg.runs.use import plan_use
from seg.store.marks import is_marked
from seg.synthetic.scene import synthesise_scene
from seg.synthetic.tree import synthesise
from seg.vectors.footprints import CRS84, write_footprints
from seg.vectors.geopackage import Style, write_geopackage
from seg.vectors.polygons import PolygonOptions, land_cover, polygon_options

NODATA = 255


@st.composite
def maps(draw):
    """A small class map, confidences, and the size of the pieces that it is read in."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sampled_from([0, 3, 18, NODATA]), min_size=1, max_size=4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes_HW = random.choice(np.array(kinds, np.uint8), (height, width))
    confidence_HW = random.integers(0, 251, (height, width)).astype(np.uint8)
    return classes_HW, confidence_HW, (draw(st.integers(1, 13)), draw(st.integers(1, 13)))


def raster(values_HW, grid):
    memory = MemoryFile()
    place = {"crs": f"EPSG:{grid.epsg}", "transform": Affine(*grid.transform), "nodata": NODATA}
    with memory.open(driver="GTiff", count=1, width=grid.width, height=grid.height, dtype="uint8", **place) as dataset:
        dataset.write(values_HW, 1)
    return memory.open()


def grid_of(values_HW):
    return GeoRef(32633, 499_000.0, 5_900_040.0, 10.0, values_HW.shape[1], values_HW.shape[0])


def vectorised(classes_HW, confidence_HW, simplify, size):
    grid = grid_of(classes_HW)
    found = list(land_cover(raster(classes_HW, grid), raster(confidence_HW, grid), grid, simplify, size))
    kinds = {"polygons_N": object, "class_N": np.int64, "hectares_N": np.float64, "confidence_N": np.float64}
    polygons, *others = (
        np.concatenate([np.empty(0, kind), *(np.asarray(getattr(some, name)) for some in found)])
        for name, kind in kinds.items()
    )
    return [shapely.from_wkb(polygons), *others]


def numbered(classes_HW):
    """Polygon, class and mask of each object, by GDAL."""
    transform = Affine(*grid_of(classes_HW).transform)
    for outline, value in shapes(classes_HW, mask=classes_HW != NODATA, connectivity=4, transform=transform):
        polygon = shape(outline)
        inside_HW = rasterio.features.geometry_mask([polygon], classes_HW.shape, transform, invert=True)
        yield polygon, int(value), inside_HW


@settings(max_examples=25, deadline=None)
@given(maps())
def test_polygons_are_those_of_gdal_whatever_the_pieces(made):
    classes_HW, confidence_HW, size = made
    polygons, classes, hectares, confidence = vectorised(classes_HW, confidence_HW, 0.0, size)
    expected = list(numbered(classes_HW))
    assert len(polygons) == len(expected)
    assert shapely.is_valid(polygons).all()
    # Also the vertices are those of the neighbours.
    assert shapely.coverage_is_valid(polygons)
    tree = shapely.STRtree(polygons)
    pixel = hectares.sum() / max(1, (classes_HW != NODATA).sum())
    for polygon, value, inside_HW in expected:
        (n,) = [n for n in tree.query(polygon) if polygons[n].equals(polygon)]
        assert classes[n] == value
        assert hectares[n] == pytest.approx(inside_HW.sum() * pixel)
        assert confidence[n] == pytest.approx(confidence_HW[inside_HW].mean() / 250)


@settings(max_examples=25, deadline=None)
@given(maps(), st.sampled_from([5.0, 15.0, 60.0]))
def test_simplified_neighbours_have_no_gaps_and_no_overlaps(made, simplify):
    classes_HW, confidence_HW, size = made
    whole = vectorised(classes_HW, confidence_HW, 0.0, size)
    polygons, classes, hectares, _ = vectorised(classes_HW, confidence_HW, simplify, size)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    assert (shapely.area(polygons) > 0).all()
    # What is measured is what there was before.
    np.testing.assert_array_equal(np.sort(hectares), np.sort(whole[2]))
    np.testing.assert_array_equal(np.bincount(classes), np.bincount(whole[1]))
    if (classes_HW != NODATA).all():
        together = shapely.union_all(polygons)
        assert together.equals(shapely.box(*together.bounds))
        assert shapely.area(polygons).sum() == pytest.approx(100 * classes_HW.size)


def test_borders_become_shorter_and_have_fewer_vertices():
    rows, columns = np.mgrid[:64, :64]
    classes_HW = np.where(columns > 20 + rows / 3, 2, 8).astype(np.uint8)
    stairs, *_ = vectorised(classes_HW, classes_HW, 0.0, (32, 32))
    smooth, *_ = vectorised(classes_HW, classes_HW, 15.0, (32, 32))
    assert shapely.get_num_coordinates(smooth).sum() < shapely.get_num_coordinates(stairs).sum() / 3
    assert shapely.length(smooth).sum() < shapely.length(stairs).sum()


def test_holes_that_touch_in_a_corner_stay_holes():
    classes_HW = np.full((6, 6), 4, np.uint8)
    classes_HW[1, 1] = classes_HW[2, 2] = classes_HW[3, 1] = 7
    polygons, classes, *_ = vectorised(classes_HW, classes_HW, 0.0, (6, 6))
    (outer,) = polygons[classes == 4]
    assert len(outer.interiors) == 3
    assert outer.area == 33 * 100


def test_a_class_that_reaches_over_all_pieces_keeps_all_its_holes():
    classes_HW = np.where(np.random.default_rng(0).random((70, 50)) < 0.8, 3, 7).astype(np.uint8)
    polygons, classes, hectares, _ = vectorised(classes_HW, classes_HW, 0.0, (16, 16))
    expected = {polygon.normalize(): value for polygon, value, _ in numbered(classes_HW)}
    assert len(max(polygons, key=lambda one: one.area).interiors) > 100
    assert {polygon.normalize(): value for polygon, value in zip(simple(polygons), classes, strict=True)} == {
        simple(polygon).normalize(): value for polygon, value in expected.items()
    }
    assert hectares.sum() == pytest.approx(hectares_of(classes_HW, grid_of(classes_HW))[1].sum())


def simple(polygons):
    """Without the vertices at which nothing turns."""
    return shapely.simplify(polygons, 0.0)


@settings(max_examples=40, deadline=None)
@given(maps(), st.booleans())
def test_objects_are_numbered_as_opencv_finds_them(made, nodata):
    classes_HW = made[0]
    numbers_HW, class_N = number_objects(classes_HW, nodata)
    expected_HW, expected = np.full(classes_HW.shape, NO_OBJECT), []
    for k in (*range(NUM_CLASSES), *((NODATA,) if nodata else ())):
        found, parts_HW = cv2.connectedComponents((classes_HW == k).view(np.uint8), connectivity=4)
        expected_HW[parts_HW > 0] = parts_HW[parts_HW > 0] + len(expected) - 1
        expected += [k] * (found - 1)
    np.testing.assert_array_equal(numbers_HW, expected_HW)
    assert class_N.tolist() == expected


@pytest.mark.parametrize("simplify", [0.0, 15.0])
def test_outer_rings_run_counterclockwise_and_holes_clockwise(simplify):
    classes_HW = np.random.default_rng(1).choice(np.array([3, 7, NODATA], np.uint8), (40, 40), p=[0.7, 0.2, 0.1])
    polygons, *_ = vectorised(classes_HW, classes_HW, simplify, (16, 32))
    np.testing.assert_array_equal(shapely.to_wkb(polygons), shapely.to_wkb(shapely.orient_polygons(polygons)))
    assert shapely.get_num_interior_rings(polygons).any()


def test_a_file_has_what_is_known_of_each_polygon(tmp_path):
    classes_HW = np.array([[0, 0, NODATA], [0, 18, 18]], np.uint8)
    confidence_HW = np.array([[250, 125, NODATA], [0, 50, 100]], np.uint8)
    for name, values_HW in (("classes", classes_HW), ("confidence", confidence_HW)):
        with rasterio.open(tmp_path / f"{name}.tif", "w", **raster(values_HW, grid_of(values_HW)).profile) as dataset:
            dataset.write(values_HW, 1)
    path = tmp_path / "map_polygons.gpkg"
    write_land_cover(path, [tmp_path / "classes.tif"], [tmp_path / "confidence.tif"], 0.0, "here", {"SEG_VERSION": "1"})
    table = geopandas.read_file(path, layer="map_polygons")
    assert table.crs.to_epsg() == 32633
    urban, water = (table[table["class"] == k].iloc[0] for k in (0, 18))
    assert (urban["name"], urban["clc_codes"], urban["color"]) == ("Urban fabric", "111, 112", "#ff0000")
    assert (water["name"], water["scene"]) == (CLASSES[18].name, "here")
    assert urban["confidence"] == pytest.approx((250 + 125 + 0) / 3 / 250)
    _, hectares = hectares_of(classes_HW, grid_of(classes_HW))
    assert table.set_index("class")["hectares"][[0, 18]].tolist() == pytest.approx(hectares[[0, 18]].tolist())
    assert table.geometry.exterior.is_ccw.all()
    assert is_marked(path)
    with closing(sqlite3.connect(path)) as database:
        ((kind,),) = database.execute("SELECT geometry_type_name FROM gpkg_geometry_columns").fetchall()
        indexed = database.execute("SELECT 1 FROM gpkg_extensions WHERE extension_name = 'gpkg_rtree_index'")
        assert (kind, len(indexed.fetchall())) == ("POLYGON", 1)


@pytest.mark.parametrize(
    "name", ["#1", "(2)", "*", "-x", ".hidden", '"q"', "gpkg_map", "GPKG", "sqlite_x", "50%", "a b"]
)
def test_a_layer_is_named_as_the_file_where_it_may_be(tmp_path, name):
    """GDAL refuses layers that begin with most signs or with what the format keeps for itself."""
    schema = pa.schema([("geom", pa.binary()), ("a", pa.int64())])
    batch = pa.record_batch([pa.array([shapely.box(0, 0, 1, 1).wkb]), pa.array([1])], schema=schema)
    path = tmp_path / f"{name}.gpkg"
    write_geopackage(path, [batch], schema, "EPSG:32633", {}, Style("s", "<qml/>", "<sld/>"))
    layer = name if name in {"50%", "a b"} else f"_{name}"
    assert list(geopandas.read_file(path, layer=layer).a) == [1]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT f_table_name FROM layer_styles").fetchall() == [(layer,)]


def test_a_map_that_cannot_be_read_to_its_end_leaves_no_polygons(tmp_path, monkeypatch):
    values_HW = np.zeros((4, 4), np.uint8)
    with rasterio.open(tmp_path / "map.tif", "w", **raster(values_HW, grid_of(values_HW)).profile) as dataset:
        dataset.write(values_HW, 1)

    def breaks(*_):
        yield from ()
        raise OSError("the disk has gone")

    monkeypatch.setattr("seg.maps.land_cover.land_cover", breaks)
    with pytest.raises(OSError, match="the disk has gone"):
        write_land_cover(tmp_path / "x.gpkg", [tmp_path / "map.tif"], [tmp_path / "map.tif"], 0.0, "here", {})
    assert not list(tmp_path.glob("*x.gpkg*"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    synthesise(folder / "reben", 40, seed=0)
    build_store(published_sources(folder / "reben"), folder / "store")
    # LinkNet, which other tests take, gives a polygon for every second pixel as long as it has learned nothing.
    settings = {"model__arch": "unet", "model__encoder": "tu-test_efficientnet", "train__max_steps": 2}
    return quick_run(folder / "run", folder / "store", data__bands="B02,B03,B04", train__batch_size=8, **settings)


def read(path):
    with rasterio.open(path) as dataset:
        corner = dataset.transform
        grid = GeoRef(dataset.crs.to_epsg(), corner.c, corner.f, corner.a, dataset.width, dataset.height)
        return dataset.read(1), grid


def require_equal_areas(path, classes_HW, grid):
    """Summed by class, hectares of polygons are those of a map."""
    table = geopandas.read_file(path, layer=path.stem)
    _, hectares = hectares_of(classes_HW, grid)
    sums = table.groupby("class")["hectares"].sum().reindex(range(NUM_CLASSES), fill_value=0.0)
    np.testing.assert_allclose(sums, hectares[:NUM_CLASSES], rtol=1e-9, atol=1e-9)
    assert table.is_valid.all()
    assert shapely.coverage_is_valid(table.geometry.to_numpy())
    return table


def test_mosaics_get_polygons_of_their_classes(run, tmp_path):
    result = export(run, tmp_path, mosaic=True, polygons=PolygonOptions(simplify=15), vector_format="gpkg")
    for path in result.mosaics:
        product = path.name.removesuffix("_map.tif")
        table = require_equal_areas(path.with_name(f"{product}_polygons.gpkg"), *read(path))
        assert set(table["scene"]) == {product}
    footprints = geopandas.read_file(tmp_path / "footprints.gpkg")
    assert footprints.crs == CRS84
    assert set(footprints["product"]) == {path.name.removesuffix("_map.tif") for path in result.mosaics}
    # Those of another format would be of the earlier export.
    export(run, tmp_path, mosaic=True)
    assert not (tmp_path / "footprints.gpkg").exists()
    again = geopandas.read_parquet(tmp_path / "footprints.parquet").set_index("patch_id")
    assert again.geometry.geom_equals(footprints.set_index("patch_id").geometry[again.index]).all()
    joined = ["; ".join(labels) for labels in again["labels"]]
    assert joined == footprints.set_index("patch_id")["labels"][again.index].fillna("").tolist()


def test_confidence_of_mosaics_is_that_of_the_network(run, tmp_path):
    export(run, tmp_path, mosaic=True, polygons=PolygonOptions())
    session = open_session(plan_use(run, device="cpu"))
    largest = {}
    for prediction in predictions(session.model, session.dataset, session.how(silent)):
        highest = (prediction.pixel_logits_BKHW / session.card.calibration).softmax(1).max(1).values
        names = session.dataset.patch_ids(prediction.batch.rows_B.cpu().numpy())
        largest |= {name: float(mean) for name, mean in zip(names, highest.mean((1, 2)), strict=True)}
    for path in tmp_path.glob("*_polygons.gpkg"):
        table = geopandas.read_file(path, layer=path.stem)
        mean = np.average(table["confidence"], weights=table["hectares"])
        mine = [value for name, value in largest.items() if PatchId.parse(name).product in path.name]
        assert mean == pytest.approx(np.mean(mine), abs=0.003)


def test_small_polygons_are_merged_by_probabilities_and_the_map_stays(run, tmp_path, monkeypatch):
    scene = synthesise_scene(tmp_path / "scene", 240, seed=1).product
    small = {"window": 96, "overlap": 32}
    (plain,) = predict(run, [scene], tmp_path / "plain.tif", **small, polygons=PolygonOptions())
    kept = []

    def keeps(strips):
        kept.append(strips)

    monkeypatch.setattr("seg.maps.parts.Unfinished.remove", keeps)
    (done,) = predict(run, [scene], tmp_path / "map.tif", **small, polygons=PolygonOptions(min_area=1), mmu=0.1)
    parts = sorted(kept[0].folder.glob("surprisals-*.tif"))
    costs_KHW = np.concatenate([rasterio.open(part).read() for part in parts], axis=1)
    before, grid = read(plain.path)
    require_equal_areas(tmp_path / "plain_polygons.gpkg", before, grid)
    np.testing.assert_array_equal(read(done.path)[0], generalised(before, costs_KHW, 10, cut=False))
    expected = generalised(before, costs_KHW, 100, cut=False)
    table = require_equal_areas(tmp_path / "map_polygons.gpkg", expected, grid)
    assert table.area.min() >= 10_000
    with closing(sqlite3.connect(tmp_path / "map_polygons.gpkg")) as database:
        ((metadata,),) = database.execute("SELECT metadata FROM gpkg_metadata").fetchall()
    assert '"MINIMUM_MAPPING_UNIT_HA">1<' in metadata


def test_labels_of_cells_come_in_both_formats(run, tmp_path):
    scene = synthesise_scene(tmp_path / "scene", 240, seed=1).product
    small = {"window": 240, "labels": True}
    predict(run, [scene], tmp_path / "map.tif", **small)
    cells = geopandas.read_parquet(tmp_path / "map_labels.parquet")
    said = []
    predict(run, [scene], tmp_path / "map.tif", **small, vector_format="gpkg", notify=said.append)
    assert any("map_labels.parquet, which belonged to the earlier map.tif" in one for one in said)
    table = geopandas.read_file(tmp_path / "map_labels.gpkg")
    assert table["patch_id"].tolist() == cells["patch_id"].tolist()
    assert table.geometry.geom_equals(cells.geometry).all()
    # No label is no text, for GDAL's readers.
    assert table["predicted_labels"].fillna("").tolist() == ["; ".join(one) for one in cells["predicted_labels"]]


def test_no_polygons_at_all(tmp_path):
    import pyarrow as pa

    empty = pa.table({"patch_id": pa.array([], pa.string()), "labels": pa.array([], pa.list_(pa.string()))})
    write_footprints(tmp_path / "none.gpkg", empty, {"SEG_VERSION": "1"})
    assert len(geopandas.read_file(tmp_path / "none.gpkg")) == 0


def test_what_makes_no_sense_is_refused(run, tmp_path):
    assert polygon_options(False, 0.0, 0.0) is None
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(WrongUseError, match="such as --min-area 25"):
            polygon_options(True, wrong, 0.0)
        with pytest.raises(WrongUseError, match="such as --simplify 20"):
            PolygonOptions(simplify=wrong)
    with pytest.raises(WrongUseError, match=r"--min-area is of polygons, .* add --polygons"):
        polygon_options(False, 1.0, 0.0)
    with pytest.raises(WrongUseError, match=r"--simplify is of polygons, .* add --polygons"):
        polygon_options(False, 0.0, 20.0)
    with pytest.raises(WrongUseError, match="add --mosaic"):
        export(run, tmp_path, polygons=PolygonOptions())
    with pytest.raises(WrongUseError, match="leave out --patches"):
        export(run, tmp_path, polygons=PolygonOptions(), mosaic=True, patches=True)
