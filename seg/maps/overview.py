"""The picture of an export: a mosaic of patches that lie together, or the patches one by one where they do not."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from seg.config.synthetic import Synthetic
from seg.figures.maps import map_figure
from seg.figures.patches import MOST, PatchMaps, patches_figure
from seg.figures.svg import Drawing
from seg.maps.mosaic import assemble
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX
from seg.reben.patch import PatchId

_Map = npt.NDArray[np.uint8]

LEAST_FILLED = 0.15
"""Share of a square around the patches of a product that they must fill to be drawn as a mosaic.

With less they would be specks, or a strip that is many times as long as it is wide."""


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
