"""Pixel scores: confusion counts of a batch, and the scores of summed counts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seg.errors import EvidenceError
from seg.metrics.ratio import Floats, means_of_defined, ratio
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class PixelScores:
    """Pixel scores of a split, fractions from 0 to 1.

    Per class, float64 (K,). NaN where the class is absent from the reference, even if it was predicted there.

    Attributes:
        iou: TP / (TP + FP + FN).
        f1: 2 TP / (2 TP + FP + FN), also known as the Dice coefficient.
        precision: TP / (TP + FP), user's accuracy; NaN also where the class was never predicted.
        recall: TP / (TP + FN), producer's or class accuracy.
        support: Reference pixels of the class, int64 (K,).
        miou, mf1, macc: Mean of iou, f1 and recall over the classes present in the reference.
        oa: Overall accuracy, the share of labelled pixels that are right.
        fwiou: IoU weighted with the share of reference pixels (Long et al. 2015, "frequency weighted IU").
        classes_averaged: Number of classes present in the reference, over which the means are taken.
    """

    iou: Floats
    f1: Floats
    precision: Floats
    recall: Floats
    support: npt.NDArray[np.int64]
    miou: float
    mf1: float
    macc: float
    oa: float
    fwiou: float
    classes_averaged: int


def confusion_counts(target_BHW: "torch.Tensor", predicted_BHW: "torch.Tensor") -> "torch.Tensor":
    """Confusion counts of each patch of a batch, over the labelled pixels.

    Args:
        target_BHW: Reference classes 0 to 18, or 255 where unlabelled; any integer dtype.
        predicted_BHW: Predicted classes 0 to 18; any integer dtype, same device.

    Returns:
        int64 (B, K, K) on that device: pixels of a true class (rows) predicted as a class (columns).

    Raises:
        EvidenceError: If a value is none of these.
    """
    import torch  # takes seconds; reports need only the NumPy half of this module

    assert target_BHW.ndim == 3, f"expected (B, H, W), got {tuple(target_BHW.shape)}"
    assert target_BHW.shape == predicted_BHW.shape, f"{target_BHW.shape} against {predicted_BHW.shape}"
    assert not target_BHW.is_floating_point(), f"class indices are integers, not {target_BHW.dtype}"
    assert not predicted_BHW.is_floating_point(), f"class indices are integers, not {predicted_BHW.dtype}"
    batch, cells = target_BHW.shape[0], NUM_CLASSES * NUM_CLASSES
    target = target_BHW.long()
    predicted = predicted_BHW.long()
    labelled = target != IGNORE_INDEX
    invalid = (predicted < 0) | (predicted >= NUM_CLASSES) | (target < 0) | ((target >= NUM_CLASSES) & labelled)
    # One bin per patch and cell, one for unlabelled pixels and one for invalid ones, so that a single bincount counts
    # and validates: reading a flag of its own would make an accelerator wait once more.
    first = torch.arange(batch, device=target.device).view(-1, 1, 1) * cells
    bins = (first + target * NUM_CLASSES + predicted).masked_fill_(~labelled, batch * cells)
    bins.masked_fill_(invalid, batch * cells + 1)
    counts = torch.bincount(bins.flatten(), minlength=batch * cells + 2)
    if counts[-1]:
        example = f"target {int(target[invalid][0])} with prediction {int(predicted[invalid][0])}"
        raise EvidenceError(
            f"{int(counts[-1])} pixels hold no class index, such as {example}; targets are 0 to {NUM_CLASSES - 1} or "
            f"{IGNORE_INDEX} for unlabelled (turn CLC codes into classes first), predictions 0 to {NUM_CLASSES - 1}"
        )
    return counts[: batch * cells].view(batch, NUM_CLASSES, NUM_CLASSES)


def pixel_scores(counts_KK: npt.NDArray[np.int64]) -> PixelScores:
    """Scores of confusion counts summed over a split.

    Args:
        counts_KK: int64 (K, K), true x predicted. Floats are refused: float32 stops counting at 2^24 per cell.

    Returns:
        The scores; all NaN if no pixel is labelled.
    """
    assert counts_KK.ndim == 2, f"expected (K, K), got {counts_KK.shape}"
    values = pixel_values(counts_KK)
    reference = counts_KK.sum(axis=1)
    return PixelScores(
        iou=values["iou"],
        f1=values["f1"],
        precision=values["precision"],
        recall=values["recall"],
        support=reference,
        miou=float(values["miou"]),
        mf1=float(values["mf1"]),
        macc=float(values["macc"]),
        oa=float(values["oa"]),
        fwiou=float(values["fwiou"]),
        classes_averaged=int((reference > 0).sum()),
    )


def pixel_values(counts_XKK: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """The scores of `PixelScores`, each by its name, of one or of many matrices of confusion counts.

    Args:
        counts_XKK: int64, true x predicted in the last two axes; any axes before them, or none.

    Returns:
        float64 (X, K) per class, else (X,).
    """
    assert counts_XKK.ndim >= 2, f"expected (..., K, K), got {counts_XKK.shape}"
    assert counts_XKK.shape[-2] == counts_XKK.shape[-1], f"expected (..., K, K), got {counts_XKK.shape}"
    assert counts_XKK.dtype == np.int64, f"counts are int64, not {counts_XKK.dtype}"
    assert (counts_XKK >= 0).all(), "counts are never negative"
    hits = counts_XKK.diagonal(axis1=-2, axis2=-1)
    reference, predicted = counts_XKK.sum(axis=-1), counts_XKK.sum(axis=-2)
    total = reference.sum(axis=-1)
    present = reference > 0
    iou = ratio(hits, reference + predicted - hits, present)
    f1 = ratio(2 * hits, reference + predicted, present)
    recall = ratio(hits, reference, present)
    return {
        "iou": iou,
        "f1": f1,
        "precision": ratio(hits, predicted, present),
        "recall": recall,
        "miou": means_of_defined(iou),
        "mf1": means_of_defined(f1),
        "macc": means_of_defined(recall),
        "oa": ratio(hits.sum(axis=-1), total, total > 0),
        "fwiou": ratio((reference * np.where(present, iou, 0)).sum(axis=-1), total, total > 0),
    }
