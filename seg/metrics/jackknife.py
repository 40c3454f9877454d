"""Intervals of scores and tests of differences, by a jackknife that leaves out whole MGRS tiles.

Neighbouring patches resemble each other, so a tile is what is left out, with all its patches, and every score is
computed anew from the others. With T tiles, the score θ of all, the scores θ(t) without tile t and their mean m:

- s² = (T - 1) / T · Σ (θ(t) - m)² is the variance of the score over tiles (Tukey 1958; Efron and Stein 1981, "The
  jackknife estimate of variance": rather too large than too small), and b = (T - 1) (m - θ) its bias (Quenouille 1956),
  which is not small where a class lies in few tiles: its IoU is a quotient of sums that such tiles dominate.
- A mean over classes is one over the classes that the split has: it estimates the mean over the same classes of what
  each would score over very many such tiles. Without its only tile a class has no score, and counts with that of all
  tiles. Nothing is known of its error then, so the variance between the classes, v, stands for it: n of K classes that
  lie in one tile each add e² = n v / K² to the variance of the mean.
- The interval is θ ± q · √(s² + b² + e²), within the range of the score, with q of Student's distribution with G - 1
  degrees of freedom, 1 at least. G = (Σ w)² / Σ w² is the effective number of tiles (Kish 1965; Carter, Schnepel and
  Steigerwald 2017, "Asymptotic behavior of a t-test robust to cluster heterogeneity"), w what each tile holds of what
  is scored.

Percentiles of a bootstrap of tiles, accelerated or not (Efron 1987; DiCiccio and Efron 1996, "Bootstrap confidence
intervals"), are far too narrow for means over rare classes, and those of few clusters are for any score (Cameron,
Gelbach and Miller 2008, "Bootstrap-based improvements for inference with clustered errors"; MacKinnon, Nielsen and Webb
2023, "Fast and reliable jackknife and bootstrap methods for cluster-robust inference"). How often each of them holds
the truth is measured by ``scripts/check_intervals.py``. Training is not repeated: intervals say how scores vary with
the places, not with the seed of a training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from seg.config.track import Track, silent
from seg.errors import EvidenceError
from seg.metrics.evidence import Evidence
from seg.metrics.leave_out import scores_without_each
from seg.metrics.ratio import Floats, means_of_defined

LEVEL = 0.95
METHOD = "jackknife over tiles"
MEANS = {
    "miou": "iou",
    "mf1": "f1",
    "macc": "recall",
    "ap_macro": "ap",
    "f1_macro": "scene_f1",
    "f1_macro_fitted": "scene_f1_fitted",
    "boundary_miou": "boundary_iou",
}
"""Means over classes, and the scores per class that they are means of."""


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """Scores of all tiles, and of all but one.

    Attributes:
        patches: Number of patches by tile, in the order of the tiles' names.
        values: Scores by name, float64 (1 + T,), or (1 + T, K) per class: of all T tiles, then without each of them in
            turn; NaN where a score is undefined.
            ``miou``, ``mf1``, ``macc``, ``oa``, ``fwiou`` and per class ``iou``, ``f1``, ``precision``, ``recall``.
            With a scene head ``ap_macro``, ``ap_micro``, ``f1_macro``, ``f1_micro``, ``f1_samples`` and per class
            ``ap``, ``scene_f1``; with fitted thresholds the F1 scores once more, ending in ``_fitted``. With details
            ``boundary_miou`` and per class ``boundary_iou``, ``ece``, ``brier``, and with a temperature ``ece_scaled``,
            ``brier_scaled``; these four are of the pixels.
        support: Effective number of tiles in which there is what a score is about, float64 (), or (K,) per class.
    """

    patches: dict[str, int]
    values: dict[str, Floats]
    support: dict[str, Floats]

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.patches)


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Bounds of a score, float64 (), or (K,) per class; NaN where there is no interval."""

    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Whether one run, or the mean of several, scores higher than another.

    Attributes:
        difference: The first run's score minus that of the second.
        low, high: Bounds of the difference.
        p_value: 0 to 1, two-sided; at 0.05, an interval of level 0.95 just reaches 0.
    """

    difference: float
    low: float
    high: float
    p_value: float


def jackknife(evidence: Evidence, track: Track = silent) -> Replicates:
    """Scores of all tiles, and of all but one.

    Args:
        evidence: What the model did on each patch.
        track: Progress.
    """
    names, tile_N = numbered_tiles(evidence)
    values, support = scores_without_each(evidence, tile_N, len(names), track)
    patches = dict(zip(names, np.bincount(tile_N, minlength=len(names)).tolist(), strict=True))
    return Replicates(patches, values, support)


def mean_of(runs: Sequence[Replicates]) -> Replicates:
    """The means over some runs, such as one for each seed of a training, of the scores that all of them have.

    Raises:
        EvidenceError: If they do not stand on the same patches.
    """
    assert runs, "nothing to take a mean of"
    return _combined(runs, np.full(len(runs), 1 / len(runs)))


def intervals(replicates: Replicates, level: float = LEVEL) -> dict[str, Interval]:
    """Interval of each score, as the head of this module defines it.

    There is none of a score, or of a class, of which a single tile holds all there is.

    Args:
        replicates: Scores of all tiles and of all but one.
        level: How often the intervals are to hold the truth, 0 to 1.
    """
    found = {}
    for name, values in replicates.values.items():
        half = student_quantile(replicates.support[name], level) * _error(replicates, name)
        most = 2.0 if name.startswith("brier") else 1.0
        found[name] = Interval(np.maximum(values[0] - half, 0.0), np.minimum(values[0] + half, most))
    return found


def paired_test(
    first: Sequence[Replicates], second: Sequence[Replicates], name: str, level: float = LEVEL
) -> PairedTest:
    """Compare two runs, or the means of two groups of runs, on the same patches: without the same tile in turn.

    Args:
        first: One run, or each run of a group, such as one for each seed of its training.
        second: The same of what it is compared with.
        name: The score, one that is not per class.
        level: How often the interval is to hold the truth, 0 to 1.

    Returns:
        The test; all but the difference NaN where fewer than two tiles count for the score.

    Raises:
        EvidenceError: If not all runs stand on the same patches, or a run lacks the score.
    """
    difference = _combined([_mean(group, name) for group in (first, second)], np.array([1.0, -1.0]))
    observed, error = difference.values[name][0], _error(difference, name)
    return _tested(float(observed), float(error), difference.support[name], level)


def unpaired_test(
    first: Sequence[Replicates], second: Sequence[Replicates], name: str, level: float = LEVEL
) -> PairedTest:
    """The same of runs on other patches, which vary independently (Welch 1947); arguments as of `paired_test`."""
    means = [_mean(group, name) for group in (first, second)]
    errors = [float(_error(mean, name)) for mean in means]
    support = [float(mean.support[name]) for mean in means]
    parts = sum(e**4 / max(g - 1, 1.0) for e, g in zip(errors, support, strict=True))
    variance = errors[0] ** 2 + errors[1] ** 2
    freedom = variance**2 / parts if parts else min(support) - 1
    joint = np.array(1 + freedom if min(support) > 1 else 1.0)
    observed = float(means[0].values[name][0] - means[1].values[name][0])
    return _tested(observed, math.sqrt(variance), joint, level)


def standard_error(values: Floats) -> Floats:
    """√(s² + b²) of the head of this module.

    Args:
        values: Of all T tiles, then without each of them: float64 (1 + T, ...).

    Returns:
        float64 (...); NaN where a value is, or there is no tile to leave out.
    """
    tiles = len(values) - 1
    if tiles < 1:
        return np.full(values.shape[1:], np.nan)
    without = values[1:]
    mean = without.mean(axis=0)
    variance = (tiles - 1) / tiles * ((without - mean) ** 2).sum(axis=0)
    bias = (tiles - 1) * (mean - values[0])
    error: Floats = np.sqrt(variance + bias**2)
    return error


def numbered_tiles(evidence: Evidence) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of the tiles, sorted, and the position in them of each patch's tile, (N,)."""
    encoded = evidence.tiles.dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    return encoded.dictionary.take(order).to_pylist(), position[encoded.indices.to_numpy()]


