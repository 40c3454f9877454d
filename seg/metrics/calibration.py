"""Calibration: whether a confidence of 80 % is right in 80 % of the cases, of pixels and of scene probabilities."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seg.errors import EvidenceError
from seg.metrics.evidence import CONFIDENCE_BINS, CONFIDENCE_UNIT, RELIABILITY_PARTS, Evidence
from seg.metrics.ratio import Bools, Floats, ratio
from seg.metrics.sparse import Counts
from seg.reben.classes import IGNORE_INDEX

if TYPE_CHECKING:
    import torch

UNITS = round(1 / CONFIDENCE_UNIT)
"""What a confidence of 1 counts in sums, see `CONFIDENCE_UNIT`."""
_EDGES = (np.arange(1, CONFIDENCE_BINS) / CONFIDENCE_BINS).astype(np.float32)
"""Upper edges of all bins but the last, float32 like the confidences: 1/3 lies on an edge and not just beyond it."""
POOLING_SHARPNESS = 5.0
"""r of log-sum-exp pooling, which lies between the mean (0) and the maximum (infinity)."""


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How confidence and accuracy go together, over B bins of confidence of equal width from 0 to 1.

    Per bin, each open below and closed above; a confidence of 0 belongs to the first.

    Attributes:
        count: Number of predictions in the bin, int64 (B,).
        confidence: Their mean confidence, float64 (B,), 0 to 1; NaN where there are none.
        accuracy: Share of them that is right, float64 (B,), 0 to 1; NaN where there are none.
        ece: Expected calibration error (Naeini et al. 2015): mean over the predictions of the distance between
            confidence and accuracy of their bin.
        mce: Maximum calibration error: the largest such distance of a bin that is not empty.
        brier: Mean Brier score, see `PixelCalibration` and `SceneCalibration`.
        nll: Mean negative log-likelihood, natural logarithm.

    Without predictions, these four are NaN.
    """

    count: Counts
    confidence: Floats
    accuracy: Floats
    ece: float
    mce: float
    brier: float
    nll: float


@dataclass(frozen=True, slots=True, eq=False)
class PixelCalibration:
    """Calibration of the labelled pixels of a split.

    The confidence of a pixel is its largest softmax probability, and it is right if that class is. The Brier score is
    the sum over the classes of (p - y)^2, from 0 to 2 (Brier 1950).

    Attributes:
        temperature: What the logits are divided by in `after`, fitted on validation; None: not fitted.
        before: With the logits as they are.
        after: With the logits divided by the temperature (Guo et al. 2017); None without one.
    """

    temperature: float | None
    before: Reliability
    after: Reliability | None


@dataclass(frozen=True, slots=True, eq=False)
class SceneCalibration:
    """Calibration of the scene probabilities of a split, each a yes-or-no prediction.

    The confidence is the probability itself, and the accuracy the share of positives. The Brier score is (p - y)^2.

    Attributes:
        overall: Over all pairs of a patch and a class. In `nll`, the probability of what is true is taken for 2^-23
            where it is less, lest one that float32 rounded to 0 make it infinite.
        ece_per_class: Expected calibration error of each class, float64 (K,); NaN where no patch has the class.
        brier_per_class: Mean Brier score of each class, float64 (K,); NaN where no patch has the class.
    """

    overall: Reliability
    ece_per_class: Floats
    brier_per_class: Floats


def check_finite(finite: Any) -> None:
    """Refuse logits of a diverged training.

    Raises:
        EvidenceError: If `finite` is false.
    """
    if not bool(finite):
        raise EvidenceError(
            "the pixel logits hold values that are no finite numbers, so the training has diverged; train it again at "
            "a lower rate (--set train.lr=1e-4) or in full precision (--set train.precision=float32)"
        )


