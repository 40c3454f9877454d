"""Open maps in QGIS, without a screen, and look whether they show what they should.

    QT_QPA_PLATFORM=offscreen python3 scripts/check_qgis.py FOLDER

The Python is the one that QGIS brings its modules for; seg itself need not be installed there, nor what it depends on.
Of every raster and GeoPackage that ``seg export`` or ``seg predict`` has put into the folder it is checked that it
loads with its style, that legend entries have names and colours, and that it renders at three scales in these colours.
Writes nothing.
"""

import sys
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterBandStats,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from seg.styles.palette import AGREEMENT, LAND_COVER, SHADES

_EDGE = 400
_SCALES = (1.0, 0.25, 0.05)
"""Shares of the extent that are shown."""
_WHITE = (255, 255, 255)


def main() -> int:
    """Check all files of a folder; gives the number of those that are not as they should be."""
    folder = Path(sys.argv[1])
    application = QgsApplication([], False)
    application.initQgis()
    failed = 0
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".tif", ".vrt", ".gpkg"))
    for path in files:
        if "_warped" in path.parent.name:
            continue
        problems = polygons(path) if path.suffix == ".gpkg" else raster(path)
        failed += bool(problems)
        sys.stdout.write(f"{'FAILED' if problems else 'fine':6}  {path.relative_to(folder)}  {'; '.join(problems)}\n")
    sys.stdout.write(f"QGIS {Qgis.QGIS_VERSION}: {len(files)} files, {failed} not as they should be\n")
    application.exitQgis()
    return failed


def raster(path: Path) -> list[str]:
    """What is wrong with a raster."""
    layer = QgsRasterLayer(str(path), path.stem)
    if not layer.isValid():
        return ["does not load"]
    kind, extent = layer.renderer().type(), layer.extent()
    if pieces := sorted(path.with_name(f"{path.stem}_warped").glob("*.vrt")):
        # Products may lie so far apart that they are dots on a map of all.
        extent = QgsRasterLayer(str(pieces[0]), "piece").extent()
    if layer.bandCount() == 1 and kind != "singlebandpseudocolor":
        palette = AGREEMENT if "agreement" in path.stem else LAND_COVER
        if kind != "paletted":
            return [f"is shown as {kind}"]
        shown = {(one.value, one.label, one.color.getRgb()[:3]) for one in layer.renderer().classes()}
        problems = [] if shown == entries(palette) else ["entries are others"]
        return problems + rendered(layer, extent, {entry.color for entry in palette.entries}, exactly=True)
    if kind != "singlebandpseudocolor":
        return [f"is shown as {kind}"]
    shader = layer.renderer().shader().rasterShaderFunction()
    problems = [] if (shader.minimumValue(), shader.maximumValue()) == (0.0, 1.0) else ["limits are not 0 and 1"]
    names = [layer.bandName(band + 1) for band in range(layer.bandCount())]
    if layer.bandCount() == len(LAND_COVER.names):
        expected = [f"Band {band + 1:02}: {name}" for band, name in enumerate(LAND_COVER.names)]
        problems += [] if names == expected else ["bands are not named by their classes"]
    for band in (1, layer.bandCount()):
        layer.renderer().setBand(band)
        problems += rendered(layer, extent, set(SHADES), exactly=False)
    statistics = layer.dataProvider().bandStatistics(1, QgsRasterBandStats.All, extent, _EDGE**2)
    return problems + ([] if 0 <= statistics.minimumValue <= statistics.maximumValue <= 1 else ["values are no shares"])


def polygons(path: Path) -> list[str]:
    """What is wrong with a GeoPackage."""
    layer = QgsVectorLayer(f"{path}|layername={path.stem}", path.stem, "ogr")
    if not layer.isValid():
        return ["does not load"]
    if not path.stem.endswith("_polygons"):
        return [] if layer.featureCount() else ["is empty"]
    _, styled = layer.loadDefaultStyle()
    if not styled or layer.renderer().type() != "categorizedSymbol":
        return ["has no style"]
    shown = {(one.value(), one.label(), one.symbol().color().getRgb()[:3]) for one in layer.renderer().categories()}
    shown = {(int(value), name, color) for value, name, color in shown}
    problems = [] if shown == entries(LAND_COVER) else ["entries are others"]
    colors = {QColor(feature["color"]).getRgb()[:3] for feature in layer.getFeatures()}
    problems += [] if colors <= {entry.color for entry in LAND_COVER.entries} else ["colours are others"]
    colors = {entry.color for entry in LAND_COVER.entries}
    return problems + rendered(layer, layer.extent(), colors, exactly=False)


def entries(palette: object) -> set[tuple[int, str, tuple[int, int, int]]]:
    """The legend that a palette should give."""
    return {(entry.value, entry.name, entry.color) for entry in palette.entries}


def rendered(layer: object, extent: object, colors: set[tuple[int, int, int]], exactly: bool) -> list[str]:
    """What is wrong with the pictures of a layer.

    Args:
        layer: The layer.
        extent: What is shown, and the middle of it at larger scales.
        colors: Those of its style.
        exactly: Whether there is none between them, beside the white of what has no data.
    """
    problems = []
    for share in _SCALES:
        settings = QgsMapSettings()
        settings.setLayers([layer])
        settings.setBackgroundColor(QColor(*_WHITE))
        settings.setOutputSize(QSize(_EDGE, _EDGE))
        settings.setDestinationCrs(layer.crs())
        center = extent.center()
        width, height = extent.width() * share / 2, extent.height() * share / 2
        settings.setExtent(
            QgsRectangle(center.x() - width, center.y() - height, center.x() + width, center.y() + height)
        )
        job = QgsMapRendererParallelJob(settings)
        job.start()
        job.waitForFinished()
        image = job.renderedImage()
        seen = {image.pixelColor(x, y).getRgb()[:3] for x in range(0, _EDGE, 4) for y in range(0, _EDGE, 4)} - {_WHITE}
        if share == 1.0 and not seen:
            problems.append("is not to be seen")
        if exactly and seen - colors:
            problems.append(f"has other colours at {share:.0%}: {sorted(seen - colors)[:3]}")
        if not exactly and seen and not any(_between(color, colors) for color in seen):
            problems.append(f"has other colours at {share:.0%}: {sorted(seen)[:3]}")
    return problems


def _between(color: tuple[int, int, int], colors: set[tuple[int, int, int]]) -> bool:
    """Whether a colour lies within the range of others, channel by channel."""
    return all(min(c[i] for c in colors) <= color[i] <= max(c[i] for c in colors) for i in range(3))


if __name__ == "__main__":
    sys.exit(min(main(), 1))
