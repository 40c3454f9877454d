"""A patch with what lies around it: its own pixels, framed by those of its neighbours or, without any, by its own.

Bands stay as they are stored. Around a patch lie as many of their pixels as resampling to 10 m needs: where bands of
20 m and 60 m end, the pixel beyond is taken into account as in a scene as a whole.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from seg.errors import DamagedError
from seg.reben.bands import BANDS, PATCH_SIZE
from seg.store.surroundings import MIDDLE, PLACES
from seg.store.tensors import Array

Neighbours = Sequence[Mapping[str, Array] | None]
"""Bands by name of the patch and its neighbours, in the order of `seg.store.surroundings.PLACES`; None: no such."""


def require_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Refuse a band that NumPy might stretch over the pixels that it lacks.

    Raises:
        DamagedError: If it has another shape than reBEN's.
    """
    if array.shape != shape:
        raise DamagedError(f"band {name} has shape {array.shape} instead of {shape}")


def picture_size(context: int) -> int:
    """Edge of what the network sees of a patch, pixels of 10 m."""
    return PATCH_SIZE + 2 * context


def margin(size: int, context: int) -> int:
    """Pixels of a band that lie around a patch on every side.

    Args:
        size: Edge of a patch in that band: 120, 60 or 20.
        context: Pixels of 10 m that the network is to see around a patch, up to `PATCH_SIZE`.
    """
    factor = PATCH_SIZE // size
    if not context or factor == 1:
        return context
    # One more, between which and the last one bilinear resampling goes.
    return min(-(-context // factor) + 1, size)


def with_context(nine: Neighbours, bands: Sequence[str], context: int) -> dict[str, Array]:
    """The bands of a patch with their margins.

    A neighbour that is not there is what the patch looks like in a mirror that stands on their common edge, so that
    bands of all pixel sizes stay on top of each other. In a corner that is the neighbour beside it, in the same row of
    patches, or else in the same column, or else the patch, mirrored twice.

    Args:
        nine: The patch and its neighbours.
        bands: Which bands.
        context: Pixels of 10 m around a patch.

    Returns:
        Arrays by name, (size + 2 `margin`, size + 2 `margin`).

    Raises:
        KeyError: If a band is missing.
        DamagedError: If a band has another shape than reBEN's.
        TypeError: If the patches store it in different types.
    """
    return {name: _framed([None if part is None else part[name] for part in nine], name, context) for name in bands}


def _framed(parts: Sequence[Array | None], name: str, context: int) -> Array:
    size = BANDS[name].size
    edge = margin(size, context)
    middle_HW = parts[MIDDLE]
    assert middle_HW is not None, "a patch is there itself"
    for part_HW in parts:
        if part_HW is not None:
            require_shape(name, part_HW, (size, size))
    # Where each row of patches lies in the picture, and which of its pixels are seen.
    to = (slice(0, edge), slice(edge, edge + size), slice(edge + size, size + 2 * edge))
    seen = (slice(size - edge, size), slice(0, size), slice(0, edge))
    framed_HW = np.empty((size + 2 * edge,) * 2, middle_HW.dtype)
    for place in range(PLACES):
        row, column = divmod(place, 3)
        part_HW = parts[place]
        if part_HW is None:
            part_HW = _mirrored(parts, row, column)
        np.copyto(framed_HW[to[row], to[column]], part_HW[seen[row], seen[column]], casting="same_kind")
    return framed_HW


def _mirrored(parts: Sequence[Array | None], row: int, column: int) -> Array:
    """What stands for a neighbour that is not there."""
    in_row, in_column, middle_HW = parts[3 + column], parts[3 * row + 1], parts[MIDDLE]
    assert middle_HW is not None
    if column == 1:
        return middle_HW[::-1]
    if row == 1:
        return middle_HW[:, ::-1]
    if in_row is not None:
        return in_row[::-1]
    if in_column is not None:
        return in_column[:, ::-1]
    return middle_HW[::-1, ::-1]
