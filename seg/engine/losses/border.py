"""Where class borders run in a batch of reference maps, and which classes lie near a pixel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from seg.reben.bands import PATCH_METRES, PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX

if TYPE_CHECKING:
    from torch import Tensor

PIXEL_METRES = PATCH_METRES / PATCH_SIZE
"""Distance between the centres of neighbouring pixels of a class map."""


def class_bits(target_BHW: Tensor) -> Tensor:
    """A map of classes as a map of bits: int32, bit k set where the class is k, no bit where unlabelled.

    Args:
        target_BHW: Class indices, int64, 255 where unlabelled.
    """
    import torch

    labelled_BHW = target_BHW != IGNORE_INDEX
    return labelled_BHW.int() << target_BHW.where(labelled_BHW, 0).to(torch.int32)


def bits_nearby(bits_BHW: Tensor, metres: float) -> Tensor:
    """The classes that any pixel within a distance has, a pixel's own included; as `class_bits`.

    Args:
        bits_BHW: As of `class_bits`.
        metres: The distance from centre to centre.
    """
    from torch.nn import functional

    height, width = bits_BHW.shape[1:]
    reach = math.floor(metres / PIXEL_METRES)
    padded = functional.pad(bits_BHW, (reach, reach, reach, reach))
    # A disc is rows of pixels, each a little wider than the one beyond it: bits add up from one width to the next.
    rows = [padded[..., reach : reach + width]]
    for wide in range(1, reach + 1):
        left, right = reach - wide, reach + wide
        rows.append(rows[-1] | padded[..., left : left + width] | padded[..., right : right + width])
    nearby_BHW = rows[reach][:, reach : reach + height]
    for away in range(1, reach + 1):
        row = rows[math.floor(math.sqrt(max((metres / PIXEL_METRES) ** 2 - away**2, 0.0)))]
        above, below = reach - away, reach + away
        nearby_BHW = nearby_BHW | row[:, above : above + height] | row[:, below : below + height]
    return nearby_BHW


def classes_nearby(target_BHW: Tensor, classes: int, metres: float) -> Tensor:
    """Whether a pixel within a distance has a class: bool (B, K, H, W); all of them where a pixel is unlabelled.

    Args:
        target_BHW: Class indices, int64, 255 where unlabelled.
        classes: K.
        metres: The distance from centre to centre.
    """
    import torch

    bits_BHW = bits_nearby(class_bits(target_BHW), metres)
    masks_K11 = (1 << torch.arange(classes, dtype=torch.int32, device=target_BHW.device))[:, None, None]
    return ((bits_BHW[:, None] & masks_K11) != 0) | (target_BHW == IGNORE_INDEX)[:, None]


def is_near_border(target_BHW: Tensor, metres: float) -> Tensor:
    """Whether a labelled pixel of another class lies within a distance of a labelled pixel: bool (B, H, W).

    As `seg.metrics.boundary` has it, neither the edge of a patch nor that of the unlabelled area is a border.

    Args:
        target_BHW: Class indices, int64, 255 where unlabelled.
        metres: The distance from centre to centre.
    """
    bits_BHW = class_bits(target_BHW)
    return ((bits_nearby(bits_BHW, metres) & ~bits_BHW) != 0) & (bits_BHW != 0)
