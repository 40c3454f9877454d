"""Styled layer descriptors: names and colours of the values of a map, for GeoServer and other programs.

Source of the elements: OGC 02-070, Styled Layer Descriptor 1.0.0; the ``type`` of a colour map is GeoServer's.
"""

from xml.etree import ElementTree as ET

from seg.reben.classes import hexadecimal
from seg.styles.palette import LAND_COVER, Palette

_SPACES = {"xmlns": "http://www.opengis.net/sld", "xmlns:ogc": "http://www.opengis.net/ogc"}


def raster_sld(palette: Palette = LAND_COVER, name: str = "land cover") -> str:
    """The text of a style for a class map.

    Args:
        palette: The values.
        name: Of layer and style.
    """
    root, rules = _begun(name)
    symbolizer = ET.SubElement(ET.SubElement(rules, "Rule"), "RasterSymbolizer")
    colors = ET.SubElement(symbolizer, "ColorMap", type="values")
    for entry in palette.entries:
        value, color = str(entry.value), hexadecimal(entry.color)
        ET.SubElement(colors, "ColorMapEntry", color=color, quantity=value, label=entry.name, opacity="1")
    return _document(root)


def polygon_sld(column: str, palette: Palette = LAND_COVER, name: str = "land cover") -> str:
    """The text of a style for polygons, a rule for every value of a column."""
    root, rules = _begun(name)
    for entry in palette.entries:
        rule = ET.SubElement(rules, "Rule")
        ET.SubElement(rule, "Name").text = ET.SubElement(rule, "Title").text = entry.name
        equal = ET.SubElement(ET.SubElement(rule, "ogc:Filter"), "ogc:PropertyIsEqualTo")
        ET.SubElement(equal, "ogc:PropertyName").text = column
        ET.SubElement(equal, "ogc:Literal").text = str(entry.value)
        fill = ET.SubElement(ET.SubElement(rule, "PolygonSymbolizer"), "Fill")
        ET.SubElement(fill, "CssParameter", name="fill").text = hexadecimal(entry.color)
    return _document(root)


def _begun(name: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("StyledLayerDescriptor", {"version": "1.0.0", **_SPACES})
    layer = ET.SubElement(root, "NamedLayer")
    ET.SubElement(layer, "Name").text = name
    user = ET.SubElement(layer, "UserStyle")
    ET.SubElement(user, "Title").text = name
    return root, ET.SubElement(user, "FeatureTypeStyle")


def _document(root: ET.Element) -> str:
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
