"""Scores of single patches: for maps and for the choice of what to look at, not for comparing models."""

import numpy as np

from seg.metrics.evidence import CELLS, Evidence, predicted_areas
from seg.metrics.joint import implied_labels
from seg.metrics.ratio import Floats, ratio
from seg.metrics.scene import DEFAULT_THRESHOLD, decide
from seg.metrics.sparse import Counts
from seg.reben.classes import NUM_CLASSES

_RIGHT_OF_CELL = (np.arange(CELLS) % (NUM_CLASSES + 1) == 0).astype(np.int64)


def patch_accuracy(evidence: Evidence) -> Floats:
    """Overall accuracy of each patch, float64 (N,), 0 to 1; NaN where no pixel is labelled."""
    pixels_N2 = evidence.confusion.by_patch(_RIGHT_OF_CELL, 2)
    labelled = pixels_N2.sum(axis=1)
    return ratio(pixels_N2[:, 1], labelled, labelled > 0)


def label_differences(evidence: Evidence) -> Counts | None:
    """Classes of each patch on which mask and scene head contradict each other: int64 (N,).

    The mask implies a class by a single pixel; the head decides at its fitted thresholds, or at 0.5 without such.

    Returns:
        None if the model has no scene head, or gives no masks.
    """
    if evidence.probabilities is None or not evidence.origin.masks:
        return None
    fitted = evidence.origin.thresholds
    decided_NK = decide(evidence.probabilities, DEFAULT_THRESHOLD if fitted is None else np.array(fitted))
    differences: Counts = (decided_NK != implied_labels(predicted_areas(evidence))).sum(axis=1, dtype=np.int64)
    return differences
