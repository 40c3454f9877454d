"""Scene scores: average precision of the probabilities, F1 of the multi-labels decided from them.

Average precision is computed here rather than by torchmetrics, which gives 0 for a class without positives, takes
probabilities outside 0 to 1 for logits, and adds up in float32. Where those do not matter, both agree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.errors import EvidenceError
from seg.metrics.ratio import Bools, Floats, mean_of_defined, means_of_defined, ratio

DEFAULT_THRESHOLD = 0.5
"""A class is decided where its probability exceeds this."""

Probabilities = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class LabelScores:
    """How well decided multi-labels agree with the true ones, fractions from 0 to 1.

    Per class, float64 (K,). NaN where no patch has the class, even if it was decided somewhere.

    Attributes:
        f1: 2 TP / (2 TP + FP + FN).
        precision: TP / (TP + FP); NaN also where the class was never decided.
        recall: TP / (TP + FN).
        support: Patches that have the class, int64 (K,).
        f1_macro: Mean of f1 over the classes that occur.
        f1_micro: F1 of all decisions taken together; NaN if no class occurs.
        f1_samples: Mean over patches of the F1 of each one's label set; 1 for a patch that has no label and got none.
        classes_averaged: Number of classes that occur, over which the macro mean is taken.
    """

    f1: Floats
    precision: Floats
    recall: Floats
    support: Counts
    f1_macro: float
    f1_micro: float
    f1_samples: float
    classes_averaged: int


@dataclass(frozen=True, slots=True, eq=False)
class SceneScores:
    """Scores of scene probabilities, fractions from 0 to 1.

    Attributes:
        ap: Average precision per class, float64 (K,); NaN where no patch has the class.
        ap_macro: Mean of ap over the classes that occur.
        ap_micro: Average precision of all patch-class pairs taken together; NaN if no class occurs.
        thresholds: Threshold per class, float64 (K,), that the labels below were decided with.
        f1, precision, recall, support, f1_macro, f1_micro, f1_samples, classes_averaged: See `LabelScores`.
    """

    ap: Floats
    ap_macro: float
    ap_micro: float
    thresholds: Floats
    f1: Floats
    precision: Floats
    recall: Floats
    support: Counts
    f1_macro: float
    f1_micro: float
    f1_samples: float
    classes_averaged: int


def check_probabilities(probabilities_NK: Probabilities) -> None:
    """Refuse what is no array of probabilities.

    Raises:
        EvidenceError: If a value is NaN or outside 0 to 1.
    """
    patches = len(probabilities_NK)
    if broken := int(np.isnan(probabilities_NK).any(axis=1).sum()):
        raise EvidenceError(
            f"the scene probabilities of {broken} of {patches} patches are NaN, so the training has diverged; train it "
            "again at a lower rate (--set train.lr=1e-4) or in full precision (--set train.precision=float32)"
        )
    if patches and (probabilities_NK.min() < 0 or probabilities_NK.max() > 1):
        raise EvidenceError("scene probabilities lie between 0 and 1; pass logits through a sigmoid first")


def decide(probabilities_NK: Probabilities, thresholds: float | Floats = DEFAULT_THRESHOLD) -> Bools:
    """Multi-labels decided from probabilities: present where the probability exceeds the threshold.

    Args:
        probabilities_NK: Patches x classes, 0 to 1.
        thresholds: One threshold, or one per class (K,).

    Returns:
        bool (N, K).
    """
    # In float64, lest a fitted threshold between two neighbouring float32 probabilities be rounded onto one of them.
    return probabilities_NK.astype(np.float64) > np.asarray(thresholds, dtype=np.float64)


def label_scores(decided_NK: Bools, labels_NK: Bools) -> LabelScores:
    """Scores of decided multi-labels against the true ones.

    Args:
        decided_NK: Patches x classes, decided.
        labels_NK: Patches x classes, true.
    """
    assert decided_NK.shape == labels_NK.shape, f"{decided_NK.shape} against {labels_NK.shape}"
    assert decided_NK.dtype == labels_NK.dtype == np.bool_, (
        f"labels are bool, not {decided_NK.dtype}, {labels_NK.dtype}"
    )
    hits_NK = decided_NK & labels_NK
    hits, decided, true = (array.sum(axis=0, dtype=np.int64) for array in (hits_NK, decided_NK, labels_NK))
    values = label_values(hits, decided, true)
    return LabelScores(
        f1=values["f1"],
        precision=values["precision"],
        recall=values["recall"],
        support=true,
        f1_macro=float(values["f1_macro"]),
        f1_micro=float(values["f1_micro"]),
        f1_samples=mean_of_defined(patch_f1(decided_NK, labels_NK)),
        classes_averaged=int((true > 0).sum()),
    )


def label_values(hits_XK: Counts, decided_XK: Counts, true_XK: Counts) -> dict[str, Floats]:
    """The scores of `LabelScores` that follow from sums over patches, by name, of one or of many sets of patches.

    Args:
        hits_XK: Patches that have a class and for which it was decided, int64; any axes before the classes, or none.
        decided_XK: Patches for which it was decided.
        true_XK: Patches that have it.

    Returns:
        ``f1``, ``precision`` and ``recall``, float64 (X, K), ``f1_macro`` and ``f1_micro`` (X,).
    """
    present = true_XK > 0
    f1 = ratio(2 * hits_XK, decided_XK + true_XK, present)
    return {
        "f1": f1,
        "precision": ratio(hits_XK, decided_XK, present),
        "recall": ratio(hits_XK, true_XK, present),
        "f1_macro": means_of_defined(f1),
        "f1_micro": ratio(2 * hits_XK.sum(axis=-1), (decided_XK + true_XK).sum(axis=-1), true_XK.sum(axis=-1) > 0),
    }


def patch_f1(decided_NK: Bools, labels_NK: Bools) -> Floats:
    """F1 of the label set of each patch: float64 (N,); 1 for a patch that has no label and got none."""
    sizes_N = decided_NK.sum(axis=1) + labels_NK.sum(axis=1)
    f1_N = ratio(2 * (decided_NK & labels_NK).sum(axis=1), sizes_N, sizes_N > 0)
    return np.nan_to_num(f1_N, nan=1.0)


def scene_scores(
    probabilities_NK: Probabilities, labels_NK: Bools, thresholds: float | Floats = DEFAULT_THRESHOLD
) -> SceneScores:
    """Scores of scene probabilities against the true multi-labels.

    Args:
        probabilities_NK: Patches x classes, 0 to 1.
        labels_NK: bool, the same shape.
        thresholds: One threshold, or one per class (K,), fitted on validation and never on the split scored here.

    Raises:
        EvidenceError: If a value is NaN or outside 0 to 1.
    """
    assert probabilities_NK.shape == labels_NK.shape, f"{probabilities_NK.shape} against {labels_NK.shape}"
    check_probabilities(probabilities_NK)
    ap = average_precisions(probabilities_NK, labels_NK)
    at = label_scores(decide(probabilities_NK, thresholds), labels_NK)
    return SceneScores(
        ap=ap,
        ap_macro=mean_of_defined(ap),
        ap_micro=average_precision(probabilities_NK.ravel(), labels_NK.ravel()),
        thresholds=np.broadcast_to(np.asarray(thresholds, dtype=np.float64), ap.shape),
        f1=at.f1,
        precision=at.precision,
        recall=at.recall,
        support=at.support,
        f1_macro=at.f1_macro,
        f1_micro=at.f1_micro,
        f1_samples=at.f1_samples,
        classes_averaged=at.classes_averaged,
    )


def average_precisions(scores_NK: Probabilities, labels_NK: Bools) -> Floats:
    """Average precision of each class: float64 (K,), see `average_precision`.

    Args:
        scores_NK: Patches x classes; the higher, the more likely.
        labels_NK: bool, the same shape.
    """
    return np.array([average_precision(*column) for column in zip(scores_NK.T, labels_NK.T, strict=True)])


def average_precision(scores_N: Probabilities, positive_N: Bools) -> float:
    """Average precision: the sum over thresholds of precision times the gain in recall, without interpolation.

    The definition of scikit-learn; equal scores share one threshold, so the order of the patches does not matter.

    Args:
        scores_N: The higher, the more likely.
        positive_N: bool, which are positive.

    Returns:
        0 to 1, NaN without a positive.
    """
    if not positive_N.any():
        return float("nan")
    hits, decided, _ = _curve(scores_N, positive_N)
    gained = np.diff(hits, prepend=0)
    return float((gained * (hits / decided)).sum() / hits[-1])


def precision_recall(scores_N: Probabilities, positive_N: Bools) -> tuple[Floats, Floats]:
    """The precision-recall curve that `average_precision` sums up: one point per distinct score, from the highest down.

    Args:
        scores_N: The higher, the more likely.
        positive_N: bool, which are positive; at least one.

    Returns:
        Precision and recall of what scores at least as high, float64, 0 to 1; the recall never falls.
    """
    assert positive_N.any(), "there is no recall without a positive"
    hits, decided, _ = _curve(scores_N, positive_N)
    return hits / decided, hits / hits[-1]


def fit_thresholds(probabilities_NK: Probabilities, labels_NK: Bools) -> Floats:
    """The threshold of each class that maximises its F1 on these patches, which must be those of validation.

    A threshold lies halfway between two neighbouring probabilities. Of several that are equally good, the one
    nearest to 0.5 is taken, and the higher of two as near. A class keeps 0.5 if no patch has it, or if none that has
    it got a probability above 0.

    Args:
        probabilities_NK: Patches x classes, 0 to 1.
        labels_NK: bool, the same shape.

    Returns:
        float64 (K,), 0 to 1, for `decide`.

    Raises:
        EvidenceError: If a value is NaN or outside 0 to 1.
    """
    assert probabilities_NK.shape == labels_NK.shape, f"{probabilities_NK.shape} against {labels_NK.shape}"
    check_probabilities(probabilities_NK)
    return np.array(
        [_fit_threshold(scores, positive) for scores, positive in zip(probabilities_NK.T, labels_NK.T, strict=True)]
    )


def _fit_threshold(scores_N: Probabilities, positive_N: Bools) -> float:
    if not positive_N.any():
        return DEFAULT_THRESHOLD
    hits, decided, distinct = _curve(scores_N, positive_N)
    f1 = 2 * hits / (decided + positive_N.sum())
    # No threshold from 0 to 1 decides for a probability of exactly 0.
    f1[distinct == 0] = 0
    if not f1.any():
        return DEFAULT_THRESHOLD
    below = np.append(distinct[1:], 0)
    # The mean of two neighbouring float64 values rounds onto one of them, which must not be the upper one.
    halfway = np.minimum((distinct + below) / 2, np.nextafter(distinct, -1))
    best = halfway[f1 == f1.max()]
    return float(best[np.abs(best - DEFAULT_THRESHOLD).argmin()])


def _curve(scores_N: Probabilities, positive_N: Bools) -> tuple[Counts, Counts, Floats]:
    """Positives and patches at or above each distinct score, and these scores as float64, from the highest down."""
    order = np.argsort(-scores_N)
    ranked = scores_N[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.cumsum(positive_N[order], dtype=np.int64)[last]
    return hits, last + 1, ranked[last].astype(np.float64)
