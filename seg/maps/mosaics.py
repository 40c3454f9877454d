"""Mosaics of an export: one Cloud-Optimized GeoTIFF per product and layer, and a virtual raster over all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seg.config.synthetic import Synthetic
from seg.config.track import Notify, Track, ignore
from seg.maps.cog import read_overview, write_cog
from seg.maps.geotiff import write_category_names
from seg.maps.land_cover import write_land_cover
from seg.maps.mosaic import write_strips
from seg.maps.pages import remove_pages, write_product_page
from seg.maps.patches import AGREES, CONFIDENCE, MAP, OUTLINED, PROBABILITIES, REFERENCE, Layer, patch_file
from seg.maps.vrt import write_vrt
from seg.reben.patch import PatchId
from seg.stac.items import COLLECTION, MODEL, item_of_map
from seg.store.atomic import write_text
from seg.store.sidecar import SIDECAR
from seg.store.written import partial_of
from seg.styles.qgis import style, write_qml
from seg.styles.sld import raster_sld, share_sld
from seg.vectors.polygons import PolygonOptions
from seg.web.index import INDEX, write_index_page

if TYPE_CHECKING:
    from seg.engine.distributed import Ranks

LEGEND = "legend.png"
_STRIPS = "strips"
_LAYERS = (MAP, REFERENCE, AGREES, PROBABILITIES, CONFIDENCE)
"""All that there may be mosaics of."""


@dataclass(frozen=True)
class Sharing:
    """How the mosaics are made.

    Attributes:
        ranks: The processes that share the products.
        track: Progress over products.
        keep_parts: Leave the patch maps; otherwise those of a product are removed when its mosaics are written.
        polygons: How polygons are made; None: there are none.
        mmu: Minimum mapping unit of the maps, hectares.
        picture: Writes what patches of a product look like, for a page of each product; None: there are no pages.
        notify: Is told what the user must not miss.
    """

    ranks: Ranks
    track: Track
    keep_parts: bool
    polygons: PolygonOptions | None = None
    mmu: float = 0.0
    picture: Callable[[Sequence[PatchId], Path], bool] | None = None
    notify: Notify = ignore


def write_mosaics(
    out: Path,
    parts: Path,
    patches: Sequence[PatchId],
    layers: Sequence[Layer],
    tags: Mapping[str, str],
    how: Sharing,
) -> list[Path]:
    """Write ``<out>/<product>_<layer>.tif`` with style and quick-look, ``<out>/<layer>.vrt`` and the legend.

    With polygons, which need `CONFIDENCE` and maybe `OUTLINED` of each patch, also ``<out>/<product>_polygons.gpkg``;
    with pages, also ``<out>/<product>_web``, and `INDEX`, which leads to them.

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
        if how.polygons:
            _write_polygons(out / polygon_file(product), parts, members, layers, tags, how)
        if how.picture is not None:
            write_product_page(out, product, layers, partial(how.picture, members), tags, how.notify)
        if not how.keep_parts:
            shutil.rmtree(parts / product, ignore_errors=True)
    how.ranks.wait()
    if how.ranks.first:
        for layer in layers:
            maps = [mosaic_file(out, product, layer) for product in products]
            write_vrt(out / f"{layer.name}.vrt", maps, palette=layer.palette, tags=tags)
        for name, text in styles(layers).items():
            write_text(out / name, text)
        if how.picture is not None:
            title = f"Land cover of {len(products)} products · {tags['MODEL']}"
            write_index_page(out, [(mosaic_file(out, product, MAP), product) for product in products], title)
        from seg.figures.land_cover import legend_figure
        from seg.figures.style import write_png

        write_png(out / LEGEND, legend_figure())
    return [mosaic_file(out, product, MAP) for product in products]


def mosaic_file(out: Path, product: str, layer: Layer) -> Path:
    """``<out>/<product>_<layer>.tif``."""
    return out / f"{product}_{layer.name}.tif"


def index_files(layers: Sequence[Layer]) -> list[str]:
    """Files that span all products, of an export with mosaics."""
    return [LEGEND, *(f"{layer.name}.vrt" for layer in layers), *styles(layers)]