def confidence_counts(
    logits_BKHW: "torch.Tensor", target_BHW: "torch.Tensor", temperature: float | None
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Confidences and losses of a batch, over the labelled pixels.

    Args:
        logits_BKHW: Pixel logits, any float dtype.
        target_BHW: Reference classes 0 to K - 1, or 255 where unlabelled; any integer dtype, same device.
        temperature: What the logits are divided by the second time; None: there is no second time.

    Returns:
        What `Details` keeps, on that device (of MPS, which has no float64, on the CPU): `reliability`, dense, int64
        (B, 2 x 15 x 3), and `losses_NSL`, float64 (B, 2, 2). Without a temperature, their second half is 0 and NaN.

    Raises:
        EvidenceError: If a loss is no finite number, because a logit of that pixel is NaN or infinite.
    """
    import torch  # takes seconds; reports need only the NumPy half of this module

    if logits_BKHW.device.type == "mps":  # has no float64
        logits_BKHW, target_BHW = logits_BKHW.cpu(), target_BHW.cpu()
    batch, _, *shape = logits_BKHW.shape
    assert target_BHW.shape == (batch, *shape), f"{tuple(target_BHW.shape)} for {tuple(logits_BKHW.shape)}"
    logits = logits_BKHW.flatten(2).float()
    target = target_BHW.flatten(1).long()
    labelled = target != IGNORE_INDEX
    target = target.masked_fill(~labelled, 0)
    # Takes a quarter of the time of argmax, and gives the first of several maxima too.
    top, predicted = logits.max(1, keepdim=True)
    below_top = logits - top
    true_below_top = below_top.gather(1, target[:, None])[:, 0]
    right = predicted[:, 0] == target
    counts, losses = [], []
    for divisor in (1.0,) if temperature is None else (1.0, temperature):
        odds = (below_top / divisor).exp_()
        total = odds.sum(1)
        true_p = (true_below_top / divisor).exp() / total
        nll = total.log() - true_below_top / divisor
        brier = (1 - true_p).square() + (odds.square_().sum(1) / total.square() - true_p.square()).clamp_(min=0)
        counts.append(_bin_counts(1 / total, right, labelled))
        losses.append(torch.stack([_sums(brier, labelled), _sums(nll, labelled)], 1))
    check_finite(losses[0].isfinite().all())
    if temperature is None:
        counts.append(torch.zeros_like(counts[0]))
        losses.append(torch.full_like(losses[0], torch.nan))
    return torch.cat(counts, 1), torch.stack(losses, 1)


def _bin_counts(confidence_BP: "torch.Tensor", right_BP: "torch.Tensor", labelled_BP: "torch.Tensor") -> "torch.Tensor":
    """Pixels, right pixels and summed confidence in each bin: int64 (B, 15 x 3)."""
    import torch

    batch = len(confidence_BP)
    units = (confidence_BP * UNITS).round().long()
    bins = torch.bucketize(confidence_BP, torch.from_numpy(_EDGES).to(units.device))
    bins += torch.arange(batch, device=units.device)[:, None] * CONFIDENCE_BINS
    bins.masked_fill_(~labelled_BP, batch * CONFIDENCE_BINS)
    sums = torch.zeros((len(RELIABILITY_PARTS), batch * CONFIDENCE_BINS + 1), dtype=torch.int64, device=units.device)
    for part, values in enumerate((torch.ones_like(units), right_BP.long(), units)):
        sums[part].index_add_(0, bins.flatten(), values.flatten())
    return sums[:, :-1].T.reshape(batch, CONFIDENCE_BINS * len(RELIABILITY_PARTS))


def _sums(values_BP: "torch.Tensor", labelled_BP: "torch.Tensor") -> "torch.Tensor":
    """Sum over the labelled pixels of each patch: float64 (B,)."""
    return values_BP.masked_fill(~labelled_BP, 0).double().sum(1)


def pooled_scores(logits_BKHW: "torch.Tensor") -> npt.NDArray[np.uint16]:
    """Scene scores pooled from the softmax probabilities of all pixels of a patch, labelled or not; see `POOLINGS`.

    Their maximum, and log-sum-exp pooling: log(mean(exp(r p))) / r with r = 5 (Pinheiro & Collobert 2015).

    Args:
        logits_BKHW: Pixel logits, any float dtype.

    Returns:
        uint16 (B, 2, K), 0 to 65535 for scores from 0 to 1; on the CPU.

    Raises:
        EvidenceError: If a logit is NaN or infinite.
    """
    import torch

    p = logits_BKHW.flatten(2).float().softmax(1)
    lse = (p * POOLING_SHARPNESS).exp_().mean(-1).log_() / POOLING_SHARPNESS
    pooled = torch.stack([p.amax(-1), lse], 1).cpu()
    check_finite(pooled.isfinite().all())
    scores: npt.NDArray[np.uint16] = (pooled.clamp(0, 1) * 65535).round().numpy().astype(np.uint16)
    return scores


def pixel_calibration(evidence: Evidence) -> PixelCalibration | None:
    """Calibration of the pixels of a split; None if the evidence has no details, or they no confidences."""
    if evidence.details is None or evidence.details.reliability is None or evidence.details.losses_NSL is None:
        return None
    counts_SBP = evidence.details.reliability.total().reshape(2, CONFIDENCE_BINS, len(RELIABILITY_PARTS))
    losses_SL = evidence.details.losses_NSL.sum(axis=0)
    before, after = (_reliability(*half) for half in zip(counts_SBP, losses_SL, strict=True))
    temperature = evidence.origin.temperature
    return PixelCalibration(temperature, before, None if temperature is None else after)


def scene_calibration(evidence: Evidence) -> SceneCalibration | None:
    """Calibration of the scene probabilities of a split; None if there are none, but at most decided labels."""
    if evidence.probabilities is None or not evidence.origin.ranked:
        return None
    labels_NK = evidence.labels
    p_NK = evidence.probabilities
    true_p_NK = np.where(labels_NK, p_NK, 1 - p_NK.astype(np.float64))
    losses_LNK = np.stack([(1 - true_p_NK) ** 2, -np.log(np.maximum(true_p_NK, 2.0**-23))])
    per_class = [
        _reliability(_scene_counts(p_NK[:, k], labels_NK[:, k]), losses_LNK[:, :, k].sum(axis=1))
        for k in range(labels_NK.shape[1])
    ]
    present = labels_NK.any(axis=0)
    return SceneCalibration(
        overall=_reliability(_scene_counts(p_NK.ravel(), labels_NK.ravel()), losses_LNK.sum(axis=(1, 2))),
        ece_per_class=np.where(present, [scores.ece for scores in per_class], np.nan),
        brier_per_class=np.where(present, [scores.brier for scores in per_class], np.nan),
    )


def _scene_counts(p_N: npt.NDArray[np.float32], positive_N: Bools) -> Counts:
    """Predictions, positives and summed confidence in each bin: int64 (15, 3), as of pixels."""
    units = np.rint(p_N * UNITS).astype(np.int64)
    bins = np.searchsorted(_EDGES, p_N)
    counts = np.zeros((CONFIDENCE_BINS, len(RELIABILITY_PARTS)), dtype=np.int64)
    np.add.at(counts, bins, np.stack([np.ones_like(units), positive_N, units], axis=1))
    return counts


def calibration_error(counts_XBP: Counts) -> Floats:
    """Expected calibration error of one or of many sets of predictions (Guo et al. 2017): float64 (X,), 0 to 1.

    The mean over predictions of the distance between the accuracy and the mean confidence of each one's bin.

    Args:
        counts_XBP: Predictions, right ones and summed confidence in 1/65535, int64, by bin and `RELIABILITY_PARTS`.
    """
    count, right, units = np.moveaxis(counts_XBP, -1, 0)
    total = count.sum(axis=-1)
    return ratio(np.abs(right - units / UNITS).sum(axis=-1), total, total > 0)


def _reliability(counts_BP: Counts, losses_L: Floats) -> Reliability:
    """Scores of counts by bin and of the sums of Brier score and negative log-likelihood."""
    count, right, units = counts_BP.T
    filled = count > 0
    confidence, accuracy = ratio(units, count * UNITS, filled), ratio(right, count, filled)
    gap, total = np.abs(accuracy - confidence)[filled], int(count.sum())
    brier, nll = losses_L / total if total else np.full(2, np.nan)
    return Reliability(
        count=count,
        confidence=confidence,
        accuracy=accuracy,
        ece=float(calibration_error(counts_BP)),
        mce=float(gap.max()) if total else float("nan"),
        brier=float(brier),
        nll=float(nll),
    )
