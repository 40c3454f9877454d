"""STAC of maps: what pystac reads of it, against the maps, and against the schemas that pystac brings."""

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from jsonschema import Draft7Validator
from rasterio.warp import transform

from seg.maps.geotiff import write_class_map, write_probabilities
from seg.maps.patches import AGREES, MAP
from seg.models.card import Data, ModelCard
from seg.reben.bands import BANDS
from seg.reben.classes import CLASSES, NUM_CLASSES
from seg.reben.patch import GeoRef
from seg.stac.items import (
    COLLECTION,
    MODEL,
    Described,
    classes_of,
    item_of_map,
    model_of_map,
    write_collection,
    write_item,
)
from seg.stac.model_item import write_model_item

pystac = pytest.importorskip("pystac")
from pystac.extensions.classification import ClassificationExtension  # noqa: E402
from pystac.extensions.mlm import MLMExtension  # noqa: E402
from pystac.extensions.projection import ProjectionExtension  # noqa: E402
from pystac.extensions.raster import RasterExtension  # noqa: E402

GRID = GeoRef(32633, 600000, 5300040, 10.0, 60, 40)
TAGS = {
    "SEG_VERSION": "0.3.0",
    "MODEL": "unet resnet18",
    "MODEL_WEIGHTS": "00ff",
    "BANDS": "B02,B03,VV,VH",
    "SCENE": "S2B_MSIL2A_20230613T101559_N0509_R065_T33UUP_20230613T141903",
    "OFFSET_REMOVED": "1000 (said by the STAC item)",
    "SENTINEL1": "S1A_IW_GRDH_1SDV_20230612T165809.tif",
    "WARNINGS": "No pixel is dark enough to tell.",
}
SOURCE = "https://h.eu/v1/collections/sentinel-2-l2a/items/S2B_33UUP"
BANDS_USED = ("B02", "B03", "VV", "VH")


def card(synthetic=False):
    return ModelCard(
        seg_version="0.3.0", arch="unet", encoder="resnet18", scene_head="derived", dropout=0.0, bands=BANDS_USED,
        mean=tuple(BANDS[name].mean for name in BANDS_USED), std=tuple(BANDS[name].std for name in BANDS_USED),
        resampling="bilinear", classes=tuple(c.name for c in CLASSES), parameters=14_300_000,
        data=Data(fingerprint="abc", synthetic=synthetic, train_patches=10), training=None,
    )  # fmt: skip


def mapped(folder, name="map", tags=TAGS, grid=GRID):
    folder.mkdir(parents=True, exist_ok=True)
    classes = np.random.default_rng(0).integers(0, NUM_CLASSES, (grid.height, grid.width)).astype(np.uint8)
    write_class_map(folder / f"{name}.tif", classes, grid, tags)
    probabilities = np.full((NUM_CLASSES, grid.height, grid.width), 1 / NUM_CLASSES, np.float32)
    write_probabilities(folder / f"{name}_probabilities.tif", probabilities, grid, tags)
    for ending in (".qml", ".png", "_areas.csv", "_areas.md"):
        (folder / f"{name}{ending}").write_text("x")
    files = sorted(path for path in folder.iterdir() if path.name.startswith(name) and path.suffix != ".json")
    return Described(folder / f"{name}.tif", files, model_of_map(folder / f"{name}.tif"))


def valid(path):
    """The object that pystac reads of a file that its own schemas take; those of extensions are not at hand."""
    document = json.loads(path.read_text())
    schema = {"Feature": "item", "Collection": "collection"}[document["type"]]
    validator = pystac.validation.RegisteredValidator.get_validator()
    plain = {**document, "stac_extensions": []}
    validator.validate_core(plain, getattr(pystac.STACObjectType, schema.upper()), document["stac_version"])
    return pystac.read_dict(document, href=str(path))


def test_an_item_says_where_its_map_is_and_what_is_in_it(tmp_path):
    described = mapped(tmp_path, tags=TAGS | {"ACQUIRED": "2023-06-13T10:15:59Z", "SOURCE": SOURCE})
    item = valid(write_item(described))
    assert item.id == "map"
    assert item.datetime == datetime(2023, 6, 13, 10, 15, 59, tzinfo=UTC)
    place = ProjectionExtension.ext(item)
    with rasterio.open(described.path) as raster:
        assert place.code == f"EPSG:{raster.crs.to_epsg()}"
        assert place.shape == list(raster.shape)
        assert place.transform == list(raster.transform)[:6]
        assert place.bbox == list(raster.bounds)
        xs, ys = transform(raster.crs, "EPSG:4326", *zip(raster.xy(0, 0), raster.xy(39, 59), strict=True))
    shape = shapely.geometry.shape(item.geometry)
    assert all(shape.contains(shapely.Point(*corner)) for corner in zip(xs, ys, strict=True))
    assert shape.is_valid
    assert shape.exterior.is_ccw
    assert item.bbox == pytest.approx(shape.bounds)
    assert {*item.assets} == {"classes", "probabilities", "qml", "png", "areas", "areas-text"}
    assert item.assets["classes"].href == "./map.tif"
    assert (tmp_path / item.assets["probabilities"].href).is_file()
    bands = RasterExtension.ext(item.assets["probabilities"]).bands
    assert [band.to_dict()["name"] for band in bands] == [c.name for c in CLASSES]
    assert {(band.data_type, band.nodata, band.scale) for band in bands} == {("uint8", 255, 1 / 250)}
    (band,) = RasterExtension.ext(item.assets["classes"]).bands
    assert (band.data_type, band.nodata, band.spatial_resolution) == ("uint8", 255, 10)


