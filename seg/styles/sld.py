"""Styled layer descriptors: names and colours of the values of a map, and shades of shares, for GeoServer and others.

Source of the elements: OGC 02-070, Styled Layer Descriptor 1.0.0; the ``type`` of a colour map is GeoServer's.
"""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from seg.reben.classes import hexadecimal
from seg.styles.palette import LAND_COVER, SHADES, Palette

_SPACES = {"xmlns": "http://www.opengis.net/sld", "xmlns:ogc": "http://www.opengis.net/ogc"}


def raster_sld(palette: Palette = LAND_COVER, name: str = "land cover") -> str:
    """The text of a style for a class map.

    Args:
        palette: The values.
        name: Of layer and style.
    """
    root, (rules,) = _begun(name)
    symbolizer = ET.SubElement(ET.SubElement(rules, "Rule"), "RasterSymbolizer")
    colors = ET.SubElement(symbolizer, "ColorMap", type="values")
    for entry in palette.entries:
        value, color = str(entry.value), hexadecimal(entry.color)
        ET.SubElement(colors, "ColorMapEntry", color=color, quantity=value, label=entry.name, opacity="1")
    return _document(root)


def share_sld(bands: Sequence[str], name: str) -> str:
    """The text of styles for shares from 0 to 1, such as probabilities, in shades of one hue: one for each band.

    Whoever shows a layer takes the first one until another one is chosen. Values are those that are meant, which
    GeoServer ("RescalePixels") and QGIS make of those that are stored by the scale that the files declare.

    Args:
        bands: Names of the bands.
        name: Of the layer.
    """
    root, styles = _begun(name, bands)
    for number, rules in enumerate(styles, start=1):
        symbolizer = ET.SubElement(ET.SubElement(rules, "Rule"), "RasterSymbolizer")
        grey = ET.SubElement(ET.SubElement(symbolizer, "ChannelSelection"), "GrayChannel")
        ET.SubElement(grey, "SourceChannelName").text = str(number)
        colors = ET.SubElement(symbolizer, "ColorMap", type="ramp")
        for i, color in enumerate(SHADES):
            value = f"{i / (len(SHADES) - 1):g}"
            ET.SubElement(colors, "ColorMapEntry", color=hexadecimal(color), quantity=value, label=value, opacity="1")
    return _document(root)


def polygon_sld(column: str, palette: Palette = LAND_COVER, name: str = "land cover") -> str:
    """The text of a style for polygons, a rule for every value of a column."""
    root, (rules,) = _begun(name)
    for entry in palette.entries:
        rule = ET.SubElement(rules, "Rule")
        ET.SubElement(rule, "Name").text = ET.SubElement(rule, "Title").text = entry.name
        equal = ET.SubElement(ET.SubElement(rule, "ogc:Filter"), "ogc:PropertyIsEqualTo")
        ET.SubElement(equal, "ogc:PropertyName").text = column
        ET.SubElement(equal, "ogc:Literal").text = str(entry.value)
        fill = ET.SubElement(ET.SubElement(rule, "PolygonSymbolizer"), "Fill")
        ET.SubElement(fill, "CssParameter", name="fill").text = hexadecimal(entry.color)
    return _document(root)


def _begun(name: str, titles: Sequence[str] = ()) -> tuple[ET.Element, list[ET.Element]]:
    """A document of one layer, and what the rules of each of its styles stand in."""
    root = ET.Element("StyledLayerDescriptor", {"version": "1.0.0", **_SPACES})
    layer = ET.SubElement(root, "NamedLayer")
    ET.SubElement(layer, "Name").text = name
    rules = []
    for title in titles or (name,):
        user = ET.SubElement(layer, "UserStyle")
        if titles:
            ET.SubElement(user, "Name").text = title
        ET.SubElement(user, "Title").text = title
        if titles:
            ET.SubElement(user, "IsDefault").text = str(int(title == titles[0]))
        rules.append(ET.SubElement(user, "FeatureTypeStyle"))
    return root, rules


def _document(root: ET.Element) -> str:
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
