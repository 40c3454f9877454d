"""Mosaics of an export: one Cloud-Optimized GeoTIFF per product and layer, and a virtual raster over all of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seg.config.synthetic import Synthetic
from seg.config.track import Track
from seg.maps.cog import read_overview, write_cog
from seg.maps.geotiff import write_category_names
from seg.maps.mosaic import write_strips
from seg.maps.patches import MAP, Layer, patch_file
from seg.maps.qgis import style, write_qml
from seg.maps.stac import item_of_map
from seg.maps.vrt import write_vrt
from seg.reben.patch import PatchId
from seg.store.written import partial_of

if TYPE_CHECKING:
    from seg.engine.distributed import Ranks

LEGEND = "legend.png"
_STRIPS = "strips"


@dataclass(frozen=True)
class Sharing:
    """How the mosaics are made.

    Attributes:
        ranks: The processes that share the products.
        track: Progress over products.
        keep_parts: Leave the patch maps; otherwise those of a product are removed when its mosaics are written.
    """

    ranks: Ranks
    track: Track
    keep_parts: bool


def write_mosaics(
    out: Path,
    parts: Path,
    patches: Sequence[PatchId],
    layers: Sequence[Layer],
    tags: Mapping[str, str],
    how: Sharing,
) -> list[Path]:
    """Write ``<out>/<product>_<layer>.tif`` with style and quick-look, ``<out>/<layer>.vrt`` and the legend.

    Args:
        out: Folder of the mosaics.
        parts: Folder of the patch maps, complete on the disk.
        patches: All patches.
        layers: What there is of each.
        tags: Metadata of every file.
        how: Processes and progress. The first process writes what spans all products.

    Returns:
        The predicted maps, on every process.

    Raises:
        OSError: If a file cannot be written.
    """
    products = sorted({patch.product for patch in patches})
    own = products[how.ranks.rank :: how.ranks.count]
    for product in how.track(own, "mosaics written", len(own)):
        members = [patch for patch in patches if patch.product == product]
        for layer in layers:
            files = {patch: patch_file(parts, patch, layer) for patch in members}
            _write_mosaic(mosaic_file(out, product, layer), files, layer, tags)
        if not how.keep_parts:
            shutil.rmtree(parts / product, ignore_errors=True)
    how.ranks.wait()
    if how.ranks.first:
        for layer in layers:
            _write_index(out, products, layer, tags)
        from seg.figures.land_cover import legend_figure
        from seg.figures.style import write_png

        write_png(out / LEGEND, legend_figure())
    return [mosaic_file(out, product, MAP) for product in products]


def mosaic_file(out: Path, product: str, layer: Layer) -> Path:
    """``<out>/<product>_<layer>.tif``."""
    return out / f"{product}_{layer.name}.tif"


def index_files(layers: Sequence[Layer]) -> list[str]:
    """Files that span all products, of an export with mosaics."""
    return [LEGEND, *(f"{layer.name}{ending}" for layer in layers if layer.palette for ending in (".vrt", ".qml"))]


def product_files(product: str, layers: Sequence[Layer]) -> list[str]:
    """Files of a product, of an export with mosaics, by their paths from its folder."""
    names = []
    for layer in layers:
        path = mosaic_file(Path(), product, layer)
        names.append(path.name)
        if layer.palette:
            names += [path.with_suffix(".qml").name, f"{layer.name}_warped/{path.stem}.vrt"]
        if layer is MAP:
            names += [path.with_suffix(".png").name, item_of_map(path).name]
    return names


def styles(layers: Sequence[Layer], product: str | None = None) -> dict[str, str]:
    """What the styles of an export hold, by their names: those of a product, or those that span all."""
    stems = {layer: layer.name if product is None else mosaic_file(Path(), product, layer).stem for layer in layers}
    return {f"{stem}.qml": style(layer.palette) for layer, stem in stems.items() if layer.palette}


def write_companions(path: Path, title: str, synthetic: Synthetic | bool) -> Path:
    """Write what a user opens beside a class map: ``.qml``, ``.aux.xml`` with the class names, and a quick-look.

    Args:
        path: The class map.
        title: Title of the quick-look.
        synthetic: What is synthetic, or whether the data are.

    Returns:
        The quick-look, ``<stem>.png``.

    Raises:
        OSError: If a file cannot be written.
    """
    write_qml(path.with_suffix(".qml"))
    write_category_names(path)
    from seg.figures.land_cover import LARGEST, land_cover_figure
    from seg.figures.style import write_png

    classes_HW, pixel_size = read_overview(path, LARGEST)
    picture = path.with_suffix(".png")
    write_png(picture, land_cover_figure(classes_HW, title=title, synthetic=synthetic, pixel_size=pixel_size))
    return picture


def _write_mosaic(path: Path, files: Mapping[PatchId, Path], layer: Layer, tags: Mapping[str, str]) -> None:
    folder = partial_of(path, _STRIPS)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        strips = write_strips(folder, files, layer.palette)
        if layer.palette is None:
            write_cog(path, strips, kind="continuous", tags=tags, descriptions=layer.bands)
            return
        write_cog(path, strips, kind="classes", tags=tags, descriptions=layer.bands, palette=layer.palette)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if layer is MAP:
        title = f"{next(iter(files)).product} · {tags['MODEL']}"
        write_companions(path, title, Synthetic.in_tags(tags))
    else:
        write_qml(path.with_suffix(".qml"), layer.palette)
        write_category_names(path, layer.palette)


def _write_index(out: Path, products: Sequence[str], layer: Layer, tags: Mapping[str, str]) -> None:
    """The virtual raster over all products. Probabilities have none: nineteen bands are looked at by product."""
    if layer.palette:
        path = out / f"{layer.name}.vrt"
        maps = [mosaic_file(out, product, layer) for product in products]
        write_vrt(path, maps, palette=layer.palette, tags=tags)
        write_qml(path.with_suffix(".qml"), layer.palette)