def test_an_item_says_how_its_map_came_about(tmp_path):
    described = mapped(tmp_path, tags=TAGS | {"SOURCE": SOURCE})
    item = valid(write_item(described))
    lineage = item.properties["processing:lineage"]
    for text in ("Sentinel-1: S1A_IW_GRDH_1SDV_20230612T165809.tif.", "1000 (said by the STAC item)", "dark enough"):
        assert text in lineage
    assert item.properties["processing:level"] == "L4"
    assert item.properties["processing:software"] == {"seg": "0.3.0"}
    assert item.properties["seg:model_weights"] == "00ff"
    origins = item.get_links("derived_from")
    assert [link.href for link in origins] == [SOURCE, "./map_model.json"]
    assert origins[1].extra_fields["mlm:name"] == item.assets["classes"].extra_fields["mlm:name"] == "unet resnet18"
    # The date of a scene that says none is that of its product.
    assert item.datetime == datetime(2023, 6, 13, 10, 15, 59, tzinfo=UTC)


def test_classes_are_those_of_the_map(tmp_path):
    item = valid(write_item(mapped(tmp_path)))
    classes = ClassificationExtension.ext(item.assets["classes"]).classes
    assert [one.value for one in classes] == [*range(NUM_CLASSES), 255]
    assert [one.title for one in classes][:-1] == [c.name for c in CLASSES]
    assert [one.color_hint for one in classes][:-1] == ["{:02X}{:02X}{:02X}".format(*c.color) for c in CLASSES]
    assert all(re.fullmatch("[0-9A-Za-z_-]+", one.name) for one in classes)
    assert classes[-1].nodata
    assert len({one["name"] for one in classes_of(MAP.palette)}) == NUM_CLASSES + 1


