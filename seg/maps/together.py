"""What maps have beside them: STAC of each, and what spans those of one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seg.maps.map_files import MapOptions, write_index
from seg.maps.mosaics import product_files
from seg.maps.patches import MAP, Layer
from seg.models.card import ModelCard
from seg.models.weights_file import WEIGHTS_FILE, weights_digest
from seg.runs.folder import best_checkpoint
from seg.runs.use import ChosenWeights, model_tags
from seg.stac.items import (
    COLLECTION,
    MODEL,
    Described,
    collection_id,
    item_of_map,
    model_of_map,
    write_collection,
    write_item,
)
from seg.stac.model_item import write_model_item
from seg.store.atomic import remove_file
from seg.web.index import INDEX, write_index_page


def run_tags(chosen: ChosenWeights, options: MapOptions, simulated: bool) -> dict[str, str]:
    """Metadata that some maps of a model share; `simulated` says whether one of the scenes is."""
    card, onnx = chosen.card, chosen.onnx
    tags = model_tags(card, chosen.digest, fingerprint=card.data.fingerprint, synthetic=simulated, unit=options.mmu)
    quantised = {"QUANTISED": "int8"} if onnx and onnx.quantised else {}
    return tags | {"TTA": "YES" if options.tta else "NO"} | quantised


def describe_map(path: Path, files: Sequence[Path], chosen: ChosenWeights, options: MapOptions) -> list[Path]:
    """Write the STAC item of a map, and that of its model if it is alone; see `MapOptions`."""
    assert options.stac is not None
    alone = options.stac == model_of_map(path)
    item = write_item(Described(path, files, options.stac), None if alone else collection_id(path.parent))
    return [item, _describe_model(options.stac, chosen)] if alone else [item]


def _describe_model(path: Path, chosen: ChosenWeights) -> Path:
    return write_model_item(path, chosen.card, chosen.file, chosen.digest)


def describe_mosaics(out: Path, mosaics: Sequence[Path], layers: Sequence[Layer], card: ModelCard, run: Path) -> None:
    """Write the STAC items of the mosaics of an export, of their model, and a collection over them.

    Args:
        out: The folder.
        mosaics: The predicted map of each product.
        layers: What there is of each product.
        card, run: The model.

    Raises:
        OSError: If a file cannot be written.
    """
    items = []
    for path in mosaics:
        product = path.stem.removesuffix(f"_{MAP.name}")
        named = [out / name for name in product_files(product, layers) if not name.endswith(".vrt")]
        files = [file for file in named if file.is_file()]
        items.append(write_item(Described(path, files, out / MODEL), collection_id(out)))
    checkpoint = best_checkpoint(run)
    write_model_item(out / MODEL, card, checkpoint / WEIGHTS_FILE, weights_digest(checkpoint) or "")
    write_collection(out, items, f"Land cover of {len(items)} products of reBEN, mapped by {card.named}")


def join_maps(maps: Sequence[Path], chosen: ChosenWeights, options: MapOptions, tags: Mapping[str, str]) -> None:
    """Write what belongs to maps of one folder together: a virtual raster, and what leads to their pages and STAC.

    Args:
        maps: The class maps.
        chosen: The model.
        options: What belongs to each.
        tags: Metadata that they share.

    Raises:
        OSError: If a file cannot be written.
    """
    folder = maps[0].parent
    if len(maps) > 1:
        write_index(maps, options, tags)
        if options.web:
            title = f"{len(maps)} land-cover maps · {tags['MODEL']}"
            write_index_page(folder, [(path, path.stem) for path in maps], title)
        else:
            remove_file(folder / INDEX)
    if options.stac == folder / MODEL:
        _describe_model(options.stac, chosen)
        write_collection(
            folder, [item_of_map(path) for path in maps], f"Land cover of {len(maps)} scenes, mapped by {tags['MODEL']}"
        )
    elif len(maps) > 1:
        # Those of an earlier call would tell of items that are gone.
        for earlier in (COLLECTION, MODEL):
            remove_file(folder / earlier)
