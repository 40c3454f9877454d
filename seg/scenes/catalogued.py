"""Scenes out of catalogues: the bands of a STAC item, and what it says of their values.

What providers say of the offset of 1000 is not to be relied on: items of Earth Search declare it for files that have it
no more, with and without saying that it was taken off. What is said is therefore done, unless it contradicts itself,
and then judged by the values as that of any scene; ``--offset`` overrules it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seg.catalogue.address import gdal_path
from seg.catalogue.item import Asset, Item
from seg.errors import SceneError
from seg.rasters.header import Header, read_header, shown
from seg.rasters.jp2 import require_whole_file
from seg.rasters.layer import Layer, scaled_layer
from seg.rasters.validity import alpha_band
from seg.reben.bands import BANDS, of_sensor
from seg.scenes.safe import OFFSET, OFFSET_FROM

_NEAR = 0.01
"""Metres that grids may be apart."""


def item_layers(item: Item, needed: Sequence[str], asked: int | None) -> tuple[list[Layer], str | None]:
    """The needed bands of an item.

    Args:
        item: The item.
        needed: What is wanted.
        asked: The offset that the user says its files have; then that of the item counts for nothing.

    Returns:
        The bands, and who says which offset they have; None: nobody does.

    Raises:
        BandMissingError: If a band lacks.
        SceneError: If a file is damaged, does not lie where the item says, or the item contradicts itself.
    """
    assets = {band: item.asset(band) for band in needed}
    layers = [_layer(item, band, asset) for band, asset in assets.items()]
    if not of_sensor(needed, "s2"):
        return layers, None
    if asked is not None:
        return [_with_offset(layer, 0.0) for layer in layers], None
    return _offset_of(item, layers, {band: asset.offset is not None for band, asset in assets.items()})


def _layer(item: Item, band: str, asset: Asset) -> Layer:
    if isinstance(asset.place, Path):
        if not asset.place.is_file():
            raise SceneError(
                f"{asset.place}, which {item} names for {band}, does not exist; put it where the item says"
            )
        if asset.place.suffix.lower() == ".jp2":
            require_whole_file(asset.place)
    header = read_header(gdal_path(asset.place))
    if asset.index > len(header.dtypes):
        raise SceneError(
            f"{item} says that {band} is band {asset.index} of {shown(header.path)}, which has {len(header.dtypes)}; "
            "give an item that fits its files"
        )
    require_place(item, asset, header)
    names = [band if index == asset.index else "-" for index in range(1, len(header.dtypes) + 1)]
    alpha = alpha_band(header, names) if len(names) > asset.count else None
    tags = header.scales[asset.index - 1], header.offsets[asset.index - 1]
    said = 1.0 if asset.scale is None else asset.scale, asset.offset or 0.0
    if (1.0, 0.0) not in (tags, said) and not all(map(math.isclose, tags, said)):
        raise SceneError(
            f"{item} gives {band} scale {said[0]:g} and offset {said[1]:g}, but the tags of {shown(header.path)} say "
            f"{tags[0]:g} and {tags[1]:g}; give another item, or the files with their tags set right"
        )
    return scaled_layer(band, header, tags if said == (1.0, 0.0) else said, asset.index, alpha)


def require_place(item: Item, asset: Asset, header: Header) -> None:
    """Make sure that a file lies where its item says, as far as it does.

    Raises:
        SceneError: If it lies elsewhere.
    """
    epsg = header.crs.to_epsg() if header.crs else None
    if asset.epsg is not None and epsg is not None and epsg != asset.epsg:
        how = f"EPSG:{asset.epsg}, but the file in EPSG:{epsg}"
    elif asset.shape is not None and asset.shape != (header.height, header.width):
        how = f"{asset.shape[1]} x {asset.shape[0]} pixels, but the file has {header.width} x {header.height}"
    elif asset.transform is not None and any(
        abs(one - other) > _NEAR for one, other in zip(asset.transform, tuple(header.transform)[:6], strict=True)
    ):
        own = header.transform
        how = (
            f"the corner {asset.transform[2]:.10g} {asset.transform[5]:.10g} and pixels of {asset.transform[0]:g}, but "
            f"the file {own.c:.10g} {own.f:.10g} and {own.a:g}"
        )
    else:
        return
    raise SceneError(f"{item} gives {shown(header.path)} {how}; give an item that belongs to its files")


def _offset_of(item: Item, layers: list[Layer], said: dict[str, bool]) -> tuple[list[Layer], str | None]:
    """The bands with the offset that the item says, and how it says it.

    Raises:
        SceneError: If it says different ones.
    """
    offsets = {round(layer.offset, 6) for layer in layers if BANDS[layer.band].sensor == "s2"}
    if item.offset_applied and offsets <= {0.0, OFFSET}:
        return [_with_offset(layer, 0.0) for layer in layers], "STAC item, as taken off already"
    early = item.baseline is not None and item.baseline < OFFSET_FROM
    if early and offsets == {OFFSET}:
        raise SceneError(
            f"{item} contradicts itself: its files have an offset of {-OFFSET:g}, but its baseline "
            f"{item.baseline:05.2f} has none; say --offset 0, or --offset 1000 if they have it"
        )
    if len(offsets) > 1:
        raise SceneError(
            f"{item} contradicts itself: by what it says, its bands have offsets of "
            f"{' and '.join(f'{0.0 - one:g}' for one in sorted(offsets))}; say --offset 0, or --offset 1000 if all of "
            "them have it"
        )
    if any(said.values()):
        return layers, "STAC item"
    if item.baseline is None or any(offsets):
        return layers, None
    offset = 0.0 if early or item.offset_applied else OFFSET
    return [_with_offset(layer, offset) for layer in layers], f"STAC item, of baseline {item.baseline:05.2f}"


def _with_offset(layer: Layer, offset: float) -> Layer:
    """The same band of Sentinel-2 with another offset, DN."""
    return replace(layer, offset=offset) if BANDS[layer.band].sensor == "s2" else layer
