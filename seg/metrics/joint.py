"""Joint scores: the multi-label that the predicted mask implies, beside the scene head and the truth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg.metrics.ratio import Bools, ratio
from seg.metrics.scene import LabelScores, label_scores

Areas = npt.NDArray[np.int64]


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
