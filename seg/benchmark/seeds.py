"""Whether the seeds of an entry differ as trainings of their own do, by what they have predicted.

Between trainings of one network, a quarter to a half as many pixels differ as either has wrong; between the random
forests of the sample leaderboard, which average over many trees, one in 26 does. Of a copy of which some pixels of each
patch were changed it is far fewer, and of one of which some patches were changed, the others stay as they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from seg.benchmark.prints import Prints, prints_of, same_share
from seg.errors import SubmissionError
from seg.metrics.evidence import Evidence
from seg.metrics.ratio import Bools
from seg.metrics.sparse import PatchCounts

LEAST, FEW = 0.01, 0.03
"""Pixels that have to differ, by those that are wrong: of fewer it is no seed, of few it is remarked."""
LEAST_OF_LABELS = 0.001
"""How far probabilities of scene labels have to be from each other, by how far they are from the truth."""
MOST_SAME = 0.5
"""Share of the patches with several classes that may have the very same counts."""
_CURE = (
    "a seed is a training of its own, and a method that hardly depends on its random numbers is entered once, with "
    "'deterministic: true'"
)


@dataclass(frozen=True, slots=True, eq=False)
class SeenSeed:
    """What is kept of a seed, to compare others with.

    Attributes:
        name: Of its folder.
        confusion: Its counts; None without masks.
        wrong: Labelled pixels that it has wrong.
        prints: Fingerprints of its masks.
        probabilities_NK, labels_NK: Of the scene labels, and what is true; probabilities are None without labels.
    """

    name: str
    confusion: PatchCounts | None
    wrong: int
    prints: Prints
    probabilities_NK: npt.NDArray[np.float32] | None
    labels_NK: Bools


def seen_seed(name: str, evidence: Evidence) -> SeenSeed:
    """What is kept of a seed."""
    masks = evidence.confusion if evidence.origin.masks else None
    total = 0 if masks is None else int(masks.total().sum())
    right = 0 if masks is None else int(np.trace(masks.total().reshape(-1, round(masks.size**0.5))))
    return SeenSeed(name, masks, total - right, prints_of(evidence), evidence.probabilities, evidence.labels)


def check_seed(seed: SeenSeed, others: Sequence[SeenSeed]) -> list[str]:
    """Make sure that a seed differs from others of its entry, on the same patches with the same reference.

    Args:
        seed: The seed.
        others: Those before it.

    Returns:
        What is to be remarked, in words.

    Raises:
        SubmissionError: If it differs from one of them by less than trainings do.
    """
    remarks = []
    for other in others:
        both = f"seeds {other.name} and {seed.name}"
        if seed.confusion is not None and other.confusion is not None:
            same = same_share(seed.prints, other.prints)
            if same > MOST_SAME:
                raise SubmissionError(
                    f"{both} have the very same counts in {100 * same:.3g} % of the patches with several classes; "
                    f"{_CURE}"
                )
            share = _differing(seed.confusion, other.confusion) / max(seed.wrong + other.wrong, 1) * 2
            if share < LEAST:
                raise SubmissionError(
                    f"the masks of {both} differ by {100 * share:.2g} % of the pixels that they have wrong, and have "
                    f"to by {100 * LEAST:g} %; {_CURE}"
                )
            if share < FEW:
                remarks.append(
                    f"by their counts, the masks of {both} need not differ by more than {100 * share:.2g} % of the "
                    "pixels that they have wrong, which tells little of the spread over seeds"
                )
        if seed.probabilities_NK is not None and other.probabilities_NK is not None:
            share = _apart(seed, other)
            if share < LEAST_OF_LABELS:
                raise SubmissionError(
                    f"the scene predictions of {both} differ by {100 * share:.2g} % of what they are off the truth, "
                    f"and have to by {100 * LEAST_OF_LABELS:g} %; {_CURE}, as labels that do not are left out"
                )
    return remarks


def _differing(one: PatchCounts, other: PatchCounts) -> float:
    """Pixels that two masks have to differ in at least to have these counts."""
    return float(abs(_matrix(one) - _matrix(other)).sum() / 2)


def _matrix(counts: PatchCounts) -> csr_array:
    values = (counts.counts.astype(np.int64), counts.keys.astype(np.int32), counts.offsets)
    return csr_array(values, shape=(len(counts), counts.size))


def _apart(one: SeenSeed, other: SeenSeed) -> float:
    """How far probabilities are from each other, by how far either is from the truth."""
    assert one.probabilities_NK is not None, "the caller has looked"
    assert other.probabilities_NK is not None, "the caller has looked"
    between = np.abs(one.probabilities_NK - other.probabilities_NK).mean(dtype=np.float64)
    off = np.abs(one.probabilities_NK - one.labels_NK).mean(dtype=np.float64)
    off += np.abs(other.probabilities_NK - other.labels_NK).mean(dtype=np.float64)
    return float(2 * between / max(off, np.finfo(np.float64).tiny))
