"""Scores of parts of a split: of places, seasons, kinds of patch, zones along class boundaries, rare classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seg.metrics.evidence import CELLS, ZONES, Evidence, labelled_pixels, total_counts
from seg.metrics.pixel import pixel_scores
from seg.metrics.ratio import Bools, Floats, mean_of_defined
from seg.metrics.scene import average_precisions, decide, label_scores
from seg.metrics.sparse import Counts, Rows
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
SEASONS = ("winter", "spring", "summer", "autumn")
"""The meteorological seasons of the northern hemisphere, of three whole months each; winter begins in December."""
FRACTIONS = ("0 %", "over 0 to 10 %", "over 10 to 25 %", "over 25 %")
"""Shares of a patch that are unlabelled. Of the published patches, none exceeds 25 %."""
LABEL_NUMBERS = ("0", "1", "2", "3", "4", "5+")
"""Numbers of classes in the official label of a patch. Every published patch has one."""
RARITIES = ("rare", "medium", "common")
"""Classes with less than 1 %, with 1 % to less than 5 %, and with 5 % or more of the labelled pixels of the split."""

ZONE_DIMENSION = "distance to class boundary"
RARITY_DIMENSION = "class rarity"

_RARITY_BOUNDS = (0.01, 0.05)
_PIXELS = PATCH_SIZE**2
_FRACTION_BOUNDS = (0, _PIXELS // 10, _PIXELS // 4)
_NONE = -1  # the group of a patch of which the dimension is unknown


@dataclass(frozen=True, slots=True)
class Slice:
    """Scores of a part of a split, fractions from 0 to 1, NaN where undefined.

    A slice is a set of patches, but for two dimensions. A zone of distances to the class boundaries is a set of
    pixels: it has no scene scores, and its patches are those with a labelled pixel in it. A rarity is a set of classes,
    whose scores are those of the whole split: its patches are those that have one of the classes as an official label,
    its pixels the reference pixels of the classes, and its ``oa`` the share of these that are right.

    Attributes:
        dimension: By what the split is cut, such as ``country``.
        name: The part, such as ``Austria``.
        patches: Patches in it.
        pixels: Labelled pixels in it.
        classes_averaged: Classes in its reference, over which `miou` and `mf1` are taken.
        miou, mf1, oa: See `seg.metrics.pixel.PixelScores`.
        ap_macro: See `seg.metrics.scene.SceneScores`.
        f1_macro: The same, at threshold 0.5.
        scene_classes: Classes among its labels, over which `ap_macro` and `f1_macro` are taken; 0 without scene head.
    """

    dimension: str
    name: str
    patches: int
    pixels: int
    classes_averaged: int
    miou: float
    mf1: float
    oa: float
    ap_macro: float
    f1_macro: float
    scene_classes: int


Grouping = tuple[Sequence[str], Rows]
"""Names of the groups in the order in which they are shown, and the group of each patch, int64 (N,); -1: in none."""


def _by_country(evidence: Evidence) -> Grouping:
    return _alphabetical(evidence.countries)


def _by_month(evidence: Evidence) -> Grouping:
    months = pc.utf8_slice_codeunits(evidence.patch_ids, 15, 17).dictionary_encode()
    return MONTHS, _positions(months, [f"{month:02d}" for month in range(1, 13)])


def _by_season(evidence: Evidence) -> Grouping:
    _, months_N = _by_month(evidence)
    return SEASONS, np.where(months_N == _NONE, _NONE, (months_N + 1) // 3 % 4)


def _by_tile(evidence: Evidence) -> Grouping:
    return _alphabetical(evidence.tiles.dictionary_encode())


def _by_unlabelled_fraction(evidence: Evidence) -> Grouping:
    # In whole pixels, since 1 - 12960 / 14400 exceeds 0.1 by a rounding error.
    unlabelled_N = _PIXELS - labelled_pixels(evidence)
    return FRACTIONS, np.searchsorted(_FRACTION_BOUNDS, unlabelled_N, side="left").astype(np.int64)


def _by_classes(evidence: Evidence) -> Grouping:
    return LABEL_NUMBERS, np.minimum(evidence.labels.sum(axis=1, dtype=np.int64), len(LABEL_NUMBERS) - 1)


PATCH_DIMENSIONS: dict[str, Callable[[Evidence], Grouping]] = {
    "country": _by_country,
    "month": _by_month,
    "season": _by_season,
    "tile": _by_tile,
    "unlabelled fraction": _by_unlabelled_fraction,
    "classes in the patch": _by_classes,
}
"""The dimensions whose slices are sets of patches. A patch of which one is unknown is in none of its slices."""


def slice_scores(evidence: Evidence) -> tuple[Slice, ...]:
    """Scores of every slice that holds anything, dimension after dimension.

    One without labelled pixels has NaN for pixel scores. The zones need the details of a whole evaluation, and are
    missing without them.
    """
    slices: list[Slice] = []
    for dimension, grouping in PATCH_DIMENSIONS.items():
        slices += _patch_slices(evidence, dimension, *grouping(evidence))
    return (*slices, *_zone_slices(evidence), *_rarity_slices(evidence))


def _patch_slices(evidence: Evidence, dimension: str, names: Sequence[str], groups_N: Rows) -> list[Slice]:
    counts_GKK = evidence.confusion.grouped(groups_N + 1, len(names) + 1)[1:].reshape(-1, NUM_CLASSES, NUM_CLASSES)
    # Patches of a group side by side, so that each group is a view.
    order = np.argsort(groups_N, kind="stable")
    bounds = np.searchsorted(groups_N[order], np.arange(len(names) + 1))
    labels_NK = evidence.labels[order]
    probabilities_NK = None if evidence.probabilities is None else evidence.probabilities[order]
    ranked, slices = evidence.origin.ranked, []
    for name, counts_KK, (begin, end) in zip(names, counts_GKK, pairwise(bounds.tolist()), strict=True):
        if begin < end:
            part = slice(begin, end)
            scene_2K = None if probabilities_NK is None else _scene(probabilities_NK[part], labels_NK[part], ranked)
            slices.append(_slice(dimension, name, end - begin, counts_KK, scene_2K))
    return slices


def _zone_slices(evidence: Evidence) -> list[Slice]:
    if evidence.details is None:
        return []
    zones = evidence.details.zones
    inner = len(ZONES) - 1
    inner_CKK = zones.total().reshape(inner, NUM_CLASSES, NUM_CLASSES)
    counts_CKK = [*inner_CKK, total_counts(evidence) - inner_CKK.sum(axis=0)]
    pixels_NC = zones.by_patch(np.arange(inner * CELLS) // CELLS, inner)
    rest_N = labelled_pixels(evidence) - pixels_NC.sum(axis=1)
    patches = np.count_nonzero(np.column_stack([pixels_NC, rest_N]), axis=0).tolist()
    return [
        _slice(ZONE_DIMENSION, name, number, counts_KK, None)
        for (name, _), number, counts_KK in zip(ZONES, patches, counts_CKK, strict=True)
        if number
    ]


def _rarity_slices(evidence: Evidence) -> list[Slice]:
    counts_KK = total_counts(evidence)
    pixel = pixel_scores(counts_KK)
    total = int(pixel.support.sum())
    if not total:
        return []
    scene_2K = None
    if evidence.probabilities is not None:
        scene_2K = _scene(evidence.probabilities, evidence.labels, evidence.origin.ranked)
    group_K = np.digitize(pixel.support / total, _RARITY_BOUNDS)
    slices = []
    for group, name in enumerate(RARITIES):
        of_K = group_K == group
        pixels, patches = int(pixel.support[of_K].sum()), int(evidence.labels[:, of_K].any(axis=1).sum())
        if not pixels and not patches:
            continue
        one = Slice(
            RARITY_DIMENSION,
            name,
            patches,
            pixels,
            classes_averaged=int(np.count_nonzero(pixel.support[of_K])),
            miou=mean_of_defined(pixel.iou[of_K]),
            mf1=mean_of_defined(pixel.f1[of_K]),
            oa=int(counts_KK.diagonal()[of_K].sum()) / pixels if pixels else float("nan"),
            **_scene_means(None if scene_2K is None else scene_2K[:, of_K]),
        )
        slices.append(one)
    return slices


def _slice(dimension: str, name: str, patches: int, counts_KK: Counts, scene_2K: Floats | None) -> Slice:
    pixel = pixel_scores(counts_KK)
    return Slice(
        dimension,
        name,
        patches,
        pixels=int(pixel.support.sum()),
        classes_averaged=pixel.classes_averaged,
        miou=pixel.miou,
        mf1=pixel.mf1,
        oa=pixel.oa,
        **_scene_means(scene_2K),
    )


class _SceneMeans(TypedDict):
    ap_macro: float
    f1_macro: float
    scene_classes: int


def _scene_means(scene_2K: Floats | None) -> _SceneMeans:
    """Means of the scores of `_scene` over the classes that occur."""
    if scene_2K is None:
        return {"ap_macro": float("nan"), "f1_macro": float("nan"), "scene_classes": 0}
    ap_K, f1_K = scene_2K
    return {
        "ap_macro": mean_of_defined(ap_K),
        "f1_macro": mean_of_defined(f1_K),
        "scene_classes": int(np.count_nonzero(~np.isnan(f1_K))),
    }


def _scene(probabilities_NK: npt.NDArray[np.float32], labels_NK: Bools, ranked: bool) -> Floats:
    """AP and F1 of each class: float64 (2, K). Without micro averages, which take as long as all else together."""
    f1 = label_scores(decide(probabilities_NK), labels_NK).f1
    return np.stack([average_precisions(probabilities_NK, labels_NK) if ranked else np.full_like(f1, np.nan), f1])


def _alphabetical(values: pa.DictionaryArray) -> Grouping:
    names = sorted(set(values.dictionary.to_pylist()) - {""})
    return names, _positions(values, names)


def _positions(values: pa.DictionaryArray, names: Sequence[str]) -> Rows:
    """Position of each value among the names, int64 (N,); -1 where it is none of them."""
    position = {name: i for i, name in enumerate(names)}
    of_code: Rows = np.array([position.get(name, _NONE) for name in values.dictionary.to_pylist()], dtype=np.int64)
    positions_N: Rows = of_code[values.indices.to_numpy(zero_copy_only=False)]
    return positions_N
