"""QGIS styles: names and colours of the values of a map.

QGIS takes ``<name>.qml`` beside ``<name>.tif`` by itself. Source of the elements: what QGIS 3 saves for a raster layer
with the renderer "Paletted/Unique values".
"""

from pathlib import Path
from xml.etree import ElementTree as ET

from seg.maps.palette import LAND_COVER, Palette
from seg.store.atomic import write_text

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0-Białowieża"
"""The oldest QGIS that the style was written for; newer ones read it."""


def write_qml(path: Path, palette: Palette = LAND_COVER) -> None:
    """Write a style for QGIS 3.

    Args:
        path: The style; QGIS takes it for the map of the same name.
        palette: The values.

    Raises:
        OSError: If the file cannot be written.
    """
    write_text(path, style(palette))


def style(palette: Palette = LAND_COVER) -> str:
    """The text of a style for QGIS 3: a legend entry for every value; nodata stays transparent."""
    root = ET.Element("qgis", version=_VERSION, styleCategories="Symbology", hasScaleBasedVisibilityFlag="0")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    entries = ET.SubElement(renderer, "colorPalette")
    for entry in palette.entries:
        color = "#{:02x}{:02x}{:02x}".format(*entry.color)
        ET.SubElement(entries, "paletteEntry", value=str(entry.value), color=color, alpha="255", label=entry.name)
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    # Averages of classes mean nothing.
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    ET.indent(root)
    return _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"
