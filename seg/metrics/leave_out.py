"""All scores of a set of patches without each of its groups at once.

What scores follow from is added up by group once, so that a group is left out by a subtraction.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from seg.config.track import Track, silent
from seg.metrics.boundary import boundary_iou
from seg.metrics.calibration import calibration_error
from seg.metrics.evidence import BAND_PARTS, CONFIDENCE_BINS, RELIABILITY_PARTS, Evidence
from seg.metrics.leave_out_ap import average_precision_without_each
from seg.metrics.pixel import pixel_values
from seg.metrics.ratio import Bools, Floats, means_of_defined, ratio
from seg.metrics.scene import Probabilities, decide, label_values, patch_f1
from seg.metrics.sparse import PatchCounts
from seg.reben.classes import NUM_CLASSES

Groups = npt.NDArray[np.int64]


def scores_without_each(
    evidence: Evidence, group_N: Groups, groups: int, track: Track = silent
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Scores of all patches, then of those outside each group, by the names of `seg.metrics.jackknife.Replicates`.

    Args:
        evidence: What the model did on each patch.
        group_N: Group of each patch, 0 to G - 1.
        groups: Number G of groups.
        track: Progress.

    Returns:
        The scores, float64 (R,) or (R, K) with R = 1 + G, NaN where undefined; and for each of them the effective
        number of groups, float64 () or (K,), in which there is what it is about: labelled pixels, true labels or
        boundaries, of the class or of any. It is (Σ w)² / Σ w² over what the groups hold, 1 if one of them holds
        everything, and 0 if there is nothing.
    """
    confusion_GKK = evidence.confusion.grouped(group_N, groups).reshape(-1, NUM_CLASSES, NUM_CLASSES)
    labelled_GK = confusion_GKK.sum(axis=2)
    parts = [(pixel_values(_without_each(confusion_GKK)), labelled_GK)]
    if evidence.probabilities is not None:
        true_GK = _by_group(evidence.labels, group_N, groups)
        if evidence.origin.ranked:
            scene = _ap_values(evidence.probabilities, evidence.labels, group_N, groups, track)
        else:
            shapes = {"ap": true_GK.shape[1:], "ap_macro": (), "ap_micro": ()}
            scene = {name: np.full((1 + groups, *shape), np.nan) for name, shape in shapes.items()}
        scene |= _f1_values(decide(evidence.probabilities), evidence.labels, group_N, groups)
        if evidence.origin.thresholds is not None:
            decided_NK = decide(evidence.probabilities, np.array(evidence.origin.thresholds))
            fitted = _f1_values(decided_NK, evidence.labels, group_N, groups)
            scene |= {f"{name}_fitted": value for name, value in fitted.items()}
        parts.append((scene, true_GK))
    if evidence.details is not None:
        scaled = evidence.origin.temperature is not None
        if evidence.details.reliability is not None and evidence.details.losses_NSL is not None:
            measured = evidence.details.reliability, evidence.details.losses_NSL
            parts.append((_calibration_values(*measured, scaled, group_N, groups), labelled_GK))
        bands_GPK = evidence.details.bands.grouped(group_N, groups).reshape(-1, len(BAND_PARTS), NUM_CLASSES)
        present_RK = _without_each(confusion_GKK.sum(axis=2)) > 0
        iou_RK = boundary_iou(_without_each(bands_GPK), present_RK)
        boundary = {"boundary_iou": iou_RK, "boundary_miou": means_of_defined(iou_RK)}
        parts.append((boundary, bands_GPK[:, BAND_PARTS.index("reference")]))
    values: dict[str, Floats] = {}
    support: dict[str, Floats] = {}
    for scores, held_GK in parts:
        values |= scores
        support |= _support(scores, held_GK)
    return values, support


