"""Catalogues of a synthetic product: its bands as Cloud-Optimized GeoTIFFs, and items as providers write them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from seg.reben.bands import BANDS, S2_BANDS

EARTH_SEARCH = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
"""Keys of Earth Search; its common names but for the three of the red edge."""
STYLES = ("earth-search", "earth-search-raw", "planetary-computer", "stac-1.1")
"""Of Earth Search with the offset of 1000 taken off, and without; by the baseline alone; by ``bands`` of STAC 1.1."""


def band_files(product: Path) -> Iterator[tuple[str, Path]]:
    """Bands of a SAFE folder, each at its own resolution."""
    for band in S2_BANDS:
        (file,) = product.glob(f"GRANULE/*/IMG_DATA/R{BANDS[band].pixel_size}m/*_{band}_*.jp2")
        yield band, file


def write_cogs(product: Path, folder: Path, *, offset: int = 0, names: dict[str, str] | None = None) -> None:
    """Write the bands of a product as ``<folder>/<name>.tif``, with so much taken off, and a scene classification."""
    folder.mkdir(parents=True, exist_ok=True)
    for band, file in band_files(product):
        with rasterio.open(file) as source:
            values = source.read(1)
            profile = {"crs": source.crs, "transform": source.transform, "dtype": "uint16", "count": 1, "nodata": 0}
        kept = np.where(values > 0, np.clip(values.astype(np.int64) - offset, 1, None), 0).astype(np.uint16)
        name = (names or {}).get(band, band)
        height, width = kept.shape
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="COG", height=height, width=width, blocksize=128, compress="deflate",
            overviews="none", **profile,
        ) as target:  # fmt: skip
            target.write(kept, 1)
        if band == "B8A":
            write_classification(folder / "SCL.tif", kept, profile)


def write_classification(path: Path, values_HW: np.ndarray, profile: dict[str, Any]) -> None:
    """A classification in which all of its classes occur, cloud and shadow in blots."""
    random = np.random.default_rng(3)
    height, width = values_HW.shape
    coarse_HW = random.integers(2, 12, (height // 8 + 1, width // 8 + 1))
    classes_HW = np.kron(coarse_HW, np.ones((8, 8))).astype(np.uint8)[:height, :width]
    with rasterio.open(
        path, "w", driver="COG", height=classes_HW.shape[0], width=classes_HW.shape[1], blocksize=128,
        **{**profile, "dtype": "uint8"},
    ) as target:  # fmt: skip
        target.write(classes_HW, 1)


def write_item(product: Path, folder: Path, style: str = "earth-search", **properties: Any) -> Path:
    """Write COGs of a product and ``<folder>/item.json`` beside them, whose addresses are relative.

    Args:
        product: SAFE folder of baseline 05.11, whose DN have an offset of 1000.
        folder: Where to.
        style: One of `STYLES`.
        properties: More of the item, or instead of what it would have.
    """
    earth = style.startswith("earth-search")
    applied = style == "earth-search"
    names = EARTH_SEARCH if earth else {band: band for band in S2_BANDS}
    write_cogs(product, folder, offset=1000 if applied else 0, names=names)
    assets: dict[str, Any] = {}
    for band, name in {**names, "SCL": "scl" if earth else "SCL"}.items():
        file = f"{name if band != 'SCL' else 'SCL'}.tif"
        with rasterio.open(folder / file) as raster:
            place = {"proj:shape": list(raster.shape), "proj:transform": list(raster.transform)[:6]}
            epsg = raster.crs.to_epsg()
        asset: dict[str, Any] = {
            "href": f"./{file}",
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            **place,
        }
        if band != "SCL":
            scaled = {"scale": 0.0001, "offset": -0.1}
            if earth:
                asset |= {"eo:bands": [{"name": name, "common_name": name}], "raster:bands": [{"nodata": 0, **scaled}]}
            elif style == "planetary-computer":
                # It calls B8A's a red edge too.
                asset |= {"eo:bands": [{"name": band, "common_name": "rededge" if band == "B8A" else name}]}
            else:
                asset |= {
                    "bands": [{"name": band, "eo:common_name": "x"}],
                    "raster:scale": 0.0001,
                    "raster:offset": -0.1,
                }
        assets[name if style != "stac-1.1" else f"{name}_{BANDS[band].pixel_size if band in BANDS else 20}m"] = asset
    shutil.copy(folder / f"{names['B04']}.tif", folder / "TCI.tif")
    assets["visual"] = {
        "href": "./TCI.tif", "type": "image/tiff", "roles": ["data"],
        "eo:bands": [{"name": band} for band in ("B04", "B03", "B02")],
    }  # fmt: skip
    assets["thumbnail"] = {"href": "./none.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    told: dict[str, Any] = {
        "datetime": "2018-05-25T09:51:15.024Z",
        "eo:cloud_cover": 12.5,
        "s2:processing_baseline": "05.11",
        ("proj:code" if style == "stac-1.1" else "proj:epsg"): f"EPSG:{epsg}" if style == "stac-1.1" else epsg,
    }
    if earth:
        told["earthsearch:boa_offset_applied"] = applied
    told = {key: value for key, value in {**told, **properties}.items() if value is not None}
    item = {
        "type": "Feature",
        "stac_version": "1.1.0" if style == "stac-1.1" else "1.0.0",
        "id": product.name.removesuffix(".SAFE"),
        "collection": "sentinel-2-l2a",
        "bbox": [26.0, 59.0, 27.0, 60.0],
        "geometry": {"type": "Polygon", "coordinates": [[[26, 59], [27, 59], [27, 60], [26, 60], [26, 59]]]},
        "properties": told,
        "links": [],
        "assets": assets,
    }
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return path


def api_of(server, features):
    """Let a server answer as a STAC API that has these items; gives its address and what it is asked."""
    asked = []
    landing = {
        "type": "Catalog", "stac_version": "1.0.0", "id": "api", "description": "api",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
        "links": [
            {"rel": "search", "href": f"{server.url}/api/search", "method": "POST", "type": "application/geo+json"}
        ],
    }  # fmt: skip

    def search(body):
        asked.append(json.loads(body))
        return json.dumps({"type": "FeatureCollection", "features": features, "links": []}).encode()

    server.answers["/api/"] = server.answers["/api"] = lambda _: json.dumps(landing).encode()
    server.answers["/api/search"] = search
    return f"{server.url}/api", asked
