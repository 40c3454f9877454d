"""Whether class maps seem to lie otherwise than their patches: turned, mirrored, or beside ids of their neighbours."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from seg.metrics.ratio import Floats, ratio
from seg.predictions.measure import ClassMap
from seg.reben.classes import IGNORE_INDEX

FAR_BETTER, _OUTSTANDING = 0.05, 5.0
"""Gain in the share of right pixels that raises a doubt, and in standard errors over the patches: of few patches with
one class each, some turn or neighbour is better by chance."""
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
    shares = {
        f"look {how}": _right(reference_NHW, np.stack([*map(turn, predicted_NHW)])) for how, turn in _TURNS.items()
    }
    # At either end of a row of ids, a patch stands beside itself, which changes nothing.
    for step, whose in ((1, "next"), (-1, "one before")):
        beside = np.clip(np.arange(len(pairs)) - step, 0, len(pairs) - 1)
        shares[f"look like those of the {whose} patch"] = _right(reference_NHW, predicted_NHW[beside])
    how, best_N = max(shares.items(), key=lambda item: float(np.nanmean(item[1] - stands_N)))
    gains = (best_N - stands_N)[~np.isnan(stands_N)]
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / len(gains) ** 0.5)
    if gain < FAR_BETTER or gain < _OUTSTANDING * error:
        return ""
    return (
        f"The maps {how}: of {len(pairs)} patches that were looked at, {100 * np.nanmean(best_N):.1f} % of the pixels "
        f"would be right instead of {100 * np.nanmean(stands_N):.1f} %. Make sure of how they were written."
    )


def _right(reference_NHW: ClassMap, predicted_NHW: ClassMap) -> Floats:
    """Share of the labelled pixels of each patch that are right, (N,); NaN where there is none."""
    labelled_NHW = reference_NHW != IGNORE_INDEX
    right_N = ((reference_NHW == predicted_NHW) & labelled_NHW).sum((1, 2))
    return ratio(right_N, labelled_NHW.sum((1, 2)), labelled_NHW.any((1, 2)))
