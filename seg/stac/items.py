"""STAC of maps: an item for each, and a collection over several.

Items say what the tags of the maps say, so that a map that has been moved can be described as well as a new one. They
are of STAC 1.1 with the extensions projection 2.0, raster 1.1, classification 2.0 and processing 1.1; that of
their model is written by `seg.stac.model_item`. Addresses are relative: a folder may be put anywhere.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.io import DatasetReader
from rasterio.warp import transform_geom

from seg.errors import WrongUseError
from seg.reben.classes import IGNORE_INDEX
from seg.reben.names import acquired_in, product_in
from seg.store.atomic import write_text
from seg.styles.palette import AGREEMENT, LAND_COVER, Palette

if TYPE_CHECKING:
    import pystac

COLLECTION, MODEL = "collection.json", "model.json"
"""Of a folder of several maps."""
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.1.0/schema.json",
]
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
REBEN = "https://doi.org/10.5281/zenodo.10891137"
"""The data set, of whose patches exports are made and models are trained."""
_FIRST = "2015-06-23T00:00:00Z"
"""Launch of Sentinel-2A."""
_TITLES = {
    "classes": "Land cover",
    "confidence": "Confidence, and entropy / ln 19",
    "probabilities": "Probabilities of the classes",
    "reference": "Reference map",
    "agreement": "Where the map agrees with the reference",
    "labels": "Multi-labels of cells of 1.2 km",
    "polygons": "Land cover as polygons",
    "areas": "Areas of the classes",
    "zones": "Areas of the classes by zone",
    "png": "Picture with legend",
    "qml": "Style for QGIS",
}
"""Of files, by what their names have after the stem of the map."""
_MEDIA = {
    ".tif": (_COG, "data"),
    ".tiff": (_COG, "data"),
    ".gpkg": ("application/geopackage+sqlite3", "data"),
    ".parquet": ("application/vnd.apache.parquet", "data"),
    ".png": ("image/png", "overview"),
    ".csv": ("text/csv", "metadata"),
    ".md": ("text/markdown", "metadata"),
    ".qml": ("application/xml", "metadata"),
}
"""Media type and role of a file by its ending."""
_SECOND = {".md": "-text", ".qml": "-style"}
"""What tells files from others of the same name."""
_PALETTES = {"classes": LAND_COVER, "reference": LAND_COVER, "agreement": AGREEMENT}
_NOT_SAID = ("AREA_OR_POINT", "ACQUIRED", "SOURCE", "TIFFTAG_SOFTWARE")
"""Tags that stand elsewhere in an item."""


@dataclass(frozen=True)
class Described:
    """A map to be described.

    Attributes:
        path: Its class map.
        files: All of its files.
        model: Where the item of its model is.
    """

    path: Path
    files: Sequence[Path]
    model: Path

    @property
    def item(self) -> Path:
        """Where its item is."""
        return item_of_map(self.path)


def item_of_map(path: Path) -> Path:
    """The item of a class map."""
    return path.with_suffix(".json")


def model_of_map(path: Path) -> Path:
    """The item of the model of a map that is alone."""
    return path.with_name(f"{path.stem}_model.json")


def require_pystac() -> None:
    """Make sure that items can be written, before the work begins.

    Raises:
        WrongUseError: If not.
    """
    if find_spec("pystac") is None:
        raise WrongUseError("--stac needs pystac, which is not installed; run: pip install 'seg[stac]'")


def write_item(described: Described, collection: str | None = None) -> Path:
    """Write the item of a map.

    Args:
        described: The map; its files are there.
        collection: Name of the collection that it belongs to, which lies beside it.

    Returns:
        The item.

    Raises:
        OSError: If it cannot be written.
    """
    import pystac

    path = described.path
    with rasterio.open(path) as raster:
        tags = raster.tags()
        geometry = transform_geom(raster.crs, "EPSG:4326", _outline(raster), precision=7)
        projection = _projection(raster)
    name = tags.get("SCENE") or path.stem
    acquired = _acquired(tags, path)
    item = pystac.Item(
        id=path.stem,
        geometry=geometry,
        bbox=_bounds(geometry),
        datetime=acquired,
        properties={
            "title": f"Land cover of {name}",
            "description": _lineage(tags),
            "created": _now(),
            "gsd": projection["proj:transform"][0],
            # Nothing tells when: between the first of these satellites and now.
            **({} if acquired else {"start_datetime": _FIRST, "end_datetime": _now()}),
            **projection,
            "processing:level": "L4",
            "processing:lineage": _lineage(tags),
            "processing:software": {"seg": tags["SEG_VERSION"]},
            **{f"seg:{key.lower()}": value for key, value in sorted(tags.items()) if key not in _NOT_SAID},
        },
        stac_extensions=list(_EXTENSIONS),
        collection=collection,
    )
    for key, asset in _assets(described, tags):
        item.add_asset(key, asset)
    if collection is not None:
        for relation in ("collection", "parent"):
            item.add_link(pystac.Link(relation, f"./{COLLECTION}", "application/json"))
    for link in _origins(tags, described):
        item.add_link(link)
    write_text(described.item, json_text(item.to_dict(include_self_link=False, transform_hrefs=False)))
    return described.item


def _assets(described: Described, tags: Mapping[str, str]) -> "Iterable[tuple[str, pystac.Asset]]":
    import pystac

    stem = described.path.stem
    for file in sorted(described.files, key=lambda file: (file != described.path, file.name)):
        # Other layers of a mosaic stand beside it under the name of its product.
        told = file.name.removeprefix(stem).removeprefix(stem.removesuffix("_map")).lstrip("._")
        if file.suffix.lower() not in _MEDIA:
            continue
        what = told.rpartition(".")[0] or told
        key = "classes" if file == described.path else f"{what}{_SECOND.get(file.suffix, '')}" if what != told else what
        media, role = _MEDIA[file.suffix.lower()]
        more: dict[str, Any] = {}
        if media == _COG:
            with rasterio.open(file) as raster:
                more = {"raster:bands": _bands(raster), "processing:level": "L4"}
            if key != "reference":
                more["mlm:name"] = tags["MODEL"]
        if key in _PALETTES:
            more["classification:classes"] = classes_of(_PALETTES[key])
        title = _TITLES.get("classes" if file == described.path else what)
        yield key, pystac.Asset(f"./{file.name}", title, media_type=media, roles=[role], extra_fields=more)


def classes_of(palette: Palette) -> list[dict[str, Any]]:
    """Values of a map as the extension classification has them, and the one without data."""
    classes: list[dict[str, Any]] = [
        {
            "value": entry.value,
            "name": "-".join("".join(c if c.isalnum() else " " for c in entry.name.lower()).split()),
            "title": entry.name,
            "color_hint": "".join(f"{part:02X}" for part in entry.color),
        }
        for entry in palette.entries
    ]
    return [*classes, {"value": IGNORE_INDEX, "name": "nodata", "title": "No data", "nodata": True}]


def _bands(raster: DatasetReader) -> list[dict[str, Any]]:
    said = zip(raster.descriptions, raster.dtypes, raster.nodatavals, raster.scales, raster.offsets, strict=True)
    return [
        {
            "name": name,
            "data_type": dtype,
            "nodata": nodata,
            "spatial_resolution": raster.res[0],
            "sampling": "area",
            **({"scale": scale, "offset": offset} if (scale, offset) != (1, 0) else {}),
        }
        for name, dtype, nodata, scale, offset in said
    ]


def _projection(raster: DatasetReader) -> dict[str, Any]:
    return {
        "proj:code": f"EPSG:{raster.crs.to_epsg()}",
        "proj:shape": list(raster.shape),
        "proj:transform": list(raster.transform)[:6],
        "proj:bbox": list(raster.bounds),
    }


def _outline(raster: DatasetReader) -> dict[str, Any]:
    """The edge of a raster, with places between its corners, since it is no straight line in degrees."""
    west, south, east, north = raster.bounds
    steps = [i / 8 for i in range(8)]
    ring = [
        *((west, north + (south - north) * t) for t in steps),
        *((west + (east - west) * t, south) for t in steps),
        *((east, south + (north - south) * t) for t in steps),
        *((east + (west - east) * t, north) for t in steps),
    ]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _bounds(geometry: Mapping[str, Any]) -> list[float]:
    """West, south, east, north; of what is cut at 180 degrees, west is more than east (RFC 7946, 5.2)."""
    cut = geometry["type"] == "MultiPolygon"
    rings = [part[0] for part in geometry["coordinates"]] if cut else geometry["coordinates"][:1]
    xs, ys = zip(*(place for ring in rings for place in ring), strict=True)
    west, east = (min(x for x in xs if x > 0), max(x for x in xs if x < 0)) if cut else (min(xs), max(xs))
    return [west, min(ys), east, max(ys)]


def _together(bounds: Sequence[Sequence[float]]) -> list[float]:
    """The same of several."""
    wests, souths, easts, norths = zip(*bounds, strict=True)
    if all(west <= east for west, east in zip(wests, easts, strict=True)):
        return [min(wests), min(souths), max(easts), max(norths)]
    if any(west <= 0 <= east for west, east in zip(wests, easts, strict=True)):
        return [-180, min(souths), 180, max(norths)]
    # As seen from the side of one that is cut.
    west = min(west if west > 0 else west + 360 for west in wests)
    east = max(east if east > 0 else east + 360 for east in easts)
    return [west, min(souths), east - 360, max(norths)]


def _acquired(tags: Mapping[str, str], path: Path) -> datetime | None:
    """When the scene of a map was acquired, UTC; None if nothing tells."""
    told = tags.get("ACQUIRED")
    found = datetime.fromisoformat(told) if told else acquired_in(product_in(tags.get("SCENE", ""), path.stem) or "")
    return found.replace(tzinfo=UTC) if found else None


def _lineage(tags: Mapping[str, str]) -> str:
    """How a map came about, in sentences."""
    said = [f"Land cover of {tags.get('SCENE', 'patches of reBEN')}, mapped by {tags['MODEL']} of {tags['BANDS']}."]
    told = {
        "SYNTHETIC": "Synthetic: {}.",
        "OFFSET_REMOVED": "Offset removed: {}.",
        "POLARISATIONS": "Polarisations: {}.",
        "SENTINEL1": "Sentinel-1: {}.",
        "CLOUD_MASK": "Left out as clouds and shadows: {}.",
        "MINIMUM_MAPPING_UNIT_HA": "Brought to a minimum mapping unit of {} ha.",
        "WARNINGS": "{}",
    }
    return " ".join([*said, *(text.format(tags[key]) for key, text in told.items() if tags.get(key))])


def _origins(tags: Mapping[str, str], described: Described) -> "Iterable[pystac.Link]":
    """What a map is derived from: the item or file of its scene, or reBEN; and its model."""
    import pystac

    if "://" in (source := tags.get("SOURCE", "")):
        media = "application/geo+json" if "/items/" in source or source.endswith("json") else None
        yield pystac.Link("derived_from", source, media, title=tags.get("SCENE"))
    elif "SCENE" not in tags and "SYNTHETIC" not in tags:
        yield pystac.Link("derived_from", REBEN, title="reBEN (BigEarthNet v2.0)")
    model = pystac.Link("derived_from", f"./{described.model.name}", "application/geo+json", title=tags["MODEL"])
    model.extra_fields = {"mlm:name": tags["MODEL"], "processing:level": "L4"}
    yield model


def write_collection(folder: Path, items: Sequence[Path], description: str) -> Path:
    """Write a collection over items that lie in one folder.

    Args:
        folder: The folder.
        items: The items, written by `write_item`.
        description: What they are.

    Raises:
        OSError: If it cannot be written.
    """
    import pystac

    read = [pystac.Item.from_dict(json.loads(path.read_text(encoding="utf-8"))) for path in items]
    extent = pystac.Extent.from_items(read)
    extent.spatial.bboxes = [_together([item.bbox for item in read if item.bbox])]
    collection = pystac.Collection(
        id=collection_id(folder),
        title="Land-cover maps",
        description=description,
        extent=extent,
        license="other",
        keywords=["land cover", "Sentinel-2", "reBEN"],
        summaries=pystac.Summaries(
            {"proj:code": sorted({item.properties["proj:code"] for item in read}), "processing:level": ["L4"]}
        ),
    )
    document = collection.to_dict(include_self_link=False, transform_hrefs=False)
    links = [{"rel": "item", "href": f"./{path.name}", "type": "application/geo+json"} for path in items]
    document["links"] = [
        {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"},
        *links,
        {"rel": "derived_from", "href": f"./{MODEL}", "type": "application/geo+json"},
    ]
    write_text(folder / COLLECTION, json_text(document))
    return folder / COLLECTION


def collection_id(folder: Path) -> str:
    """What the collection of a folder is called."""
    return folder.resolve().name or "maps"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def json_text(document: Mapping[str, Any]) -> str:
    """A document as it is written."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
