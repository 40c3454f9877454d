"""Joint scores: the multi-label that the predicted mask implies, beside the scene head and the truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg.metrics.evidence import POOLINGS, Evidence, predicted_areas, reference_areas
from seg.metrics.ratio import Bools, Floats, mean_of_defined, ratio
from seg.metrics.scene import (
    DEFAULT_THRESHOLD,
    LabelScores,
    Probabilities,
    average_precision,
    average_precisions,
    decide,
    label_scores,
)

Areas = npt.NDArray[np.int64]

MIN_SHARES = (0.0, 0.01, 0.05, 0.1)
"""Smallest shares of the labelled area for a class to be implied by the predicted mask; 0: one pixel is enough."""
_POOLED_RULES = {"max": "max", "lse": "log-sum-exp"}


@dataclass(frozen=True, slots=True, eq=False)
class JointScores:
    """How mask, scene head, reference map and official labels agree, fractions from 0 to 1.

    Attributes:
        min_share: Share of the labelled area that a class needed for a mask or a map to imply it.
        mask: The labels that the predicted mask implies, scored against the official ones.
        reference: The labels that the reference map implies, scored against the official ones: what a perfect mask
            would reach, and below 1 where map and labels of the data disagree.
        reference_exact: Share of patches whose reference map implies exactly the official labels.
        agreement: Share of patch-class decisions that the mask and the scene head have in common; NaN without one.
        agreement_fitted: The same with the scene head at fitted thresholds; NaN without those.
    """

    min_share: float
    mask: LabelScores
    reference: LabelScores
    reference_exact: float
    agreement: float
    agreement_fitted: float


@dataclass(frozen=True, slots=True, eq=False)
class ImpliedScores:
    """The labels that the predicted masks imply, scored against the official ones.

    Attributes:
        rule: What a class needs, such as ``area over 0 %`` (one pixel is enough) or ``area from 5 %``.
        labels: The scores.
    """

    rule: str
    labels: LabelScores


@dataclass(frozen=True, slots=True, eq=False)
class PooledScores:
    """Average precision of scene scores, fractions from 0 to 1.

    Attributes:
        rule: Where the scores come from: ``area share`` of the predicted mask, ``max`` or ``log-sum-exp`` of the pixel
            probabilities, or the ``scene head``.
        ap: Average precision per class, float64 (K,); NaN where no patch has the class.
        ap_macro: Mean of ap over the classes that occur.
        ap_micro: Average precision of all patch-class pairs taken together; NaN if no class occurs.
    """

    rule: str
    ap: Floats
    ap_macro: float
    ap_micro: float


@dataclass(frozen=True, slots=True, eq=False)
class Disagreement:
    """Where the labels that the mask implies differ from those of the scene head, and which of the two is right.

    A decision is that a patch has a class or not; where two differ, exactly one of them is right. Per class (K,);
    overall over all patch-class decisions.

    Attributes:
        fitted: True if the scene head decided at thresholds fitted on validation, False if at 0.5.
        agreement: Share of the patches for which both decide the same, float64; NaN without patches.
        disagreements: Patches for which they do not, int64.
        mask_right: Share of the disagreements in which the mask is right, float64; NaN without any.
        head_right: The others, 1 - mask_right.
        overall_agreement, overall_disagreements, overall_mask_right, overall_head_right: The same of all decisions.
    """

    fitted: bool
    agreement: Floats
    disagreements: npt.NDArray[np.int64]
    mask_right: Floats
    head_right: Floats
    overall_agreement: float
    overall_disagreements: int
    overall_mask_right: float
    overall_head_right: float


@dataclass(frozen=True, slots=True, eq=False)
class JointDetails:
    """How well masks, pooled pixels and scene head tell the labels of a patch.

    Attributes:
        implied: Labels implied by the predicted masks, at each of `MIN_SHARES`; none without masks.
        pooled: Scene scores of the mask and of pooled pixel probabilities, the latter only where the evidence has
            details; last the scene head, if there is one.
        disagreement: Mask, at one pixel, against scene head; None without either of the two.
        ceiling: Labels implied by the reference maps, at one pixel, scored against the official ones: what a perfect
            mask would reach.
    """

    implied: tuple[ImpliedScores, ...]
    pooled: tuple[PooledScores, ...]
    disagreement: Disagreement | None
    ceiling: LabelScores


def implied_labels(areas_NK: Areas, min_share: float = 0.0) -> Bools:
    """The multi-label that the class areas of each patch imply.

    Areas from evidence cover the labelled pixels only: what a mask shows where the reference is unlabelled implies
    nothing. A patch without labelled pixels has no label.

    Args:
        areas_NK: Pixels of each class in each patch, int64.
        min_share: Smallest share of the labelled area for a class to count, 0 to 1. 0: one pixel is enough, which is
            the rule that the official labels follow.

    Returns:
        bool (N, K).
    """
    assert 0 <= min_share <= 1, f"a share lies between 0 and 1, not {min_share}"
    totals_N1 = areas_NK.sum(axis=1, keepdims=True)
    # A quotient is compared, not a product: 7 of 100 pixels are a share of 0.07, but 0.07 * 100 exceeds 7.
    share_NK = ratio(areas_NK, np.broadcast_to(totals_N1, areas_NK.shape), areas_NK > 0)
    return np.greater_equal(share_NK, min_share)


def agreement(first_NK: Bools, second_NK: Bools) -> float:
    """Share of patch-class decisions that two multi-labels have in common; NaN without patches."""
    assert first_NK.shape == second_NK.shape, f"{first_NK.shape} against {second_NK.shape}"
    return float((first_NK == second_NK).mean()) if first_NK.size else float("nan")


def joint_scores(
    predicted_areas_NK: Areas,
    reference_areas_NK: Areas,
    labels_NK: Bools,
    decided_NK: Bools | None = None,
    fitted_NK: Bools | None = None,
    min_share: float = 0.0,
) -> JointScores:
    """Scores of the labels that masks and reference maps imply.

    Args:
        predicted_areas_NK: Labelled pixels predicted as each class, int64.
        reference_areas_NK: Labelled pixels that belong to each class, int64.
        labels_NK: The official labels, bool.
        decided_NK: Labels decided by the scene head, bool; None if the model has none.
        fitted_NK: The same at fitted thresholds; None if there are none.
        min_share: See `implied_labels`.
    """
    mask_NK = implied_labels(predicted_areas_NK, min_share)
    reference_NK = implied_labels(reference_areas_NK, min_share)
    same_N = (reference_NK == labels_NK).all(axis=1)
    return JointScores(
        min_share=min_share,
        mask=label_scores(mask_NK, labels_NK),
        reference=label_scores(reference_NK, labels_NK),
        reference_exact=float(same_N.mean()) if same_N.size else float("nan"),
        agreement=float("nan") if decided_NK is None else agreement(mask_NK, decided_NK),
        agreement_fitted=float("nan") if fitted_NK is None else agreement(mask_NK, fitted_NK),
    )


def joint_details(evidence: Evidence) -> JointDetails:
    """How well masks, pooled pixels and scene head tell the labels of a patch."""
    areas_NK, labels_NK = predicted_areas(evidence), evidence.labels
    disagreement, masks = None, evidence.origin.masks
    if evidence.probabilities is not None and masks:
        thresholds = evidence.origin.thresholds
        decided_NK = decide(evidence.probabilities, DEFAULT_THRESHOLD if thresholds is None else np.array(thresholds))
        disagreement = disagreements(implied_labels(areas_NK), decided_NK, labels_NK, fitted=thresholds is not None)
    return JointDetails(
        implied=tuple(
            ImpliedScores(_area_rule(share), label_scores(implied_labels(areas_NK, share), labels_NK))
            for share in (MIN_SHARES if masks else ())
        ),
        pooled=tuple(_pooled_scores(rule, scores, labels_NK) for rule, scores in _poolings(evidence, areas_NK)),
        disagreement=disagreement,
        ceiling=label_scores(implied_labels(reference_areas(evidence)), labels_NK),
    )


def disagreements(mask_NK: Bools, head_NK: Bools, labels_NK: Bools, *, fitted: bool) -> Disagreement:
    """Where two multi-labels differ, and which of the two is right.

    Args:
        mask_NK: Labels implied by the masks, bool.
        head_NK: Labels decided by the scene head, bool.
        labels_NK: The official labels, bool.
        fitted: Whether the scene head decided at fitted thresholds.
    """
    assert mask_NK.shape == head_NK.shape == labels_NK.shape, f"{mask_NK.shape}, {head_NK.shape}, {labels_NK.shape}"
    differs_NK = mask_NK != head_NK
    patches = np.full(labels_NK.shape[1], len(labels_NK))
    differing = differs_NK.sum(axis=0, dtype=np.int64)
    mask_won = (differs_NK & (mask_NK == labels_NK)).sum(axis=0, dtype=np.int64)
    pairs, all_differing, all_won = labels_NK.size, int(differing.sum()), int(mask_won.sum())
    return Disagreement(
        fitted=fitted,
        agreement=ratio(patches - differing, patches, patches > 0),
        disagreements=differing,
        mask_right=ratio(mask_won, differing, differing > 0),
        head_right=ratio(differing - mask_won, differing, differing > 0),
        overall_agreement=(pairs - all_differing) / pairs if pairs else float("nan"),
        overall_disagreements=all_differing,
        overall_mask_right=all_won / all_differing if all_differing else float("nan"),
        overall_head_right=(all_differing - all_won) / all_differing if all_differing else float("nan"),
    )


def _poolings(evidence: Evidence, areas_NK: Areas) -> Iterator[tuple[str, Probabilities]]:
    """Scene scores by rule, each (N, K), 0 to 1."""
    if evidence.origin.masks:
        labelled_NK = np.broadcast_to(areas_NK.sum(axis=1, keepdims=True), areas_NK.shape)
        # A patch without labelled pixels is unlikely to hold anything, as far as its mask can tell.
        yield "area share", np.nan_to_num(ratio(areas_NK, labelled_NK, labelled_NK > 0), nan=0.0)
    if evidence.details is not None and evidence.details.pooled_NPK is not None:
        for i, pooling in enumerate(POOLINGS):
            yield _POOLED_RULES[pooling], evidence.details.pooled_NPK[:, i] / 65535
    if evidence.probabilities is not None and evidence.origin.ranked:
        yield "scene head", evidence.probabilities


def _pooled_scores(rule: str, scores_NK: Probabilities, labels_NK: Bools) -> PooledScores:
    ap = average_precisions(scores_NK, labels_NK)
    return PooledScores(rule, ap, mean_of_defined(ap), average_precision(scores_NK.ravel(), labels_NK.ravel()))


def _area_rule(share: float) -> str:
    return f"area from {100 * share:g} %" if share else "area over 0 %"
