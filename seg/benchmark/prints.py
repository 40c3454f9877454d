"""Fingerprints of what was predicted for each patch, by which copies are found of which a few pixels were changed."""

import numpy as np
import numpy.typing as npt

from seg.metrics.evidence import Evidence, predicted_areas

Prints = npt.NDArray[np.uint64]
"""One number for each patch; 0 where no more than one class was predicted, as many methods may do alike."""
_ALIKE = 0.99
"""Share of patches with the very same counts that no two methods reach."""
_ODD, _OTHER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def prints_of(evidence: Evidence) -> Prints:
    """Fingerprints of the masks of an evaluation, in the order of its patches."""
    counts = evidence.confusion
    patches = np.repeat(np.arange(len(counts)), np.diff(counts.offsets))
    mixed = (counts.keys.astype(np.uint64) + np.uint64(1)) * _ODD
    mixed = (mixed ^ (mixed >> np.uint64(29))) * (counts.counts.astype(np.uint64) * _OTHER | np.uint64(1))
    prints: Prints = np.zeros(len(counts), np.uint64)
    np.add.at(prints, patches, mixed)
    several = (predicted_areas(evidence) > 0).sum(axis=1) > 1
    return np.where(several, prints | np.uint64(1), np.uint64(0))


def same_share(one: Prints, other: Prints) -> float:
    """Share of the patches in which either sees several classes that have the very same counts; 0 if there are none."""
    told = (one != 0) | (other != 0)
    return float((one == other)[told].mean()) if told.any() else 0.0


def nearly_same(one: Prints, other: Prints) -> bool:
    """Whether two predictions of the same patches have the same counts nearly wherever either has several classes."""
    return same_share(one, other) >= _ALIKE
