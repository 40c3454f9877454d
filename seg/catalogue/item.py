"""STAC items: the files of an acquisition by band, and what is said of their values and their grid.

Read are items of STAC 1.0 and 1.1, with the extensions that providers use for Sentinel-2: bands by ``bands`` or
``eo:bands``, scales and offsets by ``raster:bands`` or ``raster:scale``, grids by ``proj:*``. What is not said is None
here; nothing is filled in.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seg.catalogue.address import Place, Remote, is_address, place_of
from seg.catalogue.links import joined, signed
from seg.catalogue.names import CLASSIFICATION, band_called
from seg.catalogue.web import fetch
from seg.config.paths import AnyPath
from seg.errors import BandMissingError, SceneError
from seg.reben.bands import BANDS
from seg.reben.names import metres_in, product_in

_ENDINGS = (".json", ".geojson")
_RASTERS = (".tif", ".tiff", ".jp2", ".vrt", ".zip")
"""Endings of what is no item, also where an address looks like one; ids may end in anything else."""
_MOST = 200
"""Items of one file or collection; who asks for more has named something else than scenes."""
_NO_ROLES = ("thumbnail", "overview", "visual", "metadata")
"""Roles of files that hold no measurements."""
_PICTURE = re.compile(r"visual|preview|rendered|thumbnail|overview|tci", re.IGNORECASE)
"""Begins the keys of such files too: some are said to be data."""
_BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
_BASELINE = re.compile(r"N?(\d\d?)(?:\.(\d\d?))?|N?(\d\d)(\d\d)", re.IGNORECASE)
_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")


@dataclass(frozen=True, slots=True)
class Asset:
    """A band of an item.

    Attributes:
        key: Of the file in the item.
        place: The file.
        index: Of the band in it, from 1.
        count: Bands that the item says the file has.
        scale, offset: Reflectance, or dB, of a stored value v is ``scale * v + offset``; None: the item does not say.
        epsg: Code of its CRS; None: the item does not say, nor the following.
        transform: Of its grid, the six numbers of an affine in the order of rasterio.
        shape: Rows and columns.
        metres: Edge of a pixel.
        jpeg: Whether it is JPEG 2000.
    """

    key: str
    place: Place
    index: int = 1
    count: int = 1
    scale: float | None = None
    offset: float | None = None
    epsg: int | None = None
    transform: tuple[float, ...] | None = None
    shape: tuple[int, int] | None = None
    metres: float | None = None
    jpeg: bool = False


@dataclass(frozen=True)
class Item:
    """An acquisition in a catalogue.

    Attributes:
        name: Its id.
        source: Where the item itself is.
        bands: Its files by band; several where there is one per resolution or format.
        acquired: When; None if it does not say.
        cloud: Per cent; None if it does not say.
        baseline: Of the processing, such as 5.11; None if it does not say.
        offset_applied: Whether the provider says to have taken off the offset of 1000; None if it says nothing.
        product: Name of the Sentinel-2 product as reBEN names it, where known.
        link: Of the item, for those that come after it.
        bbox: West, south, east, north in degrees.
        geometry: Its footprint, as GeoJSON.
    """

    name: str
    source: Place
    bands: Mapping[str, tuple[Asset, ...]] = field(repr=False)
    acquired: datetime | None = None
    cloud: float | None = None
    baseline: float | None = None
    offset_applied: bool | None = None
    product: str | None = None
    link: str | None = None
    bbox: tuple[float, ...] | None = None
    geometry: Mapping[str, Any] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"the STAC item {self.name}"

    def asset(self, band: str) -> Asset:
        """The file of a band: of several, the one of the band's own resolution, and rather a GeoTIFF than JPEG 2000.

        Raises:
            BandMissingError: If it has none.
        """
        held = self.bands.get(band, ())
        if not held:
            there = ", ".join(name for name in BANDS if name in self.bands) or "none of Sentinel-2 or Sentinel-1"
            raise BandMissingError(f"{self} has no {band} (it has {there}); give an item that has it", band)
        own = BANDS[band].pixel_size if band in BANDS else 20
        return min(held, key=lambda one: (abs(math.log((one.metres or own) / own)), one.jpeg, one.key))

    @property
    def classification(self) -> Asset | None:
        """The scene classification; None if it has none."""
        return self.asset(CLASSIFICATION) if CLASSIFICATION in self.bands else None


Source = Path | Remote | Item
"""What is given as a scene."""


def sources_of(given: "AnyPath | Source | Iterable[AnyPath | Source]") -> list[Source]:
    """Scenes as somebody names them: files and folders, those elsewhere, and all items of what is STAC.

    Raises:
        SceneError: If STAC cannot be read.
    """
    if isinstance(given, Item):
        return [given]
    several = [given] if isinstance(given, str | os.PathLike | Remote) else list(given)
    found: list[Source] = []
    for one in several:
        place = one if isinstance(one, Item) else place_of(one)
        found += read_items(place) if not isinstance(place, Item) and is_catalogue(place) else [place]
    return found


def name_of(source: Source) -> str:
    """What a scene is called: the name of its file or folder, or the id of its item."""
    return source.name if isinstance(source, Item | Remote) else source.resolve().name


def on_disk(sources: Iterable[Source]) -> list[Path]:
    """Those of some scenes that lie on this machine's disks; of an item, its own file."""
    places = [one.source if isinstance(one, Item) else one for one in sources]
    return [place for place in places if isinstance(place, Path)]