def _error(replicates: Replicates, name: str) -> Floats:
    """√(s² + b² + e²) of a score: float64 (), or (K,) per class."""
    if name not in MEANS:
        return standard_error(replicates.values[name])
    values_RK = replicates.values[MEANS[name]]
    values_RK = values_RK[:, ~np.isnan(values_RK[0])]
    lost = int(np.isnan(values_RK).any(axis=0).sum())
    means_R = means_of_defined(np.where(np.isnan(values_RK), values_RK[0], values_RK))
    classes = values_RK.shape[1]
    unknown = lost * float(values_RK[0].var(ddof=1)) / classes**2 if classes > 1 else 0.0
    error: Floats = np.sqrt(standard_error(means_R) ** 2 + unknown)
    return error


def _combined(runs: Sequence[Replicates], weights: Floats) -> Replicates:
    """A weighted sum of the scores that all of some runs have, tile by tile."""
    for run in runs:
        if run.patches != runs[0].patches:
            described = [f"{sum(one.patches.values()):,} patches in {one.tiles} tiles" for one in (runs[0], run)]
            raise EvidenceError(
                f"runs are compared on the same patches, and these have {' and '.join(described)}; "
                "evaluate all of them on the same split of the same data"
            )
    names = [name for name in runs[0].values if all(name in run.values for run in runs)]
    values = {name: np.tensordot(weights, [run.values[name] for run in runs], axes=1) for name in names}
    support = {name: np.min([run.support[name] for run in runs], axis=0) for name in names}
    return Replicates(runs[0].patches, values, support)


def student_quantile(support: Floats, level: float) -> Floats:
    """Of Student's distribution, two-sided; NaN where a single tile holds everything."""
    from scipy.special import stdtrit  # slow to import

    assert 0 < level < 1, f"a level lies between 0 and 1, not {level}"
    quantile: Floats = np.where(support > 1, stdtrit(np.maximum(support - 1, 1), (1 + level) / 2), np.nan)
    return quantile


def _tested(observed: float, error: float, support: Floats, level: float) -> PairedTest:
    from scipy.special import stdtr

    half = float(student_quantile(support, level)) * error
    if math.isnan(half):
        return PairedTest(observed, math.nan, math.nan, math.nan)
    if not error:
        return PairedTest(observed, observed, observed, float(observed == 0))
    p_value = 2 * float(stdtr(max(float(support) - 1, 1.0), -abs(observed) / error))
    return PairedTest(observed, max(observed - half, -1.0), min(observed + half, 1.0), p_value)


def _mean(group: Sequence[Replicates], name: str) -> Replicates:
    for run in group:
        if name not in run.values:
            raise EvidenceError(f"not every run has the score {name}; compare runs that have it, or another score")
        assert run.values[name].ndim == 1, f"{name} is per class"
    return mean_of(group)
