"""Whether class maps seem to lie otherwise than their patches: turned, shifted, or beside ids of their neighbours."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from seg.config.wording import counted
from seg.metrics.ratio import Floats, ratio
from seg.predictions.measure import ClassMap
from seg.reben.classes import IGNORE_INDEX

FAR_BETTER, _OUTSTANDING = 0.05, 5.0
"""Gain in the share of right pixels that raises a doubt, and in standard errors over the patches: of few patches with
one class each, some turn or neighbour is better by chance."""
_BETTER_SHIFTED = 0.01
"""The same of maps that lie a few pixels off: most pixels are as right as before, and boundaries are not."""
_FARTHEST = 2
"""Pixels that maps may be off, in rows and columns: half of a kernel, or of what a network has upsampled."""
_INNER = slice(_FARTHEST, -_FARTHEST)
_FEWEST = 20
"""Patches that are needed to say anything."""
_RUN, _RUNS = 64, 3
"""Patches that are looked at: so many that follow each other, at so many places."""

_TURNS: Mapping[str, Callable[[ClassMap], ClassMap]] = {
    "upside down": np.flipud,
    "mirrored from left to right": np.fliplr,
    "transposed, with rows for columns": np.transpose,
    "mirrored at the other diagonal": lambda map_HW: np.rot90(map_HW, 2).T,
    "turned by 90 degrees": np.rot90,
    "turned by 180 degrees": lambda map_HW: np.rot90(map_HW, 2),
    "turned by 270 degrees": lambda map_HW: np.rot90(map_HW, 3),
}


def looked_at(patches: int) -> npt.NDArray[np.int64]:
    """Which patches of so many are looked at, in order: neighbours at some places, spread over all."""
    if patches <= _RUN * _RUNS:
        return np.arange(patches)
    begins = np.linspace(0, patches - _RUN, _RUNS).astype(np.int64)
    return np.unique((begins[:, None] + np.arange(_RUN)).ravel())


def misplaced(pairs: Sequence[tuple[ClassMap, ClassMap]]) -> str:
    """A sentence about how maps seem to lie; empty if they seem to lie as their patches do.

    Args:
        pairs: Reference, 255 where unlabelled, and predicted map of patches in the order of their ids.
    """
    if sum(bool((reference_HW != IGNORE_INDEX).any()) for reference_HW, _ in pairs) < _FEWEST:
        return ""
    reference_NHW, predicted_NHW = (np.stack(maps) for maps in zip(*pairs, strict=True))
    stands_N = _right(reference_NHW, predicted_NHW)
    found = [(how, right_N, stands_N, FAR_BETTER) for how, right_N in _turned(reference_NHW, predicted_NHW)]
    inner_N = _right(reference_NHW[:, _INNER, _INNER], predicted_NHW[:, _INNER, _INNER])
    found += [(how, right_N, inner_N, _BETTER_SHIFTED) for how, right_N in _shifted(reference_NHW, predicted_NHW)]
    how, right_N, stands_N, least = max(found, key=lambda one: float(np.nanmean(one[1] - one[2])) - one[3])
    gains = (right_N - stands_N)[~np.isnan(stands_N)]
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / len(gains) ** 0.5)
    if gain < least or gain < _OUTSTANDING * error:
        return ""
    return (
        f"The maps look {how}: of {len(pairs)} patches that were looked at, {100 * np.nanmean(right_N):.1f} % of the "
        f"pixels would be right instead of {100 * np.nanmean(stands_N):.1f} %. Make sure of how they were written."
    )


def _turned(reference_NHW: ClassMap, predicted_NHW: ClassMap) -> Iterator[tuple[str, Floats]]:
    """In words, how maps may lie otherwise, and the share of the pixels of each patch that would be right, (N,)."""
    for how, turn in _TURNS.items():
        yield how, _right(reference_NHW, np.stack([*map(turn, predicted_NHW)]))
    # At either end of a row of ids, a patch stands beside itself, which changes nothing.
    for step, whose in ((1, "next patch"), (-1, "one before")):
        beside = np.clip(np.arange(len(predicted_NHW)) - step, 0, len(predicted_NHW) - 1)
        yield f"like those of the {whose}", _right(reference_NHW, predicted_NHW[beside])


def _shifted(reference_NHW: ClassMap, predicted_NHW: ClassMap) -> Iterator[tuple[str, Floats]]:
    """The same of maps that lie a few pixels off; away from the edges, where there is something to compare."""
    inner_NHW, size = reference_NHW[:, _INNER, _INNER], reference_NHW.shape[1]
    for down, right in product(range(-_FARTHEST, _FARTHEST + 1), repeat=2):
        if down or right:
            rows, columns = (slice(_FARTHEST + by, size - _FARTHEST + by) for by in (down, right))
            ways = ((down, "up" if down < 0 else "down"), (right, "to the left" if right < 0 else "to the right"))
            words = " and ".join(f"{counted(abs(by), 'pixel', 'pixels')} {way}" for by, way in ways if by)
            yield f"shifted by {words}", _right(inner_NHW, predicted_NHW[:, rows, columns])


def _right(reference_NHW: ClassMap, predicted_NHW: ClassMap) -> Floats:
    """Share of the labelled pixels of each patch that are right, (N,); NaN where there is none."""
    labelled_NHW = reference_NHW != IGNORE_INDEX
    right_N = ((reference_NHW == predicted_NHW) & labelled_NHW).sum((1, 2))
    return ratio(right_N, labelled_NHW.sum((1, 2)), labelled_NHW.any((1, 2)))
