"""All scores of an evaluation, from its evidence."""

from dataclasses import dataclass, replace

import numpy as np

from seg.errors import EvidenceError
from seg.metrics.evidence import Evidence, Origin, predicted_areas, reference_areas, total_counts
from seg.metrics.joint import JointScores, joint_scores
from seg.metrics.pixel import PixelScores, pixel_scores
from seg.metrics.ratio import Floats
from seg.metrics.scene import SceneScores, decide, fit_thresholds, label_scores, scene_scores

DEFINITIONS = 1
"""Version of the definitions; raised whenever a change of one makes older numbers incomparable."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """All scores of an evaluation.

    Attributes:
        origin: Split and data.
        patches: Number of patches, each counted once.
        pixel: Scores of the predicted masks; undefined if there are none, see `Origin.masks`.
        scene: Scores of the scene head at threshold 0.5, or of labels decided elsewhere; None if there are neither.
        scene_fitted: The same at thresholds fitted on validation; None without a scene head or such thresholds.
        joint: Scores of the labels that the masks imply; of the mask, undefined if there are none.
    """

    origin: Origin
    patches: int
    pixel: PixelScores
    scene: SceneScores | None
    scene_fitted: SceneScores | None
    joint: JointScores


def score_evidence(evidence: Evidence, min_share: float = 0.0) -> Scores:
    """All scores of an evaluation, those at fitted thresholds included where the evidence knows such.

    Args:
        evidence: What the model did on each patch.
        min_share: Share of the area that a class needs for a mask to imply it, see `implied_labels`.
    """
    labels_NK, probabilities_NK = evidence.labels, evidence.probabilities
    scene = scene_fitted = decided_NK = fitted_NK = None
    if probabilities_NK is not None:
        scene = scene_scores(probabilities_NK, labels_NK)
        if not evidence.origin.ranked:
            scene = replace(scene, ap=np.full_like(scene.ap, np.nan), ap_macro=np.nan, ap_micro=np.nan)
        decided_NK = decide(probabilities_NK)
        if evidence.origin.thresholds is not None:
            thresholds = np.array(evidence.origin.thresholds)
            scene_fitted = scene_scores(probabilities_NK, labels_NK, thresholds)
            fitted_NK = decide(probabilities_NK, thresholds)
    areas = predicted_areas(evidence), reference_areas(evidence)
    if evidence.origin.masks:
        joint = joint_scores(*areas, labels_NK, decided_NK, fitted_NK, min_share)
    else:
        joint = replace(joint_scores(*areas, labels_NK), mask=label_scores(labels_NK[:0], labels_NK[:0]))
    return Scores(evidence.origin, len(evidence), pixel_scores(total_counts(evidence)), scene, scene_fitted, joint)


def headline(scores: Scores) -> dict[str, float]:
    """The scores that sum up an evaluation, by name, for logs and for the choice of the best epoch.

    The scene scores are those at threshold 0.5, and missing if the model has no scene head; those of pixels are missing
    if it gives no masks.
    """
    pixel, scene = scores.pixel, scores.scene
    masks = ("miou", "mf1", "macc", "oa", "fwiou") if scores.origin.masks else ()
    values = {name: getattr(pixel, name) for name in masks}
    if scene is not None:
        names = ("ap_macro", "ap_micro", "f1_macro", "f1_micro", "f1_samples")
        values |= {name: getattr(scene, name) for name in names}
    return values


def validation_thresholds(evidence: Evidence) -> Floats | None:
    """Thresholds of the scene head that maximise each class's F1 on validation; None if the model has no scene head.

    Raises:
        EvidenceError: If the evidence is not that of the validation split.
    """
    if evidence.origin.split != "validation":
        raise EvidenceError(
            f"thresholds are fitted on validation, never on {evidence.origin.split}; evaluate validation first"
        )
    return None if evidence.probabilities is None else fit_thresholds(evidence.probabilities, evidence.labels)
