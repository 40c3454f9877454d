"""What a raster says of its values besides the values: a colour table, category names, an attribute table."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from seg.errors import LandCoverError
from seg.region.numbering import Color, Legend

_WHOLE = 1 << 24
"""Pixels up to which all of a raster are looked at."""
_PLACES, _EDGE = 16, 256
"""Of a larger one, windows of so many pixels on a grid of so many places along each edge."""
_UNSET: Color = (0, 0, 0)
"""What a colour table has where nobody set a colour."""


def values_in(raster: DatasetReader) -> frozenset[int]:
    """The values that occur in the first band, without its nodata: of a large raster, of windows spread over it.

    Raises:
        LandCoverError: If they are no whole numbers.
    """
    found: set[float] = set()
    for window in _windows(raster.width, raster.height):
        found.update(np.unique(raster.read(1, window=window)).tolist())
    found = {value for value in found if value != raster.nodata and not math.isnan(value)}
    if fractions := sorted(value for value in found if not float(value).is_integer()):
        raise LandCoverError(
            f"{raster.name} holds numbers such as {fractions[0]:.6g}, but codes are whole; give CORINE Land Cover"
        )
    return frozenset(map(int, found))


def legend_of(raster: DatasetReader) -> Legend:
    """What a raster says of the values of its first band."""
    texts: dict[int, list[str]] = {}
    for value, text in _texts(raster):
        if text.strip():
            texts.setdefault(value, []).append(text)
    # Signed bytes with this nodata are the form of CORINE's own raster.
    official = raster.dtypes[0] == "int8" and raster.nodata == -128
    by_value = {value: tuple(told) for value, told in texts.items()}
    return Legend(_colors(raster), by_value, "grid" if official else None)


def _windows(width: int, height: int) -> Iterator[Window]:
    if width * height <= _WHOLE:
        yield Window(0, 0, width, height)
        return
    for top in _starts(height):
        for left in _starts(width):
            yield Window(left, top, min(_EDGE, width), min(_EDGE, height))


def _starts(length: int) -> list[int]:
    last = max(0, length - _EDGE)
    return sorted({round(last * i / (_PLACES - 1)) for i in range(_PLACES)})


def _colors(raster: DatasetReader) -> dict[int, Color]:
    try:
        table = raster.colormap(1)
    except ValueError:
        return {}
    return {value: (r, g, b) for value, (r, g, b, _) in table.items() if (r, g, b) != _UNSET}


def _texts(raster: DatasetReader) -> Iterator[tuple[int, str]]:
    """Values and texts that go with them."""
    root = _as_vrt(raster)
    if root is not None:
        names = root.find("VRTRasterBand/CategoryNames")
        yield from enumerate(entry.text or "" for entry in (names if names is not None else ()))
    path = Path(raster.name)
    try:
        beside = ElementTree.parse(f"{path}.aux.xml").getroot()
    except (OSError, ElementTree.ParseError):
        beside = None
    for tree in (root, beside):
        if tree is not None and (table := tree.find(".//GDALRasterAttributeTable")) is not None:
            yield from _of_table(table)
    yield from _of_dbf(Path(f"{path}.vat.dbf"))


def _as_vrt(raster: DatasetReader) -> ElementTree.Element | None:
    """The description of a raster, which GDAL writes alike for every format."""
    with tempfile.TemporaryDirectory() as folder:
        vrt = Path(folder) / "it.vrt"
        try:
            rasterio.shutil.copy(raster, str(vrt), driver="VRT")
            return ElementTree.parse(vrt).getroot()
        except (RasterioError, OSError, ElementTree.ParseError):
            return None


def _of_table(table: ElementTree.Element) -> Iterator[tuple[int, str]]:
    """Rows of an attribute table: the value stands in the column of that use or name, else rows are numbered by it."""
    columns = [
        (definition.findtext("Usage", ""), definition.findtext("Name", "").lower())
        for definition in table.iter("FieldDefn")
    ]
    place = next((i for i, (use, name) in enumerate(columns) if use == "5" or name in ("value", "values")), None)
    for row in table.iter("Row"):
        cells = [cell.text or "" for cell in row.iter("F")]
        value = cells[place] if place is not None and place < len(cells) else row.get("index", "")
        if value.strip().removesuffix(".0").lstrip("-").isdecimal():
            for (_, name), cell in zip(columns, cells, strict=False):
                if _is_text(name, cell):
                    yield int(float(value)), cell


def _of_dbf(path: Path) -> Iterator[tuple[int, str]]:
    """Rows of the attribute table that ArcGIS keeps beside a raster."""
    if not path.is_file():
        return
    import pyogrio

    try:
        meta, _, _, fields = pyogrio.raw.read(path, read_geometry=False)
    except pyogrio.errors.DataSourceError:
        return
    by_name = dict(zip((str(name).lower() for name in meta["fields"]), fields, strict=True))
    values = by_name.pop("value", None)
    if values is None:
        return
    for name, column in by_name.items():
        yield from ((int(v), str(cell)) for v, cell in zip(values, column, strict=True) if _is_text(name, str(cell)))


def _is_text(column: str, cell: str) -> bool:
    """Whether a cell is a name or a code, not one of the counts and colours that tables hold too."""
    return any(c.isalpha() for c in cell) or any(word in column for word in ("code", "clc", "label"))