FIELDS = {
    "type": "object",
    "required": ["properties", "assets"],
    "properties": {
        "properties": {
            "type": "object",
            "required": ["proj:code", "proj:shape", "proj:transform", "processing:software"],
            "properties": {
                "proj:code": {"type": "string", "pattern": "^[A-Z]+:[0-9]+$"},
                "proj:shape": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
                "proj:transform": {"type": "array", "items": {"type": "number"}, "minItems": 6, "maxItems": 9},
                "proj:bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                "processing:level": {"type": "string", "pattern": "^L[0-4]"},
                "processing:lineage": {"type": "string"},
                "processing:software": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "assets": {
            "additionalProperties": {
                "properties": {
                    "raster:bands": {
                        "items": {
                            "properties": {
                                "data_type": {"enum": ["uint8", "uint16", "float32"]},
                                "nodata": {"type": ["number", "null"]},
                                "spatial_resolution": {"type": "number"},
                                "sampling": {"enum": ["area", "point"]},
                                "scale": {"type": "number"},
                                "offset": {"type": "number"},
                            }
                        }
                    },
                    "classification:classes": {
                        "uniqueItems": True,
                        "minItems": 1,
                        "items": {
                            "required": ["value", "name"],
                            "additionalProperties": False,
                            "properties": {
                                "value": {"type": "integer"},
                                "name": {"type": "string", "pattern": "^[0-9A-Za-z_-]+$"},
                                "title": {"type": "string"},
                                "color_hint": {"type": "string", "pattern": "^[0-9A-F]{6}$"},
                                "nodata": {"type": "boolean"},
                            },
                        },
                    },
                }
            }
        },
    },
}
"""What the extensions projection 2.0, raster 1.1, classification 2.0 and processing 1.1 ask of the fields in use."""


def test_fields_of_extensions_are_as_they_ask(tmp_path):
    document = json.loads(write_item(mapped(tmp_path)).read_text())
    assert list(Draft7Validator(FIELDS).iter_errors(document)) == []
    document["assets"]["classes"]["classification:classes"][0]["name"] = "Urban fabric"
    assert list(Draft7Validator(FIELDS).iter_errors(document))


def test_when_nothing_tells_the_date_a_range_stands_for_it(tmp_path):
    item = valid(write_item(mapped(tmp_path, tags={**TAGS, "SCENE": "stack"})))
    assert item.datetime is None
    assert item.common_metadata.start_datetime == datetime(2015, 6, 23, tzinfo=UTC)
    assert item.common_metadata.end_datetime.year >= 2023


def test_the_item_of_a_model_says_what_it_takes_and_gives(tmp_path):
    weights = tmp_path / "run" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"x")
    (tmp_path / "maps").mkdir()
    item = valid(write_model_item(tmp_path / "maps" / MODEL, card(), weights, "00ff" * 16))
    model = MLMExtension.ext(item)
    assert (model.mlm_name, model.architecture, model.total_parameters) == ("unet resnet18", "unet", 14_300_000)
    assert model.tasks == ["semantic-segmentation"]
    (taken,), (given,) = model.input, model.output
    assert taken.bands == list(BANDS_USED)
    assert taken.input.shape == [-1, 4, 120, 120]
    scaling = item.properties["mlm:input"][0]["value_scaling"]
    assert [(one["mean"], one["stddev"]) for one in scaling] == [(BANDS[n].mean, BANDS[n].std) for n in BANDS_USED]
    assert given.result.shape == [-1, NUM_CLASSES, 120, 120]
    assert [one["title"] for one in given.to_dict()["classification:classes"]] == [c.name for c in CLASSES]
    href = item.assets["weights"].href
    assert (tmp_path / "maps" / href).resolve() == weights
    assert "SYNTHETIC" not in item.properties["description"]
    synthetic = valid(write_model_item(tmp_path / "maps" / MODEL, card(synthetic=True), weights, "00ff"))
    assert "SYNTHETIC" in synthetic.properties["description"]
    assert not synthetic.get_links("derived_from")
    without_torch = valid(write_model_item(tmp_path / "maps" / MODEL, card(), weights.with_suffix(".onnx"), "00ff"))
    assert [one.properties["mlm:framework"] for one in (item, without_torch)] == ["pytorch", "ONNX"]


def test_a_collection_spans_its_items_wherever_it_is_moved(tmp_path):
    first = tmp_path / "first"
    grids = {"a": GRID, "b": GeoRef(32634, 300000, 5400000, 10.0, 60, 40)}
    described = {name: mapped(first, name, grid=grid) for name, grid in grids.items()}
    items = [write_item(Described(one.path, one.files, first / MODEL), "first") for one in described.values()]
    write_model_item(first / MODEL, card(), first / "x", "00ff")
    write_collection(first, items, "Two maps.")
    moved = Path(shutil.move(first, tmp_path / "moved"))
    collection = valid(moved / COLLECTION)
    read = list(collection.get_items())
    assert {item.id for item in read} == {"a", "b"}
    assert all(item.get_collection().id == collection.id == "first" for item in read)
    shapes = [shapely.geometry.shape(item.geometry) for item in read]
    assert collection.extent.spatial.bboxes[0] == pytest.approx(shapely.unary_union(shapes).bounds)
    assert collection.summaries.lists["proj:code"] == ["EPSG:32633", "EPSG:32634"]
    for item in read:
        (model,) = [link for link in item.get_links("derived_from") if "mlm:name" in link.extra_fields]
        assert (moved / model.href).is_file()


def test_the_layers_of_a_mosaic_are_assets_too(tmp_path):
    product = "S2B_MSIL2A_20170808T094039_N9999_R036_T35ULA"
    described = mapped(tmp_path, f"{product}_map", {key: value for key, value in TAGS.items() if key != "SCENE"})
    shutil.copy(tmp_path / f"{product}_map_probabilities.tif", tmp_path / f"{product}_{AGREES.name}.tif")
    files = [described.path, tmp_path / f"{product}_{AGREES.name}.tif"]
    item = valid(write_item(Described(described.path, files, tmp_path / MODEL)))
    assert {*item.assets} == {"classes", AGREES.name}
    assert item.assets[AGREES.name].extra_fields["classification:classes"][0]["title"] == "Wrong"
    assert item.datetime == datetime(2017, 8, 8, 9, 40, 39, tzinfo=UTC)
    assert item.get_links("derived_from")[0].href == "https://doi.org/10.5281/zenodo.10891137"
    assert item_of_map(described.path).name == f"{product}_map.json"


def test_the_schema_of_pystac_can_refuse(tmp_path):
    path = write_item(mapped(tmp_path))
    broken = json.loads(path.read_text())
    del broken["properties"]["datetime"]
    path.write_text(json.dumps(broken))
    with pytest.raises(Exception, match="datetime"):
        valid(path)
