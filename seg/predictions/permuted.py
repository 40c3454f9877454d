"""Whether numbers seem to mean other classes than was stated: a permutation that would score far better."""

import numpy as np
import numpy.typing as npt

from seg.metrics.evidence import Evidence, total_counts
from seg.metrics.scene import decide
from seg.metrics.sparse import Counts
from seg.predictions.numbering import ALPHABETICAL, REBEN, read_numbering
from seg.reben.classes import CLASSES, NUM_CLASSES

FAR_BETTER = 0.2
"""Gain in overall accuracy that raises a doubt."""
_CONFIRMED = 0.5
"""Part of the gain that there must be with the order of the other half of the places."""
_FEWEST = 3
"""Classes that must have changed places: of two that a bad model confuses, nothing follows."""
_AS_GOOD = 0.95
"""Share of the right pixels of the best permutation that one with a name must reach."""
_NAMED = 4


def _best(evidence: Evidence) -> tuple[Counts, int, list[tuple[int, int]]] | None:
    """Counts, right pixels at best, and which predicted class would be which then; None if they are not far more.

    Of few places, some order is better by chance: so it must also be where the order is that of the other half of them.
    """
    halves = list(evidence.confusion.grouped(_halves(evidence), 2).reshape(2, NUM_CLASSES, NUM_CLASSES))
    counts_KK: Counts = halves[0] + halves[1]
    total, stands, best = int(counts_KK.sum()), int(counts_KK.trace()), _order_of(counts_KK)
    right = _right(counts_KK, best)
    moved = [(p, t) for p, t in enumerate(best.tolist()) if p != t and counts_KK[t, p]]
    if not total or right - stands < FAR_BETTER * total or len(moved) < _FEWEST:
        return None
    confirmed = sum(_right(one, _order_of(other)) for one, other in (halves, halves[::-1]))
    return (counts_KK, right, moved) if confirmed - stands >= _CONFIRMED * (right - stands) else None


def _halves(evidence: Evidence) -> npt.NDArray[np.int64]:
    """Half of each patch, 0 or 1: every other tile; of a single tile, every other patch."""
    tiles = evidence.tiles.to_numpy(zero_copy_only=False)
    numbers_N = np.unique(tiles, return_inverse=True)[1].astype(np.int64)
    return (numbers_N if numbers_N.any() else np.arange(len(evidence))) % 2


def _order_of(counts_KK: Counts) -> Counts:
    """The true class that each predicted one would have to be for most pixels to be right, (K,)."""
    from scipy.optimize import linear_sum_assignment

    predicted, true = linear_sum_assignment(-counts_KK.T)
    return np.asarray(true[np.argsort(predicted)], np.int64)


def permuted(evidence: Evidence) -> tuple[float, float] | None:
    """Shares of right pixels if classes changed places as suits them best, and as they are; None if it is not far more.

    Args:
        evidence: Of masks.
    """
    if (found := _best(evidence)) is None:
        return None
    counts_KK, best, _ = found
    return best / int(counts_KK.sum()), int(counts_KK.trace()) / int(counts_KK.sum())


def doubt(evidence: Evidence, stated: str) -> str:
    """A sentence about what the numbers seem to mean; empty if they seem to mean what was stated.

    Args:
        evidence: Of masks.
        stated: Name of the numbering that was stated.
    """
    if (found := _best(evidence)) is None:
        return ""
    counts_KK, best, moved = found
    total, stands = int(counts_KK.sum()), int(counts_KK.trace())
    named = [name for name, places in _named(stated).items() if _right(counts_KK, places) >= _AS_GOOD * best]
    moved.sort(key=lambda pair: -int(counts_KK[pair[1], pair[0]]))
    seen = "; ".join(f"'{CLASSES[p].short}' like '{CLASSES[t].short}'" for p, t in moved[:_NAMED])
    looks = f"like {named[0]}" if named else f"permuted ({seen})"
    return (
        f"The numbers look {looks}: {100 * best / total:.1f} % of the pixels would be right instead of "
        f"{100 * stands / total:.1f} % as '{stated}'. Make sure of --classes."
    )


_TOO_GOOD = 0.999
"""Share of right pixels above which it is the reference that was handed in, perhaps with a few pixels changed."""


def too_good(evidence: Evidence) -> list[str]:
    """Sentences about predictions that are right everywhere, as only the reference itself is."""
    counts_KK, given = total_counts(evidence), evidence.probabilities
    found = []
    right, pixels = counts_KK.trace(), counts_KK.sum()
    if pixels and right > _TOO_GOOD * pixels:
        every = "Every pixel is" if right == pixels else f"{100 * right / pixels:.3f} % of the pixels are"
        found.append(f"{every} right: these look like the reference itself, and not like predictions.")
    if given is not None and len(evidence) and np.array_equal(decide(given), evidence.labels):
        found.append("All labels of every patch are right: these look like the true labels, and not like predictions.")
    return found


def _named(stated: str) -> dict[str, Counts]:
    """By a name: the class that each predicted class would be."""
    alphabetical = np.array([read_numbering(ALPHABETICAL).classes[number] for number in range(NUM_CLASSES)])
    backwards = np.argsort(alphabetical)
    # Numbers are known by what they were taken for.
    known = {
        REBEN: {f"'{ALPHABETICAL}'": alphabetical, "numbers from 1 to 19 of 'reben'": np.arange(NUM_CLASSES) - 1},
        ALPHABETICAL: {f"'{REBEN}'": backwards},
    }
    return known.get(stated, {})


def _right(counts_KK: Counts, places: Counts) -> int:
    """Pixels that would be right if each predicted class were the one at its place; -1: none."""
    there = places >= 0
    return int(counts_KK[places[there], np.flatnonzero(there)].sum())
