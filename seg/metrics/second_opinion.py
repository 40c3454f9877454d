"""The headline scores of an evaluation once more, by other code: that of `seg.metrics.collection`, in torch."""

import math

import numpy as np
import torch

from seg.metrics.collection import PIXEL_SCORES, SCENE_SCORES, K, metric_collection
from seg.metrics.evidence import CELLS, Evidence
from seg.metrics.scores import Scores, headline

_AGREED = 1e-9
"""How far two computations of a score may differ, in fractions."""


def second_opinion(evidence: Evidence) -> dict[str, float]:
    """The headline scores of an evaluation once more, computed by torch and torchmetrics instead of `score_evidence`.

    Args:
        evidence: What the model did on each patch.

    Returns:
        By name, those of `seg.metrics.scores.headline` that are defined by what was given.
    """
    scores = metric_collection()
    keys = torch.from_numpy(evidence.confusion.keys.astype(np.int64))
    pixels = torch.from_numpy(evidence.confusion.counts.astype(np.int64))
    counts = torch.zeros(CELLS, dtype=torch.int64).scatter_add_(0, keys, pixels).view(1, K, K)
    scores.update(counts=counts)
    names = PIXEL_SCORES if evidence.origin.masks else ()
    if evidence.probabilities is not None:
        probabilities, labels = torch.tensor(evidence.probabilities), torch.tensor(evidence.labels)
        scores.update(probabilities=probabilities, label=labels)
        names = (*names, *(SCENE_SCORES if evidence.origin.ranked else SCENE_SCORES[2:]))
    return {name: float(scores[name].compute()) for name in names}


def disputed(evidence: Evidence, scores: Scores) -> str | None:
    """Where the headline scores of an evaluation are others than those of `second_opinion`; None if they are not.

    Args:
        evidence: What the model did on each patch.
        scores: What `seg.metrics.scores.score_evidence` makes of it.
    """
    expected = second_opinion(evidence)
    for name, value in headline(scores).items():
        other = expected.get(name, math.nan)  # a score that it lacks is undefined
        if not (math.isclose(value, other, rel_tol=0, abs_tol=_AGREED) or (math.isnan(value) and math.isnan(other))):
            return (
                f"seg computes {name} as {value!r} and torchmetrics as {other!r} from the same evidence, so one of "
                "them is broken on this machine; try another version of torch and torchmetrics"
            )
    return None
