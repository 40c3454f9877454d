"""Styles of maps and polygons, as far as no GIS is needed; `scripts/check_qgis.py` opens them in QGIS."""

import sqlite3
from contextlib import closing
from xml.etree import ElementTree

import pyarrow as pa
import pytest
import shapely

from seg.reben.classes import hexadecimal
from seg.styles.palette import AGREEMENT, LAND_COVER, SHADES
from seg.styles.qgis import polygon_style, style
from seg.styles.sld import polygon_sld, raster_sld, share_sld
from seg.vectors.geopackage import GEOMETRY, Style, write_geopackage

SLD = "{http://www.opengis.net/sld}"
OGC = "{http://www.opengis.net/ogc}"


@pytest.mark.parametrize("palette", [LAND_COVER, AGREEMENT])
def test_styles_name_every_value_and_no_other(palette):
    expected = [(str(one.value), one.name, hexadecimal(one.color)) for one in palette.entries]
    entries = ElementTree.fromstring(style(palette)).iter("paletteEntry")
    assert [(one.get("value"), one.get("label"), one.get("color")) for one in entries] == expected
    entries = ElementTree.fromstring(raster_sld(palette).encode()).iter(f"{SLD}ColorMapEntry")
    assert [(one.get("quantity"), one.get("label"), one.get("color")) for one in entries] == expected


def test_styles_of_polygons_name_every_class():
    expected = {(str(one.value), one.name, hexadecimal(one.color)) for one in LAND_COVER.entries}
    root = ElementTree.fromstring(polygon_style("class"))
    colors = {
        symbol.get("name"): hexadecimal(tuple(map(int, layer.get("v").split(",")[:3])))
        for symbol in root.iter("symbol")
        for layer in symbol.iter("prop")
        if layer.get("k") == "color"
    }
    shown = {(one.get("value"), one.get("label"), colors[one.get("symbol")]) for one in root.iter("category")}
    assert root.find("renderer-v2").get("attr") == "class"
    assert shown == expected
    rules = ElementTree.fromstring(polygon_sld("class").encode()).iter(f"{SLD}Rule")
    shown = {
        (one.findtext(f".//{OGC}Literal"), one.findtext(f"{SLD}Title"), one.findtext(f".//{SLD}CssParameter"))
        for one in rules
    }
    assert shown == expected


def test_shares_are_shown_in_one_hue_from_0_to_1():
    renderer = ElementTree.fromstring(style(None)).find("pipe/rasterrenderer")
    assert (renderer.get("classificationMin"), renderer.get("classificationMax")) == ("0", "1")
    items = [(float(one.get("value")), one.get("color")) for one in renderer.iter("item")]
    assert [value for value, _ in items] == [0, 0.25, 0.5, 0.75, 1]
    assert [color for _, color in items] == [hexadecimal(color) for color in SHADES]
    # Blue is what there is most of, and every step is darker.
    assert all(blue == max(red, green, blue) for red, green, blue in SHADES)
    assert [sum(color) for color in SHADES] == sorted((sum(color) for color in SHADES), reverse=True)


def test_servers_show_each_band_of_shares_in_the_same_shades():
    root = ElementTree.fromstring(share_sld(("Pastures", "Moors"), "probabilities").encode())
    styles = list(root.iter(f"{SLD}UserStyle"))
    assert [one.findtext(f"{SLD}Title") for one in styles] == ["Pastures", "Moors"]
    assert [one.findtext(f"{SLD}IsDefault") for one in styles] == ["1", "0"]
    for number, one in enumerate(styles, start=1):
        assert one.findtext(f".//{SLD}GrayChannel/{SLD}SourceChannelName") == str(number)
        assert one.find(f".//{SLD}ColorMap").get("type") == "ramp"
        entries = [(float(e.get("quantity")), e.get("color")) for e in one.iter(f"{SLD}ColorMapEntry")]
        # Those of the style for QGIS.
        items = ElementTree.fromstring(style(None)).find("pipe/rasterrenderer").iter("item")
        assert entries == [(float(item.get("value")), item.get("color")) for item in items]


def test_a_geopackage_keeps_its_style_as_the_default(tmp_path):
    schema = pa.schema({"class": pa.int32(), GEOMETRY: pa.binary()})
    one = pa.RecordBatch.from_arrays(
        [pa.array([3], pa.int32()), pa.array(shapely.to_wkb([shapely.box(0, 0, 1, 1)]))], schema=schema
    )
    path = tmp_path / "some.gpkg"
    write_geopackage(path, [one], schema, "EPSG:32633", {}, Style("land cover", polygon_style("class"), "an sld"))
    with closing(sqlite3.connect(path)) as database:
        columns = "f_table_name, f_geometry_column, styleName, styleQML, styleSLD, useAsDefault"
        (row,) = database.execute(f"SELECT {columns} FROM layer_styles").fetchall()
        (check,) = database.execute("PRAGMA integrity_check").fetchall()
    assert row == ("some", GEOMETRY, "land cover", polygon_style("class"), "an sld", 1)
    assert check == ("ok",)
