"""GDAL virtual rasters: documents that put GeoTIFFs together without copying them.

Source of the elements: GDAL's documentation of the VRT driver.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from seg.errors import MapError
from seg.reben.classes import IGNORE_INDEX, SHARE_SCALE
from seg.store.atomic import staged_file, write_text
from seg.styles.palette import LAND_COVER, Palette

EUROPE = CRS.from_epsg(3035)
_IN_EUROPE = (-35.6, 24.6, 44.9, 84.8)
"""West, south, east, north of where that CRS is for, degrees."""
_EQUAL_AREA = CRS.from_epsg(6933)
"""For maps from all over the Earth."""
_FAR = 30
"""Degrees of longitude from a map up to which its own CRS, such as a UTM zone, is of use."""
_ALIGNED = 1e-3
"""How far off the grid, in pixels, a raster may lie: coordinates pass through decimal text."""


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
        MapError: If it is not uint8, north-up, with square pixels and a CRS.
        OSError: If it is missing or no raster.
    """
    try:
        with rasterio.open(path) as dataset:
            a, b, x_min, d, e, y_max = dataset.transform[:6]
            if set(dataset.dtypes) != {"uint8"} or dataset.crs is None or b or d or a <= 0 or abs(a + e) > 1e-9 * a:
                raise MapError(f"{path} is no uint8 raster on a north-up grid of square pixels with a CRS")
            names = tuple(name or "" for name in dataset.descriptions)
            return Raster(path, dataset.crs, x_min, y_max, a, dataset.width, dataset.height, names)
    except RasterioIOError as error:
        raise OSError(f"{path} cannot be read as a raster ({error}); write it again") from error


def union(rasters: Sequence[Raster]) -> Raster:
    """The grid that spans all rasters, with the path of the first.

    Raises:
        MapError: If there is none, or they differ in CRS, pixel size, bands or the position of their pixels.
    """
    if not rasters:
        raise MapError("there are no rasters to put together; give at least one")
    first = rasters[0]
    for other in rasters[1:]:
        if other.pixel_size != first.pixel_size or other.crs != first.crs:
            raise MapError(f"{other.path} and {first.path} differ in CRS or pixel size; cut all from one grid")
        if len(other.descriptions) != len(first.descriptions):
            raise MapError(f"{other.path} and {first.path} differ in their number of bands")
        _offset(other, first)
    x_min, y_max = min(r.x_min for r in rasters), max(r.y_max for r in rasters)
    spanned = replace(first, x_min=x_min, y_max=y_max)
    corners = [_offset(raster, spanned) for raster in rasters]
    width = max(column + raster.width for (column, _), raster in zip(corners, rasters, strict=True))
    height = max(row + raster.height for (_, row), raster in zip(corners, rasters, strict=True))
    return replace(spanned, width=width, height=height)


def write_vrt(
    path: Path, maps: Sequence[Path], *, palette: Palette | None = LAND_COVER, tags: Mapping[str, str]
) -> None:
    """Write a virtual raster over maps, such as those of all products, that names them by relative paths.

    Maps of one CRS and grid are put together as they are. Otherwise, as with several UTM zones, each is warped on
    reading by nearest neighbour, with the pixel size of the first, into EPSG:3035 (ETRS89-LAEA Europe); beyond Europe
    into the CRS of the first, or where others lie far from it into EPSG:6933 (EASE-Grid 2.0). The virtual rasters that
    do so are in the folder ``<path without .vrt>_warped``. Where maps overlap, the last one is seen.

    Args:
        path: The virtual raster; one of that name is replaced.
        maps: Maps below or beside the folder of `path`, which are moved with it.
        palette: Names and colours of their values; None: shares, times 250.
        tags: Metadata of the whole file.

    Raises:
        MapError: If there is no map, or one is no uint8 raster.
        OSError: If a map cannot be read or a file not be written.
    """
    rasters = [read_raster(file) for file in maps]
    if not _on_one_grid(rasters):
        folder = path.with_name(f"{path.stem}_warped")
        folder.mkdir(exist_ok=True)
        crs = _common_crs(rasters)
        rasters = [_warped(raster, folder, crs, rasters[0].pixel_size) for raster in rasters]
    looks = Looks(tags, palette, None if palette else 1 / SHARE_SCALE)
    write_text(path, vrt_document(union(rasters), rasters, looks, path.parent))


def _on_one_grid(rasters: Sequence[Raster]) -> bool:
    if len({(raster.crs.to_wkt(), raster.pixel_size) for raster in rasters}) > 1:
        return False
    try:
        union(rasters)
    except MapError:
        # Nothing else is left that they may differ in, but bands, which are told when they are put together.
        return any(len(raster.descriptions) != len(rasters[0].descriptions) for raster in rasters)
    return True


