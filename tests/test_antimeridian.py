"""Scenes across 180 degrees: their items, cells and parts lie where they do, and not all around the Earth."""

import json
from types import SimpleNamespace

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.warp import transform
from test_stac import card, mapped, valid

from seg.errors import WrongUseError
from seg.maps.geotiff import write_class_map
from seg.maps.part import _read_shape, choose_part, read_box
from seg.maps.vrt import write_vrt
from seg.reben.patch import GeoRef
from seg.stac.items import COLLECTION, MODEL, Described, write_collection, write_item
from seg.stac.model_item import write_model_item
from seg.vectors.footprints import in_degrees, write_polygons

PLACES = [(32601, 66.0), (32660, 66.0), (32760, -17.5), (32701, -17.5)]


def across(epsg: int, latitude: float, edge: int = 400) -> GeoRef:
    """A grid with 180 degrees in its middle."""
    (x,), (y,) = transform("EPSG:4326", f"EPSG:{epsg}", [180.0], [latitude])
    return GeoRef(epsg, round(x / 10) * 10 - 5 * edge, round(y / 10) * 10 + 5 * edge, 10.0, edge, edge)


def area(shape, epsg):
    """Square metres of a shape in degrees, in the CRS of its place."""
    return geopandas.GeoSeries([shape], crs=4326).to_crs(epsg).area.sum()


@pytest.mark.parametrize(("epsg", "latitude"), PLACES)
def test_items_are_cut(tmp_path, epsg, latitude):
    grid = across(epsg, latitude)
    described = mapped(tmp_path, grid=grid)
    item = valid(write_item(described))
    shape = shapely.geometry.shape(item.geometry)
    assert shape.is_valid
    assert area(shape, epsg) == pytest.approx((grid.width * 10) ** 2, rel=1e-3)
    west, south, east, north = item.bbox
    assert 179 < west < 180
    assert -180 < east < -179
    assert south < latitude < north


def test_a_collection_spans_what_is_cut_and_what_lies_beside(tmp_path):
    first = tmp_path / "first"
    grid = across(32760, -17.5)
    grids = {"a": grid, "b": GeoRef(grid.epsg, grid.x_min - 100_000, grid.y_max, 10.0, 400, 400)}
    described = [mapped(first, name, grid=one) for name, one in grids.items()]
    items = [write_item(Described(one.path, one.files, first / MODEL), "first") for one in described]
    write_model_item(first / MODEL, card(), first / "x", "00ff")
    write_collection(first, items, "Two maps.")
    west, _, east, _ = valid(first / COLLECTION).extent.spatial.bboxes[0]
    assert west == json.loads(items[1].read_text())["bbox"][0] < 179.5
    assert east == json.loads(items[0].read_text())["bbox"][2] < -179


def test_a_collection_of_both_sides_of_the_earth_spans_all_of_it(tmp_path):
    """One map lies across 180 degrees, the other across 0."""
    first = tmp_path / "first"
    (x,), (y,) = transform("EPSG:4326", "EPSG:32631", [0.0], [45.0])
    at_zero = GeoRef(32631, round(x / 10) * 10 - 2000, round(y / 10) * 10, 10.0, 400, 400)
    described = [mapped(first, name, grid=one) for name, one in {"a": across(32760, -17.5), "b": at_zero}.items()]
    items = [write_item(Described(one.path, one.files, first / MODEL), "first") for one in described]
    write_model_item(first / MODEL, card(), first / "x", "00ff")
    write_collection(first, items, "Two maps.")
    west, south, east, north = valid(first / COLLECTION).extent.spatial.bboxes[0]
    assert (west, east) == (-180, 180)
    assert south < -17.5
    assert 44.9 < north < 45.1


@pytest.mark.parametrize(("epsg", "latitude"), PLACES)
@pytest.mark.parametrize("ending", ["gpkg", "parquet"])
def test_cells_are_cut(tmp_path, epsg, latitude, ending):
    import pyarrow as pa

    grid = across(epsg, latitude)
    edges = grid.x_min + 1_000 * np.arange(4)
    boxes = np.stack([edges, np.full(4, grid.y_max - 3_000), edges + 1_000, np.full(4, grid.y_max - 2_000)], 1)
    shapes = in_degrees(boxes, epsg)
    for shape in shapes:
        assert shape.is_valid
        assert area(shape, epsg) == pytest.approx(1e6, rel=1e-3)
        assert all(part.bounds[2] - part.bounds[0] < 1 for part in shapely.get_parts(shape))
    assert any(shape.geom_type == "MultiPolygon" for shape in shapes)
    path = tmp_path / f"cells.{ending}"
    write_polygons(path, pa.table({"row": [0, 1, 2, 3]}), shapes, {})
    if ending == "gpkg":
        assert pyogrio.read_info(path)["geometry_type"] == "MultiPolygon"
        found = geopandas.read_file(path)
    else:
        found = geopandas.read_parquet(path)
    assert all(one.equals(other) for one, other in zip(found.geometry, shapes, strict=True))


@pytest.mark.parametrize(("epsg", "latitude"), PLACES)
def test_a_box_is_found_from_either_side_and_across(epsg, latitude):
    grid = across(epsg, latitude)
    scene = SimpleNamespace(grid=grid, name="a scene")
    low, high = latitude - 0.005, latitude + 0.005

    def cut(text):
        return choose_part(scene, read_box(text), None).inner

    west, east = cut(f"179,{low},180,{high}"), cut(f"-180,{low},-179,{high}")
    both, wide = cut(f"179.995,{low},-179.995,{high}"), cut(f"179,{low},-179,{high}")
    assert west.left == wide.left == 0
    assert east.left + east.width == wide.left + wide.width == grid.width
    assert abs(west.left + west.width - grid.width / 2) < 10
    assert abs(east.left - grid.width / 2) < 10
    assert both.left + both.width / 2 == pytest.approx(grid.width / 2, abs=10)
    assert both.width < grid.width
    with pytest.raises(WrongUseError, match="does not touch"):
        cut(f"10,{low},11,{high}")