def is_catalogue(place: Place) -> bool:
    """Whether a file is to be read as STAC: by its name, or since no raster has such an address."""
    if place.suffix.lower() in _ENDINGS:
        return isinstance(place, Remote) or place.is_file()
    # APIs give items at /collections/NAME/items/ID.
    return isinstance(place, Remote) and "/items/" in place.path and place.suffix.lower() not in _RASTERS


def read_items(place: Place) -> list[Item]:
    """The items of a file: one, those of an item collection, or those that a static collection links to.

    Raises:
        SceneError: If it is no STAC, or holds no items.
        OSError: If it may not be read.
    """
    content = _read(place)
    kind = content.get("type")
    if kind == "Feature":
        return [item_of(content, place)]
    if kind == "FeatureCollection" and isinstance(content.get("features"), list):
        found = [item_of(one, place) for one in _dicts(content["features"])[: _MOST + 1]]
    elif kind in ("Collection", "Catalog"):
        links = [link.get("href") for link in _dicts(content.get("links")) if link.get("rel") == "item"]
        linked = [joined(place, href) for href in links[: _MOST + 1] if isinstance(href, str)]
        found = [item_of(_read(one), one) for one in linked]
    else:
        raise SceneError(f"{place} is no STAC item and no collection of items; name a raster, or an item's JSON")
    if not found:
        raise SceneError(f"{place} holds no STAC items; name an item, or a collection with rel=item links to some")
    if len(found) > _MOST:
        raise SceneError(f"{place} holds more than {_MOST} STAC items; name those that are to be mapped")
    return found


def item_of(content: Mapping[str, Any], source: Place) -> Item:
    """An item of its JSON.

    Args:
        content: The JSON.
        source: Where it is from, which relative addresses begin at.

    Raises:
        SceneError: If it is none.
    """
    properties, assets, name = (content.get(key) for key in ("properties", "assets", "id"))
    if not isinstance(properties, dict) or not isinstance(assets, dict) or not isinstance(name, str):
        raise SceneError(f"{source} is GeoJSON but no STAC item: it has no id, properties or assets; name an item")
    links = {link.get("rel"): link.get("href") for link in _dicts(content.get("links"))}
    link = links.get("self")
    if not isinstance(link, str) or ("://" in link and not is_address(link)):
        link = None
    elif isinstance(source, Remote):
        source = joined(source, link)
    bands: dict[str, list[Asset]] = {}
    try:
        for key, asset in assets.items():
            if not isinstance(asset, dict):
                continue
            for band, one in _bands_of(key, asset, properties, source, str(content.get("collection") or "")):
                bands.setdefault(band, []).append(one)
        baselines = (_baseline(properties.get(key)) for key in _BASELINES)
        cloud = properties.get("eo:cloud_cover")
        texts = [str(properties.get(key, "")) for key in ("s2:product_uri", "sentinel:product_id", "title")]
        box = content.get("bbox")
        return Item(
            name=name,
            source=source,
            bands={band: tuple(held) for band, held in bands.items()},
            acquired=_time(properties.get("datetime") or properties.get("start_datetime")),
            cloud=None if cloud is None else float(cloud),
            baseline=next((one for one in baselines if one is not None), None),
            offset_applied=next((bool(properties[key]) for key in _APPLIED if key in properties), None),
            product=product_in(*texts, name),
            link=str(link or source),
            bbox=tuple(map(float, box)) if box else None,
            geometry=content.get("geometry"),
        )
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(f"the STAC item {name} of {source} is damaged ({error}); get it anew") from None


