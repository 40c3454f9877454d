"""What evidence says of itself in several places must agree: counts, confidences, losses and boundaries of each patch.

Whoever edits one of them has to make all others follow, patch by patch. What follows from nothing else, such as whether
the network has ever seen a patch, no check of the evidence alone can tell.
"""

from collections.abc import Iterator

import numpy as np

from seg.errors import SubmissionError
from seg.metrics.calibration import UNITS
from seg.metrics.evidence import (
    BAND_PARTS,
    CONFIDENCE_BINS,
    RELIABILITY_PARTS,
    ZONES,
    Evidence,
    predicted_areas,
    reference_areas,
    take_patches,
)
from seg.metrics.ratio import Bools, Floats
from seg.metrics.sparse import Counts
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES

_CHUNK = 4096
_PIXELS = PATCH_SIZE * PATCH_SIZE
_EDGES = np.arange(CONFIDENCE_BINS + 1) / CONFIDENCE_BINS
_LEAST = 1 / NUM_CLASSES
"""No largest probability of 19 is below it."""
_SLACK = 1e-3
"""Share that sums of float32 losses may be off by."""
_MOST_LOSS, _MOST_LOSS_ELSEWHERE = 1e4, 16.1
"""Negative log-likelihood of a pixel at most: no network's logits are further apart, and of predictions made elsewhere,
whose probabilities are not taken for less than 2^-23, it is -ln of that."""


def check_consistency(evidence: Evidence) -> None:
    """Refuse evidence that contradicts itself.

    Raises:
        SubmissionError: Naming a patch and what does not agree.
    """
    for begin in range(0, len(evidence), _CHUNK):
        part = take_patches(evidence, np.arange(begin, min(begin + _CHUNK, len(evidence))))
        for what, wrong in _contradictions(part):
            wrong_N = wrong.reshape(len(part), -1).any(axis=1)
            if wrong_N.any():
                first = part.patch_ids[int(np.argmax(wrong_N))].as_py()
                raise SubmissionError(
                    f"the evidence contradicts itself: of {first}, {what}; it was edited or is damaged"
                )


def _contradictions(part: Evidence) -> Iterator[tuple[str, Bools]]:
    """What may not agree, and where it does not, an array over the patches and whatever else."""
    counts_NKK = part.confusion.dense().reshape(-1, NUM_CLASSES, NUM_CLASSES)
    areas_NK = reference_areas(part)
    yield "more pixels are labelled than a patch has", areas_NK.sum(1) > _PIXELS
    if part.probabilities is not None and not part.origin.ranked:
        yield "labels that were decided are neither 0 nor 1", (part.probabilities != 0) & (part.probabilities != 1)
    details = part.details
    if details is None:
        return
    zones_NZKK = details.zones.dense().reshape(-1, len(ZONES) - 1, NUM_CLASSES, NUM_CLASSES)
    yield "more pixels lie near boundaries than there are", zones_NZKK.sum(1) > counts_NKK
    both, reference, predicted = np.moveaxis(details.bands.dense().reshape(-1, len(BAND_PARTS), NUM_CLASSES), 1, 0)
    near_NKK = zones_NZKK[:, 0]
    right_near = np.diagonal(near_NKK, axis1=1, axis2=2)
    yield "boundaries of the reference are not where its pixels are", reference > near_NKK.sum(2)
    yield "boundaries of the prediction are not where its pixels are", predicted > predicted_areas(part)
    yield "boundaries agree where maps do not", (both > right_near) | (both > reference) | (both > predicted)
    if details.reliability is not None and details.losses_NSL is not None:
        bins = details.reliability.dense().reshape(-1, 2, CONFIDENCE_BINS, len(RELIABILITY_PARTS))
        yield from _of_confidence(part, bins, details.losses_NSL, counts_NKK)
        if details.pooled_NPK is not None:
            yield from _of_pooled(part, bins, details.pooled_NPK.astype(np.int64), counts_NKK)


def _of_confidence(
    part: Evidence, bins_NSBP: Counts, losses_NSL: Floats, counts_NKK: Counts
) -> Iterator[tuple[str, Bools]]:
    right_N, total_N = np.trace(counts_NKK, axis1=1, axis2=2), counts_NKK.sum((1, 2))
    temperature = part.origin.temperature
    if temperature is None:
        extra: Bools = np.asarray(bins_NSBP[:, 1].any((1, 2)) | ~np.isnan(losses_NSL[:, 1]).all(1))
        yield "there are confidences after a temperature, and no temperature", extra
    else:
        yield "the confidences after the temperature are none that it makes", _of_scaling(bins_NSBP, temperature)
    most_loss = _MOST_LOSS if part.origin.weights else _MOST_LOSS_ELSEWHERE
    for scaled in range(1 if temperature is None else 2):
        count_NB, hits_NB, units_NB = np.moveaxis(bins_NSBP[:, scaled], -1, 0)
        yield "as many pixels are right as the counts say", hits_NB.sum(1) != right_N
        yield "confidences are of other pixels than the counts", count_NB.sum(1) != total_N
        yield "more pixels are right than there are", hits_NB > count_NB
        low_B, high_B = np.maximum(_EDGES[:-1], _LEAST) * UNITS - 1, _EDGES[1:] * UNITS + 1
        outside = (units_NB < low_B * count_NB) | (units_NB > high_B * count_NB)
        yield "confidences lie outside of their bins", outside
        losses_NL = losses_NSL[:, scaled]
        wrong_NB = count_NB - hits_NB
        bounds = _loss_bounds(losses_NL, hits_NB.astype(float), wrong_NB.astype(float), most_loss)
        for name, loss_N, low_N, high_N in bounds:
            beyond = ~((loss_N >= low_N * (1 - _SLACK) - _SLACK) & (loss_N <= high_N * (1 + _SLACK) + _SLACK))
            yield f"the {name} is none that its confidences can have", beyond