def _common_crs(rasters: Sequence[Raster]) -> CRS:
    """The CRS that maps are warped into."""
    places = [_bounds_in(raster, CRS.from_epsg(4326)) for raster in rasters]
    if all(
        _IN_EUROPE[0] <= west <= east <= _IN_EUROPE[2] and _IN_EUROPE[1] <= south and north <= _IN_EUROPE[3]
        for west, south, east, north in places
    ):
        return EUROPE
    middles = [(west + (east - west) % 360 / 2) % 360 for west, _, east, _ in places]
    away = max(abs((middle - middles[0] + 180) % 360 - 180) for middle in middles)
    return rasters[0].crs if away <= _FAR else _EQUAL_AREA


def _bounds_in(raster: Raster, crs: CRS) -> tuple[float, ...]:
    """West, south, east, north; of degrees, west is more than east across 180."""
    west, north = raster.x_min, raster.y_max
    east, south = west + raster.width * raster.pixel_size, north - raster.height * raster.pixel_size
    bounds: tuple[float, ...] = transform_bounds(raster.crs, crs, west, south, east, north, densify_pts=101)
    return bounds


def _warped(raster: Raster, folder: Path, crs: CRS, pixel_size: float) -> Raster:
    """A virtual raster that warps another one into a CRS, onto the grid of multiples of the pixel size."""
    west, south, east, north = _bounds_in(raster, crs)
    left, top = math.floor(west / pixel_size), math.ceil(north / pixel_size)
    width, height = math.ceil(east / pixel_size) - left, top - math.floor(south / pixel_size)
    target = folder / f"{raster.path.stem}.vrt"
    with (
        rasterio.open(raster.path) as dataset,
        WarpedVRT(
            dataset,
            crs=crs,
            transform=Affine(pixel_size, 0, left * pixel_size, 0, -pixel_size, top * pixel_size),
            width=width,
            height=height,
            resampling=Resampling.nearest,
            nodata=IGNORE_INDEX,
        ) as warped,
        staged_file(target) as staged,
    ):
        rasterio.shutil.copy(warped, staged, driver="VRT")
        _relative(staged, raster.path, folder)
    return replace(read_raster(target), descriptions=raster.descriptions)


def _relative(document: Path, source: Path, folder: Path) -> None:
    """Name the source of a warped virtual raster relative to the folder that it will stand in."""
    root = ET.fromstring(document.read_text())
    for element in root.iter("SourceDataset"):
        element.text, element.attrib["relativeToVRT"] = _relative_name(source, folder), "1"
    document.write_text(ET.tostring(root, encoding="unicode"))


def _relative_name(path: Path, folder: Path) -> str:
    """With forward slashes, which are understood on every system."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def vrt_document(grid: Raster, parts: Sequence[Raster], looks: Looks, folder: Path | None = None) -> str:
    """A virtual raster over parts; where several lie on each other, the last one that is not nodata is seen.

    Args:
        grid: What the virtual raster spans, and the names of its bands.
        parts: On that grid. What lies outside of it is not seen.
        looks: Metadata, colours and scale.
        folder: Where the document will stand, if the parts are to be named relative to it.

    Raises:
        MapError: If a part is off the grid.
    """
    root = ET.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping=_axis_order(grid.crs)).text = grid.crs.to_wkt()
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


def _axis_order(crs: CRS) -> str:
    """Which axes of a CRS the columns and the rows of a raster follow: some, such as EPSG:3035, have northing first."""
    import pyproj

    first = pyproj.CRS.from_wkt(crs.to_wkt()).axis_info[0].direction
    return "2,1" if first in ("north", "south") else "1,2"


def _offset(raster: Raster, grid: Raster) -> tuple[int, int]:
    """Columns and rows from the grid's upper-left corner to that of a raster."""
    column = (raster.x_min - grid.x_min) / grid.pixel_size
    row = (grid.y_max - raster.y_max) / grid.pixel_size
    if max(abs(column - round(column)), abs(row - round(row))) > _ALIGNED:
        raise MapError(f"the pixels of {raster.path} do not lie on those of {grid.path}; cut all from one grid")
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
    name = part.path.resolve().as_posix() if folder is None else _relative_name(part.path, folder)
    ET.SubElement(source, "SourceFilename", relativeToVRT="0" if folder is None else "1").text = name
    ET.SubElement(source, "SourceBand").text = str(number)
    # With the properties of the source GDAL need not open it before it is read.
    block: dict[str, Any] = {"RasterXSize": str(part.width), "RasterYSize": str(part.height), "DataType": "Byte"}
    ET.SubElement(source, "SourceProperties", block)
    edges = {"xSize": str(part.width), "ySize": str(part.height)}
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0"} | edges)
    ET.SubElement(source, "DstRect", {"xOff": str(column), "yOff": str(row)} | edges)
    ET.SubElement(source, "NODATA").text = str(IGNORE_INDEX)
