"""The picture of an export: a mosaic of patches that lie together, or the patches one by one where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from seg.config.synthetic import Synthetic
from seg.figures.maps import map_figure
from seg.figures.patches import MOST, PatchMaps, patches_figure
from seg.figures.pictures import LIMITS, true_colour
from seg.figures.svg import Drawing
from seg.maps.mosaic import assemble
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX
from seg.reben.patch import PatchId
from seg.reben.reference_map import class_indices
from seg.store.patches import MAP_SUFFIX

if TYPE_CHECKING:
    from seg.runs.session import Session

_PATCHES = 400
_Map = npt.NDArray[np.uint8]

LEAST_FILLED = 0.15
"""Share of a square around the patches of a product that they must fill to be drawn as a mosaic.

With less they would be specks, or a strip that is many times as long as it is wide."""


def overview_patches(session: Session) -> set[str]:
    """Patches with a reference map of the product that has most of them, as far as a picture of them is small."""
    index = session.store.index.take(session.dataset.rows)
    mapped = index.patch_ids.filter(index.has_map)
    if not len(mapped):
        return set()
    # A patch id is its product, then _CC_RR.
    products = pc.utf8_slice_codeunits(mapped, 0, -6)
    largest = pc.mode(products.dictionary_encode().indices)[0]["mode"].as_py()
    chosen = mapped.filter(pc.equal(products, products.dictionary_encode().dictionary[largest]))
    return set(chosen.to_pylist()[:_PATCHES])


def overview_of(session: Session, predicted: Mapping[PatchId, _Map]) -> Drawing:
    """A picture of what a run has predicted of some patches, see `overview_figure`."""
    reader = session.store.patches
    reference = {patch: class_indices(reader.reference_map(str(patch)), f"{patch}{MAP_SUFFIX}") for patch in predicted}
    seen = predicted if LIMITS.keys() <= set(session.store.info.bands) else ()
    looks = {patch: look for patch in seen if (look := true_colour(reader.tensors(str(patch)))) is not None}
    return overview_figure(
        reference,
        predicted,
        looks,
        title=f"{next(iter(predicted)).product} · {session.card.named}",
        synthetic=Synthetic.of(data=session.store.info.synthetic, model=session.card.data.synthetic),
    )


def overview_figure(
    reference: Mapping[PatchId, _Map],
    predicted: Mapping[PatchId, _Map],
    looks: Mapping[PatchId, _Map],
    *,
    title: str,
    synthetic: Synthetic | bool,
) -> Drawing:
    """A picture of patches of one product beside their reference.

    Args:
        reference, predicted: Class indices of each patch, uint8, 120 x 120.
        looks: True-colour image of each, uint8, 120 x 120 x 3; empty without.
        title: Title of the figure.
        synthetic: Whether the title says so.

    Raises:
        MapError: If there is no patch, or the patches are of several products.
    """
    # A channel of an image, and whether a patch is there, are uint8 like a map, and are put together in the same way.
    there = {patch: np.zeros((PATCH_SIZE, PATCH_SIZE), np.uint8) for patch in predicted}
    covered_HW = assemble(there)[0] != IGNORE_INDEX
    if covered_HW.sum() / max(covered_HW.shape) ** 2 < LEAST_FILLED:
        return _one_by_one(reference, predicted, looks, title=title, synthetic=synthetic)
    rgb_HW3 = None
    if looks:
        channels = [assemble({patch: look[..., i] for patch, look in looks.items()})[0] for i in range(3)]
        rgb_HW3 = np.stack(channels, axis=-1)
    maps = assemble(reference)[0], assemble(predicted)[0]
    return map_figure(*maps, rgb_HW3, covered_HW=covered_HW, title=title, synthetic=synthetic)


def _one_by_one(
    reference: Mapping[PatchId, _Map],
    predicted: Mapping[PatchId, _Map],
    looks: Mapping[PatchId, _Map],
    *,
    title: str,
    synthetic: Synthetic | bool,
) -> Drawing:
    """As many patches as there is room for, from all over the product."""
    every = sorted(predicted, key=str)
    chosen = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, MOST).round().astype(int))]
    if len(chosen) < len(every):
        title = f"{title} · {len(chosen)} of {len(every)} patches"
    panels = [
        PatchMaps(f"{patch.column:02d}_{patch.row:02d}", reference[patch], predicted[patch], looks.get(patch))
        for patch in chosen
    ]
    return patches_figure(panels, title=title, synthetic=synthetic)
