"""The maps of single patches: the layers that an export can write, and the file of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seg.maps.geotiff import write_category_names, write_class_map, write_probabilities, write_reference, write_values
from seg.maps.mosaic import agreement
from seg.models.weights_file import weights_digest
from seg.reben.classes import CLASS_NAMES, SHARE_SCALE
from seg.reben.patch import PatchId
from seg.runs.folder import best_checkpoint
from seg.runs.use import model_tags
from seg.styles.palette import AGREEMENT, LAND_COVER, Palette
from seg.styles.qgis import write_qml

if TYPE_CHECKING:
    from seg.engine.evaluate import Prediction
    from seg.runs.session import Session


@dataclass(frozen=True)
class Layer:
    """A kind of map.

    Attributes:
        name: Ends the names of its files.
        palette: What its values mean; None: probabilities.
        bands: Names of the bands.
    """

    name: str
    palette: Palette | None
    bands: tuple[str, ...]


MAP = Layer("map", LAND_COVER, ("land cover",))
REFERENCE = Layer("reference", LAND_COVER, ("reference land cover",))
AGREES = Layer("agreement", AGREEMENT, ("agreement with the reference",))
PROBABILITIES = Layer("probabilities", None, CLASS_NAMES)
SURPRISALS = Layer("surprisals", None, CLASS_NAMES)
"""What a mosaic is generalised by, see `seg.generalise.surprisal`: kept until it is."""
CONFIDENCE = Layer("confidence", None, ("confidence",))
OUTLINED = Layer("outlined", LAND_COVER, MAP.bands)
"""What polygons are made of, kept until they are: how probable the most probable class is, and the classes, if they are
brought to a larger unit than those of the map."""


def patch_file(folder: Path, patch: PatchId, layer: Layer) -> Path:
    """``<folder>/<product>/<patch_id>_<layer>.tif``."""
    return folder / patch.product / f"{patch}_{layer.name}.tif"


def style_file(raster: Path) -> Path:
    """``<patch_id>_<layer>.qml`` beside a map."""
    return raster.with_suffix(".qml")


def write_looks(folder: Path, patches: list[PatchId], layers: tuple[Layer, ...]) -> None:
    """Write what a GIS shows the maps of patches by: a style for QGIS, and for classes ``.aux.xml`` with their names.

    Args:
        folder: As of `write_patches`, which has written the maps.
        patches, layers: The maps.

    Raises:
        OSError: If a file cannot be written.
    """
    for path, layer in ((patch_file(folder, patch, layer), layer) for patch in patches for layer in layers):
        write_qml(style_file(path), layer.palette)
        if layer.palette:
            write_category_names(path, layer.palette)


def map_tags(session: Session) -> dict[str, str]:
    """Metadata of every file of an export."""
    info = session.store.info
    return model_tags(
        session.card,
        weights_digest(best_checkpoint(session.run)) or "",
        fingerprint=info.fingerprint,
        synthetic=info.synthetic,
        unit=session.scope.unit,
    )


def write_patches(
    folder: Path,
    patches: list[PatchId],
    prediction: Prediction,
    layers: tuple[Layer, ...],
    tags: Mapping[str, str],
    temperature: float,
    unit: float = 0.0,
) -> npt.NDArray[np.uint8]:
    """Write the maps of a batch; probabilities are calibrated by the temperature.

    Args:
        folder: What the folders of the products lie in.
        patches: The patches of the batch.
        prediction: What was predicted of them.
        layers, tags: What is written of each.
        temperature: What logits are divided by.
        unit: Hectares of the minimum mapping unit that the map of each patch is brought to by itself; 0: none.

    Returns:
        The maps, uint8, batch x height x width.
    """
    classes_BHW: npt.NDArray[np.uint8] = prediction.classes(unit, temperature).byte().cpu().numpy()
    truth_BHW = prediction.batch.masks_BHW.cpu().numpy()
    shares_BKHW = None
    if PROBABILITIES in layers or CONFIDENCE in layers:
        shares_BKHW = (prediction.pixel_logits_BKHW / temperature).softmax(1).cpu().numpy()
    costs_BKHW = prediction.surprisals(temperature).cpu().numpy() if SURPRISALS in layers else None
    for i, patch in enumerate(patches):
        (folder / patch.product).mkdir(parents=True, exist_ok=True)
        for layer in layers:
            path = patch_file(folder, patch, layer)
            if layer is MAP:
                write_class_map(path, classes_BHW[i], patch.georef, tags)
            elif layer is REFERENCE:
                write_reference(path, truth_BHW[i], patch.georef, tags)
            elif layer is AGREES:
                marks_HW = agreement(truth_BHW[i], classes_BHW[i])
                write_values(path, marks_HW[None], patch.georef, tags, layer.bands, AGREEMENT)
            elif layer is SURPRISALS:
                assert costs_BKHW is not None, "surprisals are computed where they are written"
                write_values(path, costs_BKHW[i], patch.georef, tags, layer.bands)
            elif layer is CONFIDENCE:
                assert shares_BKHW is not None, "probabilities are computed where confidences are written"
                stored_HW = np.rint(shares_BKHW[i].max(0) * SHARE_SCALE).astype(np.uint8)
                write_values(path, stored_HW[None], patch.georef, tags, layer.bands)
            else:
                assert shares_BKHW is not None, "probabilities are computed where they are written"
                write_probabilities(path, shares_BKHW[i], patch.georef, tags)
    return classes_BHW