@pytest.mark.parametrize("text", ["13.3,47.7,13.1,47.9", "100,0,-70,10", "190,0,-170,10", "179,10,-179,0"])
def test_a_box_with_its_edges_the_wrong_way_round_is_still_none(text):
    with pytest.raises(WrongUseError, match="is no box"):
        read_box(text)


@pytest.mark.parametrize(("epsg", "latitude"), PLACES)
def test_polygons_to_be_mapped_may_be_large_and_cut(tmp_path, epsg, latitude):
    grid = across(epsg, latitude)
    world = geopandas.GeoSeries([shapely.box(-180, -90, 180, latitude)], crs=4326)
    world.to_file(tmp_path / "world.gpkg")
    shape = _read_shape(tmp_path / "world.gpkg", grid)
    inside = shape.intersection(shapely.box(*grid.bounds))
    assert inside.area == pytest.approx(grid.width * grid.height * 50, rel=0.01)
    cut = geopandas.GeoSeries(
        [shapely.box(179.9, latitude - 1, 180, latitude), shapely.box(-180, latitude - 1, -179.9, latitude)], crs=4326
    )
    cut.to_file(tmp_path / "cut.gpkg")
    assert _read_shape(tmp_path / "cut.gpkg", grid).intersection(shapely.box(*grid.bounds)).area == pytest.approx(
        inside.area, rel=0.01
    )


def test_a_search_across_covers_what_lies_on_both_sides():
    from seg.catalogue.item import Item
    from seg.catalogue.search import _fewest_clouds

    box = (179.5, -18.0, -179.5, -17.0)

    def item(name, cloud, bbox, shape=None):
        geometry = None if shape is None else shapely.geometry.mapping(shape)
        return Item(name, None, {}, cloud=cloud, bbox=bbox, geometry=geometry)

    west, east = item("w", 5.0, (179.0, -18.5, 180.0, -16.5)), item("e", 9.0, (-180.0, -18.5, -179.0, -16.5))
    far = item("far", 0.0, (-100.0, -18.5, 100.0, -16.5))
    chosen, covered = _fewest_clouds([far, east, west], box, False)
    assert [one.name for one in chosen] == ["w", "e"]
    assert covered == pytest.approx(1)
    # Three dimensions; and rings that meet themselves.
    both = item("both", 1.0, (179.0, -18.5, 0.0, -179.0, -16.5, 900.0))
    assert [one.name for one in _fewest_clouds([west, east, both], box, True)[0]] == ["both"]
    twisted = shapely.Polygon([(179, -18.5), (180, -16.5), (180, -18.5), (179, -16.5)])
    assert [one.name for one in _fewest_clouds([item("x", 0.0, None, twisted)], box, False)[0]] == ["x"]


def virtual(folder, grids):
    """A virtual raster of random maps; gives what it and they hold."""
    maps = []
    for number, grid in enumerate(grids):
        values = np.random.default_rng(number).integers(0, 19, (grid.height, grid.width)).astype(np.uint8)
        write_class_map(folder / f"{number}.tif", values, grid)
        maps.append(folder / f"{number}.tif")
    write_vrt(folder / "map.vrt", maps, tags={})
    return maps


@pytest.mark.parametrize(
    ("grids", "epsg"),
    [
        # On both sides of 180 degrees, of a border of zones in the Andes, and of none but half a pixel.
        ([across(32760, -17.5, 60), across(32701, -17.6, 60)], 32760),
        ([GeoRef(32718, 820_000, 8_000_000, 10.0, 60, 60), GeoRef(32719, 180_000, 8_000_000, 10.0, 60, 60)], 32718),
        ([GeoRef(32719, 400_000, 8_000_000, 10.0, 60, 60), GeoRef(32719, 400_605, 8_000_000, 10.0, 60, 60)], 32719),
        ([GeoRef(32633, 400_000, 5_000_000, 10.0, 60, 60), GeoRef(32633, 400_605, 5_000_000, 10.0, 60, 60)], 3035),
        ([GeoRef(32633, 400_000, 5_000_000, 10.0, 60, 60), GeoRef(32719, 400_000, 9_000_000, 10.0, 60, 60)], 6933),
        ([GeoRef(32719, 400_000, 8_000_000, 10.0, 60, 60), GeoRef(32719, 400_600, 8_000_000, 10.0, 60, 60)], 32719),
    ],
)
def test_maps_of_any_place_are_put_together(tmp_path, grids, epsg):
    maps = virtual(tmp_path, grids)
    with rasterio.open(tmp_path / "map.vrt") as dataset:
        assert dataset.crs.to_epsg() == epsg
        # Maps side by side are not spread over the whole Earth.
        assert epsg == 6933 or max(dataset.shape) < 50_000
        for path in maps:
            with rasterio.open(path) as source:
                values = source.read(1)
                for row, column in ((10, 10), (30, 45), (55, 5)):
                    x, y = transform(source.crs, dataset.crs, *([c] for c in source.xy(row, column)))
                    (value,) = dataset.sample([(x[0], y[0])])
                    assert value[0] in values[row - 2 : row + 3, column - 2 : column + 3]
