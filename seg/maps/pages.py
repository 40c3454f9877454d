"""Pages for the browser of the maps of scenes and of the mosaics of an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seg.config.track import Notify
from seg.maps.patches import CONFIDENCE, MAP, PROBABILITIES, REFERENCE, Layer
from seg.store.besides import holds_nothing_else
from seg.web.folder import page_folder, remove_page, require_page
from seg.web.page import Told, WritePicture, write_page
from seg.web.picture import write_scene_picture
from seg.web.tiles import Layers

if TYPE_CHECKING:
    from seg.maps.scene_map import ScenePlan


def write_map_page(plan: ScenePlan, tags: Mapping[str, str], notify: Notify) -> Path:
    """Write the page of the map of a scene, all rasters of which are written.

    Args:
        plan: The map.
        tags: Its metadata.
        notify: Is told what the user must not miss.

    Raises:
        SegError, OSError: As of `seg.web.page.write_page`.
    """
    shares = plan.beside("_probabilities.tif") if plan.options.probabilities else None
    layers = Layers(plan.path, confidence=plan.beside("_confidence.tif"), probabilities=shares)
    picture = partial(write_scene_picture, plan.scene, plan.part.inner)
    told = Told(f"{plan.scene.name} · {tags['MODEL']}", tags)
    return write_page(page_folder(plan.path), layers, picture, told, notify)


def require_pages(out: Path, products: Sequence[str]) -> None:
    """Refuse what stands where the pages of products are to be, see `seg.web.folder.require_page`."""
    for product in products:
        require_page(_folder(out, product))


def remove_pages(out: Path, products: Sequence[str]) -> list[str]:
    """Remove the pages that products have, as far as nobody has changed them; gives their names."""
    folders = [folder for product in products if holds_nothing_else(folder := _folder(out, product))]
    return [folder.name for folder in folders if remove_page(folder)]


def write_product_page(
    out: Path,
    product: str,
    layers: Sequence[Layer],
    picture: WritePicture,
    tags: Mapping[str, str],
    notify: Notify,
) -> Path:
    """Write the page of a product of an export, the mosaics of which are written.

    Args:
        out: Their folder.
        product: The product.
        layers: What there is of it.
        picture: Writes what its patches look like.
        tags: Metadata of the mosaics.
        notify: Is told what the user must not miss.

    Raises:
        SegError, OSError: As of `seg.web.page.write_page`.
    """
    classes, *others = (
        out / f"{product}_{layer.name}.tif" if layer in layers else None
        for layer in (MAP, REFERENCE, CONFIDENCE, PROBABILITIES)
    )
    assert classes is not None, "there is a map"
    told = Told(f"{product} · {tags['MODEL']}", tags)
    return write_page(_folder(out, product), Layers(classes, *others), picture, told, notify)


def _folder(out: Path, product: str) -> Path:
    return page_folder(out / f"{product}.tif")
