"""``.aux.xml`` beside a raster: class names, and what GDAL adds to them by itself."""

from pathlib import Path
from xml.etree import ElementTree

SIDECAR = ".aux.xml"
"""What GDAL keeps beside a raster, and rewrites whenever somebody looks at statistics."""
_OF_GDAL = frozenset(
    (
        *("PAMDataset", "PAMRasterBand", "CategoryNames", "Category", "Metadata", "MDI", "Description"),
        *("GDALRasterAttributeTable", "FieldDefn", "Name", "Type", "Usage", "Row", "F"),
        *("Histograms", "HistItem", "HistMin", "HistMax", "BucketCount", "IncludeOutOfRange", "Approximate"),
        "HistCounts",
    )
)
"""Elements of a sidecar that hold class names, statistics and histograms."""


def holds_gdals_own(path: Path) -> bool:
    """Whether a sidecar holds no more than class names, statistics and histograms: nothing that somebody wrote."""
    try:
        elements = list(ElementTree.parse(path).iter())
    # Of text in no encoding that there is, it raises others.
    except (ElementTree.ParseError, ValueError, LookupError):
        return False
    keys = [element.get("key", "") for element in elements if element.tag == "MDI"]
    return {element.tag for element in elements} <= _OF_GDAL and all(key.startswith("STATISTICS_") for key in keys)
