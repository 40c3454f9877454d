"""Charts as SVG that becomes part of an HTML page: its text is text, and its colours are those of the page.

The style sheet of the page defines the custom properties in `PAGE_COLORS`, for light and for dark.
"""

import re
from io import BytesIO
from xml.etree import ElementTree as ET

from matplotlib import rc_context
from matplotlib.figure import Figure

from seg.figures.style import INK, LINES

WIDTH = 360
"""Width of a chart in points: at this many pixels on the screen its letters are as large as those of the page."""
MUTED, GRID, SURFACE = "#6b7280", "#e4e4e4", "#fefefe"
PLATE, LAND, COAST = "#eef2f5", "#c7cdd2", "#8d979f"
BLUE, ORANGE = LINES[:2]
PAGE_COLORS = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PLATE: "--plate",
    LAND: "--land",
    COAST: "--coast",
    SURFACE: "--surface",
    BLUE: "--blue",
    ORANGE: "--orange",
}
"""Custom property that stands for a colour, so that it can differ between light and dark."""

Drawing = Figure
"""What the charts are before they become SVG."""

_COLOR = re.compile("|".join(PAGE_COLORS))
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"font: *(?:(bold|\d{3}) +)?([\d.]+px)[^;]*")  # of matplotlib before 3.11
_FAMILY = re.compile(r"font-family:[^;]*;? *")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


def chart(width: float, height: float) -> Figure:
    """An empty figure without a background; width and height in points."""
    return Figure(figsize=(width / 72, height / 72), facecolor="none")


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an ``svg`` element for an HTML page. The same figure always gives the same text.

    Args:
        figure: What is shown, of `chart`.
        name: Letters and hyphens that no other figure of the page has; its ids begin with them.
        title: What is shown, in a few words.
        description: What one sees there, in a sentence, for those who do not.
    """
    buffer = BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "seg", "svg.image_inline": True}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue().decode())
    for parent in list(root.iter()):
        for child in list(parent):
            # The style sheet would apply to the whole page.
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        _adopt(element, name)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
        "style": "stroke-linejoin: round; stroke-linecap: butt",
    }
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(position, element)
    return ET.tostring(root, encoding="unicode")


def _adopt(element: ET.Element, name: str) -> None:
    """Make an element fit for the page: no namespaces, ids of its own, colours and fonts of the page."""
    element.tag = _local(element.tag)
    element.text = element.tail = None if element.tag not in ("text", "tspan") else element.text
    attributes = {_local(key): " ".join(value.split()) for key, value in element.attrib.items()}
    if element.tag == "g":
        attributes.pop("id", None)
    for key, value in attributes.items():
        if key == "id":
            attributes[key] = f"{name}-{value}"
        elif key == "href":
            attributes[key] = value.replace(" ", "") if value.startswith("data:") else f"#{name}-{value[1:]}"
        elif key == "style":
            attributes[key] = _page_style(value)
        elif key in ("d", "x", "y", "width", "height", "transform"):
            attributes[key] = _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", value)
        if "url(#" in value:
            attributes[key] = _REFERENCE.sub(rf"url(#{name}-\1)", attributes[key])
    element.attrib = attributes


def _page_style(style: str) -> str:
    style = _FAMILY.sub("", _FONT.sub(lambda m: f"font-size: {m[2]}; font-weight: {m[1] or 'normal'}", style))
    return _COLOR.sub(lambda color: f"var({PAGE_COLORS[color[0]]})", style)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