def _bands_of(
    key: str, asset: Mapping[str, Any], properties: Mapping[str, Any], source: Place, collection: str
) -> Iterator[tuple[str, Asset]]:
    """Bands that a file of an item holds, as far as their names tell."""
    kind, roles = str(asset.get("type") or "").lower(), asset.get("roles") or ()
    picture = not {*roles}.isdisjoint(_NO_ROLES) or _PICTURE.match(key)
    if not isinstance(asset.get("href"), str) or picture:
        return
    if kind and not kind.startswith(("image/tiff", "image/jp2", "image/vnd.stac.geotiff", "application/x-geotiff")):
        return
    named = _dicts(asset.get("bands") or asset.get("eo:bands")) or [{}]
    raster = _dicts(asset.get("raster:bands") or asset.get("bands"))
    place = signed(joined(source, asset["href"]), collection)
    for index, (one, about) in enumerate(zip(named, _filled(raster, len(named)), strict=True), 1):
        common = one.get("eo:common_name") or one.get("common_name")
        # A name of its own says more than the key of the file, and that more than a name that several bands share.
        names = [one.get("name"), *([key] if len(named) == 1 else []), common]
        band = band_called(str(name) for name in names if name)
        if band is not None:
            yield (
                band,
                Asset(
                    key=key,
                    place=place,
                    index=index,
                    count=len(named),
                    scale=_number(about, asset, "scale"),
                    offset=_number(about, asset, "offset"),
                    epsg=_epsg(asset, properties),
                    transform=_numbers(asset, properties, "proj:transform"),
                    shape=_shape(asset, properties),
                    metres=_metres(key, asset, about),
                    jpeg="jp2" in kind or asset["href"].lower().endswith(".jp2"),
                ),
            )


def _filled(about: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """What is said of each of so many bands; said once, it holds for all."""
    return list(about) if len(about) == count else [about[0] if len(about) == 1 else {}] * count


def _number(about: Mapping[str, Any], asset: Mapping[str, Any], name: str) -> float | None:
    """Scale or offset: of a band, by the extension raster 1 or 2, or of the file."""
    for held in (about, asset):
        for key in (name, f"raster:{name}"):
            if (value := held.get(key)) is not None and (held is about or key != name):
                return float(value)
    return None


def _baseline(told: object) -> float | None:
    """A processing baseline: 5.11 for 5.11, 05.11 and N0511, 4 for 04; None for versions of anything else."""
    found = _BASELINE.fullmatch(str(told).strip())
    return float(f"{found[1] or found[3]}.{found[2] or found[4] or 0}") if found else None


def _epsg(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> int | None:
    for held in (asset, properties):
        code = held.get("proj:code") or held.get("proj:epsg")
        if code is not None:
            number = str(code).upper().removeprefix("EPSG:")
            # Other authorities have their own numbers.
            return int(number) if number.isdecimal() else None
    return None


def _numbers(asset: Mapping[str, Any], properties: Mapping[str, Any], key: str) -> tuple[float, ...] | None:
    value = asset.get(key) or properties.get(key)
    return tuple(float(value[number]) for number in range(6)) if value else None


def _shape(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[int, int] | None:
    value = asset.get("proj:shape") or properties.get("proj:shape")
    return (int(value[0]), int(value[1])) if value else None


def _metres(key: str, asset: Mapping[str, Any], about: Mapping[str, Any]) -> float | None:
    if transform := asset.get("proj:transform"):
        return abs(float(transform[0]))
    told = metres_in(key) or about.get("spatial_resolution") or about.get("raster:spatial_resolution")
    told = told or asset.get("raster:spatial_resolution") or asset.get("gsd")
    return float(told) if told else None


def _time(text: object) -> datetime | None:
    if not text:
        return None
    time = datetime.fromisoformat(str(text))
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _read(place: Place) -> dict[str, Any]:
    if isinstance(place, Path) and not place.is_file():
        raise SceneError(f"{place} does not exist; name a file that does", wrong_use=True)
    data = fetch(place) if isinstance(place, Remote) else place.read_bytes()
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        what = "a page of a web site" if data.lstrip()[:1] == b"<" else "no JSON"
        raise SceneError(f"{place} is {what}, so it is no STAC item; name the JSON of an item") from None
    if not isinstance(content, dict):
        raise SceneError(f"{place} is no STAC item and no collection of items; name a raster, or an item's JSON")
    return content