def _of_pooled(
    part: Evidence, bins_NSBP: Counts, pooled_NPK: Counts, counts_NKK: Counts
) -> Iterator[tuple[str, Bools]]:
    most_NK, pooled_NK = np.moveaxis(pooled_NPK, 1, 0)
    least = int(_LEAST * UNITS) - 1
    yield "a class is predicted without a probability", (predicted_areas(part) > 0) & (most_NK < least)
    yield "pooled probabilities are larger than their maximum", pooled_NK > most_NK + 1
    filled_NB = bins_NSBP[:, 0, :, 0] > 0
    top_N = CONFIDENCE_BINS - 1 - np.argmax(filled_NB[:, ::-1], axis=1)
    most_N, any_N = most_NK.max(1), filled_NB.any(1)
    yield "a confidence is larger than all probabilities", any_N & (most_N < _EDGES[top_N] * UNITS - 1)
    whole_N = any_N & (counts_NKK.sum((1, 2)) == _PIXELS)
    yield "a probability is larger than all confidences", whole_N & (most_N > _EDGES[top_N + 1] * UNITS + 1)


def _of_scaling(bins_NSBP: Counts, temperature: float) -> Bools:
    """Where no pixels of these confidences can have the others after the temperature.

    Of a pixel with confidence p it is 1 / sum((q / p)^(1 / T)) over its probabilities q. That sum is largest or
    smallest if all but the largest are equal, or if as many as can be are as large as that one. Both grow with p, so
    that of the pixels below an edge as many stay below what is made of it.
    """
    edges_B = _EDGES[1:-1]
    rest_B = (1 / edges_B - 1) / (NUM_CLASSES - 1)
    alike_B = np.floor(1 / edges_B + _ROUNDED)
    left_B = np.maximum(1 / edges_B - alike_B, 0)
    even_B = 1 + (NUM_CLASSES - 1) * rest_B ** (1 / temperature)
    uneven_B = alike_B + left_B ** (1 / temperature)
    least_B = 1 / np.maximum(np.maximum(even_B, uneven_B), 1)
    most_B = 1 / np.maximum(np.minimum(even_B, uneven_B), 1)
    count_NSB = bins_NSBP[..., :2].cumsum(2)
    # Edges of bins that lie beyond what an edge becomes; a confidence of 1/19 is the least of all.
    above_B = np.searchsorted(_EDGES[1:], most_B + _ROUNDED)
    below_B = np.searchsorted(_EDGES[1:], least_B - _ROUNDED, side="right") - 1
    before, after = count_NSB[:, 0, :-1], count_NSB[:, 1]
    too_high = after[:, np.minimum(above_B, CONFIDENCE_BINS - 1)] < before
    too_low = (below_B >= 0)[:, None] & (after[:, np.maximum(below_B, 0)] > before)
    return too_high | too_low


_ROUNDED = 1e-5
"""How far float32 may put a confidence onto the other side of an edge."""


def _loss_bounds(
    losses_NL: Floats, right_NB: Floats, wrong_NB: Floats, most_loss: float
) -> Iterator[tuple[str, Floats, Floats, Floats]]:
    """Sums of the losses with the least and the most that pixels of these bins can come to.

    Of a pixel with confidence p that is right, the Brier score lies between (1 - p)^2 and 2 (1 - p)^2 and the negative
    log-likelihood is -ln p. If it is wrong, what is true has at most the smaller of p and 1 - p, q say: the Brier score
    lies between p^2 + (1 - q)^2 and 1 + p^2 + (1 - p)^2, and the log-likelihood is at least -ln q.
    """
    low_B, high_B = np.maximum(_EDGES[:-1], _LEAST), _EDGES[1:]
    q_B = np.where(high_B <= 0.5, high_B, np.where(low_B >= 0.5, 1 - low_B, 0.5))
    widest_B = 1 + np.maximum(low_B**2 + (1 - low_B) ** 2, high_B**2 + (1 - high_B) ** 2)
    least: Floats = right_NB @ (1 - high_B) ** 2 + wrong_NB @ (low_B**2 + (1 - q_B) ** 2)
    most: Floats = right_NB @ (2 * (1 - low_B) ** 2) + wrong_NB @ widest_B
    yield "Brier score", losses_NL[:, 0], least, most
    least = right_NB @ -np.log(high_B) + wrong_NB @ -np.log(q_B)
    most = right_NB @ -np.log(low_B) + wrong_NB.sum(axis=1) * most_loss
    yield "log-likelihood", losses_NL[:, 1], least, most
