"""Land-cover maps as GeoTIFF.

A class map is one uint8 band of class indices with the official colours, nodata 255 and deflate. The class names stand
in the band's metadata (``CLASS_0 = Urban fabric``), which every GDAL tool shows. GDAL keeps the category names that
QGIS takes for a legend nowhere in a TIFF, only in a sidecar ``<file>.aux.xml``, which `write_category_names` writes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.io import DatasetWriter, MemoryFile
from rasterio.transform import Affine

from seg.errors import MapError
from seg.reben.classes import CLASS_NAMES, IGNORE_INDEX, NUM_CLASSES, SHARE_SCALE
from seg.reben.patch import GeoRef
from seg.store.atomic import write_bytes
from seg.styles.palette import LAND_COVER, Palette

_NO_TAGS: Mapping[str, str] = MappingProxyType({})
_ROUNDING = 1e-4
"""How far outside 0 to 1 a probability may lie: a fortieth of the stored step, so it changes no stored value."""
_TILE = 512
"""Block edge of rasters that are larger; smaller ones are one block."""
_INTEGER, _TEXT = 0, 2
_COLUMNS = (
    ("Value", _INTEGER, 5),
    ("Class", _TEXT, 2),
    ("Red", _INTEGER, 6),
    ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8),
    ("Alpha", _INTEGER, 9),
)
"""Of an attribute table: name, type and usage of each column, as GDAL's ``GDALRATFieldType`` and ``GDALRATFieldUsage``
number them."""


def write_class_map(
    path: Path,
    classes_HW: npt.NDArray[np.uint8],
    georef: GeoRef,
    tags: Mapping[str, str] = _NO_TAGS,
    description: str = "land cover",
) -> None:
    """Write a map of class indices. The file appears complete or not at all.

    Args:
        path: The GeoTIFF; a file of that name is replaced, and a sidecar ``.aux.xml`` of the replaced file removed.
        classes_HW: uint8 of the georeference's height and width; 0 to 18, 255 where unlabelled or outside.
        georef: Where the map lies.
        tags: Metadata of the whole file, such as the model.
        description: Name of the band.

    Raises:
        MapError: If dtype, shape or values are not those above.
        OSError: If the file cannot be written.
    """
    _require_classes(classes_HW, georef)
    write_values(path, classes_HW[None], georef, tags, (description,), LAND_COVER)


def write_reference(
    path: Path, classes_HW: npt.NDArray[np.uint8], georef: GeoRef, tags: Mapping[str, str] = _NO_TAGS
) -> None:
    """Write a reference map, already as class indices, like `write_class_map` and with the same errors."""
    write_class_map(path, classes_HW, georef, tags, description="reference land cover")


def write_probabilities(
    path: Path,
    probabilities_KHW: npt.NDArray[np.floating[Any]],
    georef: GeoRef,
    tags: Mapping[str, str] = _NO_TAGS,
) -> None:
    """Write class probabilities: 19 uint8 bands in the order of the nomenclature, named by their class.

    A stored value v stands for v / 250, which the band's scale says, so the rounding error is at most 0.002. They are
    a file of their own because TIFF has a colour table for single-band images only.

    Args:
        path: The GeoTIFF; a file of that name is replaced.
        probabilities_KHW: 19 classes x height x width, floating point, 0 to 1.
        georef: Where the map lies.
        tags: Metadata of the whole file.

    Raises:
        MapError: If dtype or shape are not those above, or a value is NaN or outside 0 to 1.
        OSError: If the file cannot be written.
    """
    expected = (NUM_CLASSES, georef.height, georef.width)
    if probabilities_KHW.shape != expected:
        raise MapError(f"probabilities have the shape {probabilities_KHW.shape}; the georeference asks for {expected}")
    if not np.issubdtype(probabilities_KHW.dtype, np.floating):
        raise MapError(f"probabilities are {probabilities_KHW.dtype}; pass floating point from 0 to 1")
    # Sums of weights leave rounding errors behind. NaN makes both comparisons false, so it is refused here too.
    if not (probabilities_KHW.min() >= -_ROUNDING and probabilities_KHW.max() <= 1 + _ROUNDING):
        raise MapError("probabilities must lie between 0 and 1 and not be NaN; apply softmax to logits first")
    # float32 because half precision cannot tell 249.5 from 249.6.
    scaled_KHW = [np.rint(band.astype(np.float32, copy=False) * SHARE_SCALE) for band in probabilities_KHW]
    write_values(path, np.array(scaled_KHW, dtype=np.uint8), georef, tags, CLASS_NAMES)


def write_values(
    path: Path,
    values_KHW: npt.NDArray[np.uint8],
    georef: GeoRef,
    tags: Mapping[str, str],
    descriptions: Sequence[str],
    palette: Palette | None = None,
) -> None:
    """Write stored values as they are; whoever has classes or probabilities takes the functions above.

    Args:
        path: The GeoTIFF; a file of that name is replaced.
        values_KHW: uint8, bands x height x width, 255 where there is nothing.
        georef: Where the map lies.
        tags: Metadata of the whole file.
        descriptions: Names of the bands.
        palette: Colours and names of the values of a single band; None: they are probabilities, scaled.

    Raises:
        OSError: If the file cannot be written.
    """
    bands = len(values_KHW)
    with _encoded(path, georef, bands=bands, tags=tags) as dataset:
        dataset.write(values_KHW)
        dataset.descriptions = tuple(descriptions)
        if palette:
            dataset.write_colormap(1, palette.colormap)
            dataset.update_tags(1, **palette.tags)
        else:
            dataset.scales, dataset.offsets = (1 / SHARE_SCALE,) * bands, (0.0,) * bands


def write_category_names(path: Path, palette: Palette = LAND_COVER) -> Path:
    """Write ``<path>.aux.xml``, from which QGIS, GDAL and others know the names of the classes of a class map.

    They stand in it twice: as category names, and in a raster attribute table with the colours.

    Args:
        path: The map, written before: writing it removes the sidecar.
        palette: Names of its values.

    Returns:
        The sidecar.

    Raises:
        OSError: If the file cannot be written.
    """
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    names = ET.SubElement(band, "CategoryNames")
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for number, (name, kind, usage) in enumerate(_COLUMNS):
        column = ET.SubElement(table, "FieldDefn", index=str(number))
        for element, text in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(column, element).text = str(text)
    for number, entry in enumerate(palette.entries):
        ET.SubElement(names, "Category").text = entry.name
        row = ET.SubElement(table, "Row", index=str(number))
        for value in (entry.value, entry.name, *entry.color, 255):
            ET.SubElement(row, "F").text = str(value)
    ET.indent(root)
    sidecar = _sidecar(path)
    _replace(sidecar, (ET.tostring(root, encoding="unicode") + "\n").encode())
    return sidecar


@contextmanager
def _encoded(path: Path, georef: GeoRef, bands: int, tags: Mapping[str, str]) -> Iterator[DatasetWriter]:
    """A dataset to fill; on leaving, its bytes take the place of the file.

    The TIFF is encoded in memory because GDAL writes the last of a file while closing it, where rasterio loses the
    error of a full disk; it is also a third faster for small files. No predictor: class maps and probabilities grow
    or stay as they are with one.
    """
    small = max(georef.width, georef.height) <= _TILE
    blocks = {"blockysize": georef.height} if small else {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=georef.width,
            height=georef.height,
            count=bands,
            dtype="uint8",
            nodata=IGNORE_INDEX,
            crs=_crs(georef.epsg),
            transform=Affine(*georef.transform),
            compress="deflate",
            interleave="band",
            **blocks,
        ) as dataset:
            yield dataset
            dataset.update_tags(**tags)
        encoded = memory.read()
    _replace(path, encoded)


@cache
def _crs(epsg: int) -> CRS:
    return CRS.from_epsg(epsg)


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.aux.xml")


def _replace(path: Path, content: bytes) -> None:
    """Put the content in the place of the file, and remove what a viewer has noted down about the old pixels."""
    write_bytes(path, content)
    _sidecar(path).unlink(missing_ok=True)


def _require_classes(classes_HW: npt.NDArray[np.uint8], georef: GeoRef) -> None:
    if classes_HW.dtype != np.uint8:
        raise MapError(f"class indices are {classes_HW.dtype}; pass uint8")
    if classes_HW.shape != (georef.height, georef.width):
        raise MapError(
            f"class indices have the shape {classes_HW.shape}, but the georeference asks for "
            f"{(georef.height, georef.width)}"
        )
    if unknown := _unknown_values(classes_HW):
        raise MapError(
            f"class indices hold the value {unknown[0]}; classes are 0 to 18 and 255 stands for unlabelled "
            "(CLC codes become classes by seg.reben.reference_map.class_indices)"
        )


def _unknown_values(classes_HW: npt.NDArray[np.uint8]) -> list[int]:
    odd = (classes_HW >= NUM_CLASSES) & (classes_HW != IGNORE_INDEX)
    return np.unique(classes_HW[odd]).tolist() if odd.any() else []