def _by_group(values_NX: npt.NDArray[Any], group_N: Groups, groups: int) -> Floats:
    """Sums over the patches of each group: float64 (G, X), exact for what is whole."""
    sums = [np.bincount(group_N, weights=column, minlength=groups) for column in values_NX.T]
    return np.stack(sums, axis=1)


def _without_each(sums_GX: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums over all groups, then over all but each of them, (1 + G, ...), of what stands in each, (G, ...)."""
    total_1X = sums_GX.sum(axis=0, keepdims=True)
    return np.concatenate([total_1X, total_1X - sums_GX])


def _support(values: dict[str, Floats], held_GK: npt.NDArray[Any]) -> dict[str, Floats]:
    """Effective number of groups that hold each class, for scores per class, and that hold any, for the others."""
    per_class, at_all = effective_number(held_GK), effective_number(held_GK.sum(axis=1))
    return {name: per_class if value.ndim > 1 else at_all for name, value in values.items()}


def effective_number(held_GX: npt.NDArray[Any]) -> Floats:
    """Effective number of groups, (Σ w)² / Σ w²: 1 if one of them holds everything, 0 if there is nothing.

    Args:
        held_GX: What each group holds; whole numbers, not negative.

    Returns:
        float64 (...), 0 to G.
    """
    shares_GX = held_GX / np.maximum(held_GX.sum(axis=0), 1)
    squares = (shares_GX**2).sum(axis=0)
    effective: Floats = np.divide(1, squares, out=np.zeros_like(squares), where=squares > 0)
    return effective


def _ap_values(
    probabilities_NK: Probabilities,
    labels_NK: Bools,
    group_N: Groups,
    groups: int,
    track: Track,
) -> dict[str, Floats]:
    classes = labels_NK.shape[1]
    columns = [(probabilities_NK[:, c], labels_NK[:, c], group_N) for c in range(classes)]
    pairs = probabilities_NK.ravel(), labels_NK.ravel(), np.repeat(group_N, classes)
    work = track([*columns, pairs], "intervals", classes + 1)
    *ap_KR, micro_R = [average_precision_without_each(*arrays, groups) for arrays in work]
    ap_RK = np.stack(ap_KR, axis=1)
    return {"ap": ap_RK, "ap_macro": means_of_defined(ap_RK), "ap_micro": micro_R}


def _f1_values(decided_NK: Bools, labels_NK: Bools, group_N: Groups, groups: int) -> dict[str, Floats]:
    parts = decided_NK & labels_NK, decided_NK, labels_NK
    sums = [_without_each(_by_group(part, group_N, groups).astype(np.int64)) for part in parts]
    values = label_values(*sums)
    samples_G1 = _by_group(patch_f1(decided_NK, labels_NK)[:, None], group_N, groups)
    patches_R = _without_each(np.bincount(group_N, minlength=groups))
    return {
        "scene_f1": values["f1"],
        "f1_macro": values["f1_macro"],
        "f1_micro": values["f1_micro"],
        "f1_samples": ratio(_without_each(samples_G1)[:, 0], patches_R, patches_R > 0),
    }


def _calibration_values(
    reliability: PatchCounts, losses_NSL: Floats, scaled: bool, group_N: Groups, groups: int
) -> dict[str, Floats]:
    bins_GSBP = reliability.grouped(group_N, groups).reshape(groups, 2, CONFIDENCE_BINS, len(RELIABILITY_PARTS))
    bins_RSBP = _without_each(bins_GSBP)
    pixels_RS = bins_RSBP[..., RELIABILITY_PARTS.index("pixels")].sum(axis=-1)
    values = {}
    for s, ending in enumerate(("", "_scaled")[: 1 + scaled]):
        brier_R1 = _without_each(_by_group(losses_NSL[:, s, :1], group_N, groups))
        values[f"ece{ending}"] = calibration_error(bins_RSBP[:, s])
        values[f"brier{ending}"] = ratio(brier_R1[:, 0], pixels_RS[:, s], pixels_RS[:, s] > 0)
    return values
