"""GDAL virtual rasters: documents that put GeoTIFFs together without copying them.

Source of the elements: GDAL's documentation of the VRT driver.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioIOError

from seg.maps.palette import Palette
from seg.reben.classes import IGNORE_INDEX

_ALIGNED = 1e-3
"""How far off the grid, in pixels, a raster may lie: coordinates pass through decimal text."""


class GridError(ValueError):
    """Rasters that do not fit together."""


@dataclass(frozen=True)
class Raster:
    """A north-up uint8 raster with square pixels.

    Attributes:
        path: The file.
        crs: Its CRS.
        x_min, y_max: Upper-left corner in units of the CRS.
        pixel_size: Edge of a pixel.
        width, height: Pixels.
        descriptions: Names of the bands.
    """

    path: Path
    crs: CRS
    x_min: float
    y_max: float
    pixel_size: float
    width: int
    height: int
    descriptions: tuple[str, ...]


@dataclass(frozen=True)
class Looks:
    """What stands in a virtual raster besides pixels.

    Attributes:
        tags: Metadata of the whole file.
        palette: Names and colours of the values of the only band; None for continuous bands.
        scale: What a stored value is multiplied with to give the value meant; None: nothing.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    palette: Palette | None = None
    scale: float | None = None


def read_raster(path: Path) -> Raster:
    """Where a raster lies.

    Raises:
        GridError: If it is not uint8, north-up, with square pixels and a CRS.
        OSError: If it is missing or no raster.
    """
    try:
        with rasterio.open(path) as dataset:
            a, b, x_min, d, e, y_max = dataset.transform[:6]
            if set(dataset.dtypes) != {"uint8"} or dataset.crs is None or b or d or a <= 0 or abs(a + e) > 1e-9 * a:
                raise GridError(f"{path} is no uint8 raster on a north-up grid of square pixels with a CRS")
            names = tuple(name or "" for name in dataset.descriptions)
            return Raster(path, dataset.crs, x_min, y_max, a, dataset.width, dataset.height, names)
    except RasterioIOError as error:
        raise OSError(f"{path} cannot be read as a raster ({error}); write it again") from error


def union(rasters: Sequence[Raster]) -> Raster:
    """The grid that spans all rasters, with the path of the first.

    Raises:
        GridError: If there is none, or they differ in CRS, pixel size, bands or the position of their pixels.
    """
    if not rasters:
        raise GridError("there are no rasters to put together; give at least one")
    first = rasters[0]
    for other in rasters[1:]:
        if other.pixel_size != first.pixel_size or other.crs != first.crs:
            raise GridError(f"{other.path} and {first.path} differ in CRS or pixel size; cut all from one grid")
        if len(other.descriptions) != len(first.descriptions):
            raise GridError(f"{other.path} and {first.path} differ in their number of bands")
        _offset(other, first)
    x_min, y_max = min(r.x_min for r in rasters), max(r.y_max for r in rasters)
    spanned = replace(first, x_min=x_min, y_max=y_max)
    corners = [_offset(raster, spanned) for raster in rasters]
    width = max(column + raster.width for (column, _), raster in zip(corners, rasters, strict=True))
    height = max(row + raster.height for (_, row), raster in zip(corners, rasters, strict=True))
    return replace(spanned, width=width, height=height)


def vrt_document(grid: Raster, parts: Sequence[Raster], looks: Looks, folder: Path | None = None) -> str:
    """A virtual raster over parts; where several lie on each other, the last one that is not nodata is seen.

    Args:
        grid: What the virtual raster spans, and the names of its bands.
        parts: On that grid. What lies outside of it is not seen.
        looks: Metadata, colours and scale.
        folder: Where the document will stand, if the parts are to be named relative to it.

    Raises:
        GridError: If a part is off the grid.
    """
    root = ET.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = grid.crs.to_wkt()
    transform = (grid.x_min, grid.pixel_size, 0.0, grid.y_max, 0.0, -grid.pixel_size)
    ET.SubElement(root, "GeoTransform").text = ", ".join(repr(float(value)) for value in transform)
    _metadata(root, looks.tags)
    for number, name in enumerate(grid.descriptions, start=1):
        band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
        if looks.palette:
            _metadata(band, looks.palette.tags)
        ET.SubElement(band, "Description").text = name
        ET.SubElement(band, "NoDataValue").text = str(IGNORE_INDEX)
        if looks.scale is not None:
            ET.SubElement(band, "Offset").text = "0"
            ET.SubElement(band, "Scale").text = repr(looks.scale)
        if looks.palette:
            _colors(band, looks.palette)
        for part in parts:
            _source(band, number, part, grid, folder)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _offset(raster: Raster, grid: Raster) -> tuple[int, int]:
    """Columns and rows from the grid's upper-left corner to that of a raster."""
    column = (raster.x_min - grid.x_min) / grid.pixel_size
    row = (grid.y_max - raster.y_max) / grid.pixel_size
    if max(abs(column - round(column)), abs(row - round(row))) > _ALIGNED:
        raise GridError(f"the pixels of {raster.path} do not lie on those of {grid.path}; cut all from one grid")
    return round(column), round(row)


def _metadata(parent: ET.Element, tags: Mapping[str, str]) -> None:
    element = ET.SubElement(parent, "Metadata")
    for key, value in tags.items():
        ET.SubElement(element, "MDI", key=key).text = value


def _colors(band: ET.Element, palette: Palette) -> None:
    ET.SubElement(band, "ColorInterp").text = "Palette"
    table, colors = ET.SubElement(band, "ColorTable"), palette.colormap
    for value in range(IGNORE_INDEX + 1):
        channels = zip(("c1", "c2", "c3", "c4"), colors.get(value, (0, 0, 0, 255)), strict=True)
        ET.SubElement(table, "Entry", {key: str(channel) for key, channel in channels})
    names = ET.SubElement(band, "CategoryNames")
    for name in palette.names:
        ET.SubElement(names, "Category").text = name


def _source(band: ET.Element, number: int, part: Raster, grid: Raster, folder: Path | None) -> None:
    column, row = _offset(part, grid)
    source = ET.SubElement(band, "ComplexSource")
    name = part.path.resolve()
    if folder is not None:
        name = Path(os.path.relpath(name, folder.resolve()))
    # Forward slashes are understood on every system.
    ET.SubElement(source, "SourceFilename", relativeToVRT="0" if folder is None else "1").text = name.as_posix()
    ET.SubElement(source, "SourceBand").text = str(number)
    # With the properties of the source GDAL need not open it before it is read.
    block: dict[str, Any] = {"RasterXSize": str(part.width), "RasterYSize": str(part.height), "DataType": "Byte"}
    ET.SubElement(source, "SourceProperties", block)
    edges = {"xSize": str(part.width), "ySize": str(part.height)}
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0"} | edges)
    ET.SubElement(source, "DstRect", {"xOff": str(column), "yOff": str(row)} | edges)
    ET.SubElement(source, "NODATA").text = str(IGNORE_INDEX)