def polygon_file(product: str) -> str:
    """Name of the polygons of a product."""
    return f"{product}_polygons.gpkg"


def product_files(product: str, layers: Sequence[Layer]) -> list[str]:
    """Files of a product, of an export with mosaics, by their paths from its folder."""
    names = [polygon_file(product)]
    for layer in layers:
        path = mosaic_file(Path(), product, layer)
        names += [path.name, path.with_suffix(".qml").name, f"{layer.name}_warped/{path.stem}.vrt"]
        if layer is MAP:
            names += [path.with_suffix(".png").name, item_of_map(path).name]
    return names


@dataclass(frozen=True)
class Asked:
    """What an export puts beside the maps of patches.

    Attributes:
        layers: What there are mosaics of; none if there are none.
        polygons, stac, web: Whether products get these.
    """

    layers: tuple[Layer, ...]
    polygons: bool
    stac: bool
    web: bool

    def files(self, products: Sequence[str]) -> Iterator[str]:
        """Their names."""
        if self.layers:
            yield from index_files(self.layers)
        if self.stac:
            yield from (COLLECTION, MODEL)
        if self.web:
            yield INDEX
        for product in products if self.layers else ():
            item = item_of_map(mosaic_file(Path(), product, MAP)).name
            wanted = {polygon_file(product): self.polygons, item: self.stac}
            names = [name for name in product_files(product, self.layers) if wanted.get(name, True)]
            yield from (*names, *(f"{name}{SIDECAR}" for name in names if name.endswith(".tif")))


def remove_earlier(out: Path, products: Sequence[str], asked: Asked, is_ours: Callable[[str], bool]) -> list[str]:
    """Remove what an earlier export has left of some products and this one does not write anew: it is of other maps.

    What somebody has changed since stays.

    Args:
        out: Folder of the mosaics.
        products: The products.
        asked: What is written now.
        is_ours: Whether a file of that name is there as seg has written it.

    Returns:
        What was removed, by paths from the folder.

    Raises:
        OSError: If a file cannot be removed.
    """
    everything = dict.fromkeys(Asked(_LAYERS, polygons=True, stac=True, web=True).files(products))
    earlier = [name for name in everything.keys() - set(asked.files(products)) if is_ours(name)]
    for name in earlier:
        (out / name).unlink()
    return sorted(earlier) + ([] if asked.web else remove_pages(out, products))


def styles(layers: Sequence[Layer], product: str | None = None) -> dict[str, str]:
    """What the styles of an export hold, by their names: those of a product, or those that span all."""
    stems = {layer: layer.name if product is None else mosaic_file(Path(), product, layer).stem for layer in layers}
    texts = {f"{stem}.qml": style(layer.palette) for layer, stem in stems.items()}
    if product is None:
        for layer, stem in stems.items():
            texts[f"{stem}.sld"] = raster_sld(layer.palette, stem) if layer.palette else share_sld(layer.bands, stem)
    return texts


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
            write_qml(path.with_suffix(".qml"), None)
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


def _write_polygons(
    path: Path,
    parts: Path,
    patches: Sequence[PatchId],
    layers: Sequence[Layer],
    tags: Mapping[str, str],
    how: Sharing,
) -> None:
    """Write the polygons of a product, the mosaics of which are there: what they hold is not put together again."""
    options, product, folder = how.polygons, patches[0].product, partial_of(path, _STRIPS)
    assert options is not None, "there are polygons to write"

    def held(layer: Layer) -> list[Path]:
        if layer in layers:
            return [mosaic_file(path.parent, product, layer)]
        files = {patch: patch_file(parts, patch, layer) for patch in patches}
        return write_strips(folder / layer.name, files, layer.palette)

    shutil.rmtree(folder, ignore_errors=True)
    try:
        classes, confidence = held(OUTLINED if options.unit(how.mmu) else MAP), held(CONFIDENCE)
        write_land_cover(path, classes, confidence, options.simplify, product, {**tags, **options.tags(how.mmu)})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
