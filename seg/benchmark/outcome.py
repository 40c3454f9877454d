"""What an entry comes to: the scores of its seeds, their mean, and how far both depend on the places."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from seg.config.track import Track, silent
from seg.metrics.evidence import Evidence
from seg.metrics.jackknife import Replicates, intervals, jackknife, mean_of
from seg.metrics.ratio import Floats
from seg.metrics.scores import headline, score_evidence
from seg.report.formats import Estimate


@dataclass(frozen=True, slots=True, eq=False)
class SeedOutcome:
    """What a seed comes to.

    Attributes:
        seed: Of the training; None of a method without one.
        scores: Headline scores by name.
        per_class: ``iou`` and, with scene probabilities, ``ap``, float64 (K,).
        replicates: The same without each tile.
    """

    seed: int | None
    scores: dict[str, float]
    per_class: dict[str, Floats]
    replicates: Replicates

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Scores with their intervals."""
        return _with_intervals(self.scores, {}, self.replicates)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What an entry comes to.

    Attributes:
        seeds: Of each seed.
    """

    seeds: tuple[SeedOutcome, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The scores that all seeds have."""
        return tuple(key for key in self.seeds[0].scores if all(key in one.scores for one in self.seeds))

    def mean(self, key: str) -> float:
        """The mean of a score over the seeds; NaN if one of them lacks it."""
        return float(np.mean([one.scores.get(key, math.nan) for one in self.seeds]))

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Means over the seeds, with standard deviation (not of one seed) and the interval of the mean."""
        spread = {}
        if len(self.seeds) > 1:
            spread = {key: float(np.std([one.scores[key] for one in self.seeds], ddof=1)) for key in self.keys}
        means = {key: self.mean(key) for key in self.keys}
        return _with_intervals(means, spread, mean_of([one.replicates for one in self.seeds]))

    @property
    def per_class(self) -> dict[str, Floats]:
        """Scores by class, means over the seeds."""
        names = self.seeds[0].per_class
        return {name: np.mean([one.per_class[name] for one in self.seeds], axis=0) for name in names}


def measured(seed: int | None, evidence: Evidence, track: Track = silent) -> SeedOutcome:
    """What a seed comes to, from its evidence.

    Args:
        seed: Of the training.
        evidence: What it did on each patch.
        track: Progress.
    """
    # Neither details nor fitted thresholds are ranked, and their intervals take time.
    origin = replace(evidence.origin, thresholds=None, temperature=None)
    bare = replace(evidence, origin=origin, details=None)
    scores = score_evidence(bare)
    values = headline(scores)
    per_class = {"iou": scores.pixel.iou} if bare.origin.masks else {}
    if scores.scene is not None:
        per_class["ap"] = scores.scene.ap
    return SeedOutcome(seed, values, per_class, jackknife(bare, track))


def _with_intervals(scores: dict[str, float], spread: dict[str, float], replicates: Replicates) -> dict[str, Estimate]:
    bounds = intervals(replicates)
    return {
        key: Estimate(value, spread.get(key), float(bounds[key].low), float(bounds[key].high))
        for key, value in scores.items()
    }


def tiles_of(outcomes: Sequence[SeedOutcome]) -> int:
    """S2 tiles that they are scored on."""
    return min(one.replicates.tiles for one in outcomes)
