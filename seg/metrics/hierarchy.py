"""How bad the mistakes are: scores over the groups of CORINE Land Cover (CLC), which has three levels.

The 19 classes stand for level 3, its finest. To take one forest for another is a smaller mistake than to take it for
the sea.
"""

from dataclasses import dataclass

import numpy as np

from seg.metrics.pixel import pixel_scores
from seg.metrics.ratio import Floats
from seg.metrics.sparse import Counts
from seg.reben.classes import CLASSES, CLC_GROUPS, NUM_CLASSES

_GROUPS = {2: np.array([c.level2 for c in CLASSES]), 1: np.array([c.level1 for c in CLASSES])}
"""CLC group of each class, (K,), at levels 2 and 1."""


@dataclass(frozen=True, slots=True, eq=False)
class LevelScores:
    """Pixel scores of a split over the G groups of one CLC level, fractions from 0 to 1; see `PixelScores`.

    Attributes:
        level: 1, the coarsest, or 2.
        names: The groups that hold a class, in the order of their codes.
        iou: float64 (G,); NaN where the group is absent from the reference.
        support: Reference pixels of the group, int64 (G,).
        miou: Mean of iou over the groups present in the reference.
        oa: Share of labelled pixels whose group is right.
        classes_averaged: Number of groups present in the reference.
    """

    level: int
    names: tuple[str, ...]
    iou: Floats
    support: Counts
    miou: float
    oa: float
    classes_averaged: int


@dataclass(frozen=True, slots=True, eq=False)
class HierarchyScores:
    """Scores over the CLC groups.

    A class counts where its most typical CLC code belongs. Two of them also hold a code of another group: Permanent
    crops (group 22) code 241 of group 24, and Natural grassland and sparsely vegetated areas (group 32) code 333 of
    group 33. Both codes stay within their level 1.

    Attributes:
        levels: Level 2, then level 1.
        mean_cost: Mean over the labelled pixels of what the prediction costs: 0 for the right class, 1/3 for another
            one of the same level-2 group, 2/3 for another one of the same level-1 group, 1 otherwise; NaN without
            labelled pixels. This is the height of the lowest common ancestor of Bertinetto et al. (2020) over that of
            the tree.
    """

    levels: tuple[LevelScores, ...]
    mean_cost: float


def hierarchy_scores(counts_KK: Counts) -> HierarchyScores:
    """Scores over the CLC groups.

    Args:
        counts_KK: Confusion counts summed over a split, int64 (K, K), true x predicted.
    """
    assert counts_KK.shape == (NUM_CLASSES, NUM_CLASSES), f"expected (K, K), got {counts_KK.shape}"
    assert counts_KK.dtype == np.int64, f"counts are int64, not {counts_KK.dtype}"
    # In thirds and as integers, which do not round.
    thirds_KK = (~np.eye(NUM_CLASSES, dtype=np.bool_)).astype(np.int64)
    for groups_K in _GROUPS.values():
        thirds_KK += groups_K[:, None] != groups_K
    total = int(counts_KK.sum())
    return HierarchyScores(
        levels=tuple(_level_scores(counts_KK, level) for level in _GROUPS),
        mean_cost=int((counts_KK * thirds_KK).sum()) / (3 * total) if total else float("nan"),
    )


def _level_scores(counts_KK: Counts, level: int) -> LevelScores:
    codes_G, group_K = np.unique(_GROUPS[level], return_inverse=True)
    counts_GG = np.zeros((len(codes_G), len(codes_G)), dtype=np.int64)
    np.add.at(counts_GG, (group_K[:, None], group_K), counts_KK)
    scores = pixel_scores(counts_GG)
    return LevelScores(
        level=level,
        names=tuple(CLC_GROUPS[code] for code in codes_G.tolist()),
        iou=scores.iou,
        support=scores.support,
        miou=scores.miou,
        oa=scores.oa,
        classes_averaged=scores.classes_averaged,
    )
