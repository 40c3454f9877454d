"""Class boundaries: the zones along them, and how well predicted boundaries lie on those of the reference.

A pixel's distance to a boundary is that to the nearest labelled pixel of another class, from centre to centre. Neither
the edge of a patch nor that of the unlabelled area is a boundary: nobody knows what lies beyond.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg.metrics.evidence import BAND_PARTS, CELLS, ZONES, Evidence, total_counts
from seg.metrics.ratio import Bools, Floats, mean_of_defined, ratio
from seg.metrics.sparse import Counts
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES

BOUNDARY_METRES = 20.0
"""Width of the band along a boundary, on each side of it."""
PIXEL_METRES = 10
"""Distance between the centres of neighbouring pixels of a class map."""

ClassMap = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class BoundaryScores:
    """Boundary IoU of a split (Cheng et al. 2021), fractions from 0 to 1.

    The IoU not of whole areas, whose insides outweigh their outlines, but of the bands within them along their
    boundaries. The bands are those of `near_boundary`; unlike for the objects of Cheng et al., the edge of the image
    is no boundary and the width is one on the ground.

    Attributes:
        metres: Width of the bands.
        iou: Boundary IoU per class, float64 (K,). NaN where the class is absent from the reference of the split, or
            has no boundary in either of the two.
        miou: Mean over the classes that are not NaN.
        classes_averaged: Number of these classes.
    """

    metres: float
    iou: Floats
    miou: float
    classes_averaged: int


def near_boundary(map_HW: ClassMap, labelled_HW: Bools, metres: float) -> Bools:
    """Where a class map has a pixel of another class within a distance.

    The largest and the smallest class index within a disk are compared with the one in its centre. That is as exact
    as a distance transform of each class, and takes as long for 19 classes as for two.

    Args:
        map_HW: Classes 0 to 18, uint8; anything where it is not labelled.
        labelled_HW: bool. For a predicted map, where the reference is labelled, so that both are treated alike.
        metres: The distance, which is included.

    Returns:
        bool (H, W); False where it is not labelled.
    """
    disk = _disk(metres)
    # What is not labelled must be neither the largest nor the smallest; nor is what lies outside of the map.
    lowest = np.where(labelled_HW, map_HW, np.uint8(255))
    highest = np.where(labelled_HW, map_HW + np.uint8(1), np.uint8(0))
    differs: Bools = (cv2.erode(lowest, disk) != lowest) | (cv2.dilate(highest, disk) != highest)
    return differs & labelled_HW


@cache
def _disk(metres: float) -> ClassMap:
    """The pixels within a distance of the one in the centre as ones, with an odd number of rows and of columns."""
    reach = int(metres // PIXEL_METRES)
    steps = np.arange(-reach, reach + 1) * PIXEL_METRES
    return (steps[:, None] ** 2 + steps**2 <= metres**2).astype(np.uint8)


def boundary_counts(target_BHW: npt.NDArray[Any], predicted_BHW: npt.NDArray[Any]) -> tuple[Counts, Counts]:
    """What a batch has near class boundaries, over the labelled pixels.

    Args:
        target_BHW: Reference classes 0 to 18, or 255 where unlabelled; any integer dtype.
        predicted_BHW: Predicted classes 0 to 18; any integer dtype.

    Returns:
        Counts for `Details`, dense: `zones`, int64 (B, 2 x 361), and `bands`, int64 (B, 3 x 19).
    """
    assert target_BHW.ndim == 3, f"expected (B, H, W), got {target_BHW.shape}"
    assert target_BHW.shape == predicted_BHW.shape, f"{target_BHW.shape} against {predicted_BHW.shape}"
    target, predicted = target_BHW.astype(np.uint8), predicted_BHW.astype(np.uint8)
    labelled = target != IGNORE_INDEX
    assert not labelled.any() or target[labelled].max() < NUM_CLASSES, "targets are classes"
    assert not predicted.size or predicted.max() < NUM_CLASSES, "predictions are classes"

    def near(maps: ClassMap, metres: float) -> Bools:
        found = [near_boundary(*pair, metres) for pair in zip(maps, labelled, strict=True)]
        return np.array(found, dtype=np.bool_).reshape(maps.shape)

    first, second = (near(target, metres) for _, metres in ZONES[:2])
    cells = target.astype(np.int64) * NUM_CLASSES + predicted
    zones = [_by_patch(cells, inside, CELLS) for inside in (first, second & ~first)]
    reference, guess = near(target, BOUNDARY_METRES), near(predicted, BOUNDARY_METRES)
    parts = {
        "both": (target, reference & guess & (target == predicted)),
        "reference": (target, reference),
        "predicted": (predicted, guess),
    }
    bands = [_by_patch(*parts[name], NUM_CLASSES) for name in BAND_PARTS]
    return np.concatenate(zones, axis=1), np.concatenate(bands, axis=1)


def _by_patch(values_BHW: npt.NDArray[Any], inside_BHW: Bools, size: int) -> Counts:
    """How often each value from 0 to size - 1 occurs inside, by patch: int64 (B, size)."""
    patches = len(values_BHW)
    bins = np.arange(patches)[:, None, None] * size + values_BHW
    return np.bincount(bins[inside_BHW], minlength=patches * size).reshape(patches, size)


def boundary_iou(bands_XPK: Counts, present_XK: Bools) -> Floats:
    """Boundary IoU of each class, of one or of many sets of patches: float64 (X, K), see `BoundaryScores`.

    Args:
        bands_XPK: Pixels in the bands along class boundaries, int64, by `BAND_PARTS` and class.
        present_XK: Whether the class is in the reference, bool.
    """
    both, reference, predicted = np.moveaxis(bands_XPK, -2, 0)
    return ratio(both, reference + predicted - both, present_XK)


def boundary_scores(evidence: Evidence) -> BoundaryScores | None:
    """Boundary IoU of a split; None if the evidence has no details."""
    if evidence.details is None:
        return None
    bands_PK = evidence.details.bands.total().reshape(len(BAND_PARTS), NUM_CLASSES)
    iou = boundary_iou(bands_PK, total_counts(evidence).sum(axis=1) > 0)
    return BoundaryScores(BOUNDARY_METRES, iou, mean_of_defined(iou), int((~np.isnan(iou)).sum()))
