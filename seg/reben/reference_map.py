"""From a reference map of CLC codes to class indices and to the multi-label it implies."""

from typing import Any

import numpy as np
import numpy.typing as npt

from seg.errors import UnknownCodeError
from seg.reben.classes import CLASS_OF_CODE, IGNORE_INDEX, NUM_CLASSES

_UNKNOWN = 254
_LOOKUP = np.full(1000, _UNKNOWN, dtype=np.uint8)
_LOOKUP[list(CLASS_OF_CODE)] = list(CLASS_OF_CODE.values())
_BITS = 1 << np.arange(NUM_CLASSES, dtype=np.int64)


def class_indices(
    codes: npt.NDArray[np.integer[Any]], source: str, out: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8]:
    """Class indices of a map of CLC codes.

    Args:
        codes: CLC level-3 codes, any shape.
        source: The file or key that the codes come from; named in the error.
        out: Where to write the indices; same shape, uint8. A new array if None.

    Returns:
        uint8 of the same shape: 0 to 18, or 255 where the code has no class.

    Raises:
        UnknownCodeError: If a value is outside the nomenclature.
    """
    # Codes above 999 are clipped onto 999, which is valid, so they are looked for before the lookup hides them.
    if codes.size and (int(codes.max()) > 999 or int(codes.min()) < 0):
        raise _unknown(codes, source)
    indices = np.take(_LOOKUP, codes, out=out, mode="clip")
    if (indices == _UNKNOWN).any():
        raise _unknown(codes, source)
    return indices


def _unknown(codes: npt.NDArray[np.integer[Any]], source: str) -> UnknownCodeError:
    bad = sorted(set(np.unique(codes).tolist()) - set(CLASS_OF_CODE))
    listed = ", ".join(map(str, bad[:5])) + (" and more" if len(bad) > 5 else "")
    plural = "codes" if len(bad) > 1 else "code"
    return UnknownCodeError(f"{source}: {plural} {listed} not in the CLC nomenclature; the reference map is damaged")


def implied_bits(indices: npt.NDArray[np.uint8]) -> int:
    """The multi-label that a map of class indices implies: bit i set where class i has at least one pixel."""
    present = np.bincount(indices.reshape(-1), minlength=IGNORE_INDEX + 1)[:NUM_CLASSES] > 0
    return int(_BITS[present].sum())
