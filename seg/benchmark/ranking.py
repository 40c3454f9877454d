"""Ranks of entries, as far as their evidence tells them apart.

The rank of an entry is an interval, after Mogstad, Romano, Shaikh and Wilhelm (2024), "Inference for Ranks with
Applications to Mobility across Neighbourhoods and Academic Achievement across Countries", Review of Economic Studies:
from one more than the entries that are told to be better, to one for itself and each that is not told to be worse. All
pairs of a track are tested together (Holm), so that all intervals hold together at the level of the tests.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from seg.benchmark.outcome import Outcome
from seg.benchmark.protocol import ALPHA
from seg.metrics.holm import holm
from seg.metrics.jackknife import paired_test

RANKED = ("miou", "ap_macro")
"""Scores that entries are ranked by: of the masks, and of the labels."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Where an entry stands among those of its track.

    Attributes:
        first, last: The best and the worst rank that the tests leave to it.
        better, worse: Positions of the entries that are told to be better, and to be worse.
    """

    first: int
    last: int
    better: tuple[int, ...]
    worse: tuple[int, ...]

    @property
    def words(self) -> str:
        """``1``, or ``1–3`` where it is not told from others."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


def ranks(outcomes: Sequence[Outcome], key: str) -> Mapping[int, Rank]:
    """Ranks of entries of one track on the same patches, by their position.

    Args:
        outcomes: What they come to on the same patches.
        key: The score.

    Returns:
        Nothing of an entry that does not have the score.
    """
    means = {position: one.mean(key) for position, one in enumerate(outcomes)}
    ranked = [position for position, mean in means.items() if not math.isnan(mean)]
    pairs = list(combinations(ranked, 2))
    p_values = []
    for first, second in pairs:
        one, other = ([seed.replicates for seed in outcomes[position].seeds] for position in (first, second))
        p_values.append(paired_test(one, other, key).p_value)
    better: dict[int, list[int]] = {position: [] for position in ranked}
    worse: dict[int, list[int]] = {position: [] for position in ranked}
    for (first, second), p_value in zip(pairs, holm(p_values), strict=True):
        if p_value < ALPHA:
            high, low = (first, second) if means[first] > means[second] else (second, first)
            better[low].append(high)
            worse[high].append(low)
    return {
        position: Rank(
            1 + len(better[position]),
            len(ranked) - len(worse[position]),
            tuple(better[position]),
            tuple(worse[position]),
        )
        for position in ranked
    }
