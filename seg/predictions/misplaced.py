"""Whether class maps seem to lie otherwise than their patches: turned, mirrored, or beside ids of their neighbours."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from seg.predictions.measure import ClassMap
from seg.reben.classes import IGNORE_INDEX

FAR_BETTER = 0.1
"""Gain in the share of right pixels that raises a doubt."""
_FEWEST = 20
"""Patches that are needed to say anything."""
_RUN, _RUNS = 64, 3
"""Patches that are looked at: so many that follow each other, at so many places."""

_TURNS: Mapping[str, Callable[[ClassMap], ClassMap]] = {
    "upside down": np.flipud,
    "mirrored from left to right": np.fliplr,
    "transposed, with rows for columns": np.transpose,
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
    if len(pairs) < _FEWEST:
        return ""
    reference_NHW, predicted_NHW = (np.stack(maps) for maps in zip(*pairs, strict=True))
    stands = _right(reference_NHW, predicted_NHW)
    shares = {
        f"look {how}": _right(reference_NHW, np.stack([*map(turn, predicted_NHW)])) for how, turn in _TURNS.items()
    }
    for step, whose in ((1, "next"), (-1, "one before")):
        part = slice(1, None) if step > 0 else slice(None, -1)
        rest = slice(None, -1) if step > 0 else slice(1, None)
        shares[f"look like those of the {whose} patch"] = _right(reference_NHW[part], predicted_NHW[rest])
    how, best = max(shares.items(), key=lambda item: item[1])
    if not best - stands > FAR_BETTER:
        return ""
    return (
        f"The maps {how}: of {len(pairs)} patches that were looked at, {100 * best:.1f} % of the pixels would be right "
        f"instead of {100 * stands:.1f} %. Make sure of how they were written."
    )


def _right(reference_NHW: ClassMap, predicted_NHW: ClassMap) -> float:
    labelled_NHW = reference_NHW != IGNORE_INDEX
    return float((reference_NHW == predicted_NHW)[labelled_NHW].mean()) if labelled_NHW.any() else 0.0
