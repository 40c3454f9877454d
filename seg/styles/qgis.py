"""QGIS styles: names and colours of the values of a map, of probabilities, and of polygons.

QGIS takes ``<name>.qml`` beside ``<name>.tif`` by itself, and the default style in a GeoPackage. Source of the
elements: what QGIS 3 saves for raster layers with the renderers "Paletted/Unique values" and "Singleband pseudocolor",
and for polygons with the renderer "Categorized".
"""

from pathlib import Path
from xml.etree import ElementTree as ET

from seg.reben.classes import hexadecimal
from seg.store.atomic import write_text
from seg.styles.palette import LAND_COVER, SHADES, Palette

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0-Białowieża"
"""The oldest QGIS that the styles were written for; newer ones read them."""
_PLAIN = {"offset": "0,0", "offset_unit": "MM", "outline_style": "no", "style": "solid", "joinstyle": "bevel"}


def write_qml(path: Path, palette: Palette | None = LAND_COVER) -> None:
    """Write a style for QGIS 3.

    Args:
        path: The style; QGIS takes it for the raster of the same name.
        palette: The values; None: they are shares, such as probabilities.

    Raises:
        OSError: If the file cannot be written.
    """
    write_text(path, style(palette))


def style(palette: Palette | None = LAND_COVER) -> str:
    """The text of a style for rasters in QGIS 3; nodata stays transparent.

    Args:
        palette: Values, each of which gets a legend entry; None: shares from 0 to 1 in shades of one hue, of the first
            band until another one is chosen.
    """
    root = ET.Element("qgis", version=_VERSION, styleCategories="Symbology", hasScaleBasedVisibilityFlag="0")
    pipe = ET.SubElement(root, "pipe")
    if palette:
        _paletted(pipe, palette)
    else:
        _shaded(pipe)
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    # Averages of classes mean nothing.
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    return _document(root)


def polygon_style(column: str, palette: Palette = LAND_COVER) -> str:
    """The text of a style for polygons in QGIS 3: a legend entry for every class.

    Args:
        column: What holds the values.
        palette: The values.
    """
    root = ET.Element("qgis", version=_VERSION, styleCategories="Symbology", hasScaleBasedVisibilityFlag="0")
    kind = {"type": "categorizedSymbol", "attr": column, "symbollevels": "0", "enableorderby": "0", "forceraster": "0"}
    renderer = ET.SubElement(root, "renderer-v2", kind)
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for entry in palette.entries:
        number = str(entry.value)
        ET.SubElement(categories, "category", symbol=number, value=number, label=entry.name, render="true")
        symbol = ET.SubElement(symbols, "symbol", name=number, type="fill", alpha="1", clip_to_extent="1")
        layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
        for key, value in {"color": ",".join(map(str, (*entry.color, 255))), **_PLAIN}.items():
            ET.SubElement(layer, "prop", k=key, v=value)
    ET.SubElement(root, "blendMode").text = "0"
    return _document(root)


def _paletted(pipe: ET.Element, palette: Palette) -> None:
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    entries = ET.SubElement(renderer, "colorPalette")
    for entry in palette.entries:
        value, color = str(entry.value), hexadecimal(entry.color)
        ET.SubElement(entries, "paletteEntry", value=value, color=color, alpha="255", label=entry.name)


def _shaded(pipe: ET.Element) -> None:
    kind = {"type": "singlebandpseudocolor", "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    limits = {"classificationMin": "0", "classificationMax": "1"}
    renderer = ET.SubElement(pipe, "rasterrenderer", kind | limits)
    ET.SubElement(renderer, "rasterTransparency")
    origin = ET.SubElement(renderer, "minMaxOrigin")
    # Another band is shown with the same limits.
    ET.SubElement(origin, "limits").text = "None"
    how = {"colorRampType": "INTERPOLATED", "classificationMode": "1", "clip": "0", "labelPrecision": "2"}
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"), "colorrampshader", how | {"minimumValue": "0", "maximumValue": "1"}
    )
    for i, color in enumerate(SHADES):
        value = f"{i / (len(SHADES) - 1):g}"
        ET.SubElement(shader, "item", value=value, label=value, color=hexadecimal(color), alpha="255")


def _document(root: ET.Element) -> str:
    ET.indent(root)
    return _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"
