"""Pixel losses by name. A new one is one function and one entry in `PIXEL_LOSSES`.

A loss takes logits and target and gives the mean over the labelled pixels of the batch: 0, with a gradient of 0, where
none is labelled. It never waits for the device. Keyword arguments that it has besides are settings of the same name in
`LossConfig`, or ``class_weights_K``; see `seg.engine.losses.joint`.

Dice, Jaccard and Tversky are those of segmentation-models-pytorch (smp). Its focal loss gives NaN where nothing is
labelled, and its Lovasz loss an empty tensor; it also asks the device 19 times a step which classes are present. Both
libraries are loaded by the first loss that is computed: which losses there are shows before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from seg.engine.losses.border import classes_nearby, is_near_border
from seg.reben.classes import IGNORE_INDEX

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-6
"""Shares below this count as this much: the slope of a power below 1 has no bound at 0."""
_LOG_OF_ZERO = -4.0
"""What the logarithm of 0 counts as in reverse cross-entropy: A of Wang et al. 2019."""


def focus(share: Tensor, gamma: float) -> Tensor:
    """``share ** gamma`` with a slope that is finite everywhere; 1 for a gamma of 0."""
    return share.clamp(min=_LEAST) ** gamma


def cross_entropy(
    logits_BKHW: Tensor, target_BHW: Tensor, *, label_smoothing: float = 0.0, class_weights_K: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy, weighted by the weights of the true classes.

    Args:
        logits_BKHW: float32.
        target_BHW: Class indices, int64, 255 where unlabelled.
        label_smoothing: Share of the target that is spread over all classes (Szegedy et al. 2016).
        class_weights_K: Weight of each class, 0 or more; None weighs all alike.
    """
    from torch.nn import functional

    total = functional.cross_entropy(
        logits_BKHW,
        target_BHW,
        weight=class_weights_K,
        ignore_index=IGNORE_INDEX,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    return _mean(total, target_BHW, class_weights_K)


def focal(
    logits_BKHW: Tensor, target_BHW: Tensor, *, focal_gamma: float = 2.0, class_weights_K: Tensor | None = None
) -> Tensor:
    """Mean focal loss (Lin et al. 2017) over the softmax: ``-(1 - p) ** gamma * log p`` of the true class.

    Args:
        logits_BKHW: float32.
        target_BHW: Class indices, int64, 255 where unlabelled.
        focal_gamma: gamma; 0 is cross-entropy.
        class_weights_K: Weight of each class (the paper's alpha), 0 or more; None weighs all alike.
    """
    nll_BHW = _nll(logits_BKHW, target_BHW)
    losses_BHW = focus(-(-nll_BHW).expm1(), focal_gamma) * nll_BHW
    if class_weights_K is not None:
        losses_BHW = losses_BHW * _weights(target_BHW, class_weights_K)
    return _mean(losses_BHW.sum(), target_BHW, class_weights_K)


def dice(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Soft Dice loss (Milletari et al. 2016), absent classes counting 0."""
    from segmentation_models_pytorch.losses import DiceLoss

    loss: Tensor = DiceLoss("multiclass", ignore_index=IGNORE_INDEX)(logits_BKHW, target_BHW)
    return loss


def jaccard(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Soft Jaccard loss, 1 - IoU of probabilities, absent classes counting 0."""
    from segmentation_models_pytorch.losses import JaccardLoss

    loss: Tensor = JaccardLoss("multiclass", ignore_index=IGNORE_INDEX)(logits_BKHW, target_BHW)
    return loss


def tversky(logits_BKHW: Tensor, target_BHW: Tensor, *, tversky_beta: float = 0.7) -> Tensor:
    """Tversky loss (Salehi et al. 2017), absent classes counting 0.

    Args:
        logits_BKHW: float32.
        target_BHW: Class indices, int64, 255 where unlabelled.
        tversky_beta: Weight of missed pixels; wrongly claimed ones weigh 1 less it. 0.5 is `dice`.
    """
    from segmentation_models_pytorch.losses import TverskyLoss

    measure = TverskyLoss("multiclass", ignore_index=IGNORE_INDEX, alpha=1 - tversky_beta, beta=tversky_beta)
    loss: Tensor = measure(logits_BKHW, target_BHW)
    return loss


def lovasz(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Lovasz-softmax loss (Berman et al. 2018, algorithm 1) over the batch, a mean over the classes that are present.

    All classes are sorted at once. Unlabelled pixels get the error 0 and, sorted behind all others, change nothing
    before them.
    """
    import torch

    labelled_N = (target_BHW != IGNORE_INDEX).flatten()
    probabilities_KN = logits_BKHW.softmax(1).movedim(1, 0).flatten(1)
    classes_K1 = torch.arange(len(probabilities_KN), device=target_BHW.device)[:, None]
    is_class_KN = target_BHW.flatten() == classes_K1
    errors_KN = (is_class_KN.float() - probabilities_KN).abs()
    # Below every error of a labelled pixel while sorting, 0 in the sum.
    sorted_KN, order_KN = errors_KN.where(labelled_N, -1.0).sort(dim=1, descending=True)
    # Counts are integers: sums of floats along an axis come out differently from run to run on a GPU.
    hits_KN = is_class_KN.gather(1, order_KN).int()
    size_K1 = hits_KN.sum(1, keepdim=True)
    missed_KN = size_K1 - hits_KN.cumsum(1)
    union_KN = size_K1 + (1 - hits_KN).cumsum(1)
    jaccard_KN = 1 - missed_KN / union_KN
    steps_KN = jaccard_KN.diff(dim=1, prepend=torch.zeros_like(jaccard_KN[:, :1]))
    losses_K = (sorted_KN.clamp(min=0) * steps_KN).sum(1)
    present_K = size_K1[:, 0] > 0
    return (losses_K * present_K).sum() / present_K.sum().clamp(min=1)


def symmetric_cross_entropy(
    logits_BKHW: Tensor, target_BHW: Tensor, *, symmetric_alpha: float = 0.1, symmetric_beta: float = 1.0
) -> Tensor:
    """Symmetric cross-entropy (Wang et al. 2019): ``alpha * cross-entropy + beta * reverse cross-entropy``.

    The reverse one is ``-sum_k p_k log y_k`` with ``log 0 = -4``, so ``4 (1 - p)`` with p the probability of the given
    class: it has a bound, so that a wrong label pulls no harder than a right one.

    Args:
        logits_BKHW: float32.
        target_BHW: Class indices, int64, 255 where unlabelled.
        symmetric_alpha: Weight of cross-entropy, which learns fast.
        symmetric_beta: Weight of reverse cross-entropy, which bears wrong labels.
    """
    nll_BHW = _nll(logits_BKHW, target_BHW)
    # expm1 keeps the digits of 1 - p where p is nearly 1. Unlabelled pixels have an nll of 0, which adds nothing.
    losses_BHW = symmetric_alpha * nll_BHW - symmetric_beta * _LOG_OF_ZERO * -(-nll_BHW).expm1()
    return _mean(losses_BHW.sum(), target_BHW, None)


def generalised_cross_entropy(logits_BKHW: Tensor, target_BHW: Tensor, *, generalised_q: float = 0.7) -> Tensor:
    """Generalised cross-entropy (Zhang & Sabuncu 2018): ``(1 - p ** q) / q``, p the probability of the given class.

    Args:
        logits_BKHW: float32.
        target_BHW: Class indices, int64, 255 where unlabelled.
        generalised_q: q, above 0 to 1: towards 0 it is cross-entropy, at 1 the mean absolute error (halved).
    """
    nll_BHW = _nll(logits_BKHW, target_BHW)
    return _mean(-(-generalised_q * nll_BHW).expm1().sum() / generalised_q, target_BHW, None)


def border_cross_entropy(
    logits_BKHW: Tensor, target_BHW: Tensor, *, border_metres: float = 20.0, border_weight: float = 0.25
) -> Tensor:
    """Mean cross-entropy in which pixels near a class border of the map count less.

    Args:
        logits_BKHW: float32.
        target_BHW: Class indices, int64, 255 where unlabelled.
        border_metres: What is near: that far or less from a pixel of another class, from centre to centre.
        border_weight: Weight of such pixels, 0 to 1; all others weigh 1.
    """
    import torch

    near_BHW = is_near_border(target_BHW, border_metres)
    weights_BHW = torch.where(near_BHW, border_weight, 1.0) * (target_BHW != IGNORE_INDEX)
    weight = weights_BHW.sum()
    return (weights_BHW * _nll(logits_BKHW, target_BHW)).sum() / weight.where(weight > 0, 1.0)


def relaxed_cross_entropy(logits_BKHW: Tensor, target_BHW: Tensor, *, border_metres: float = 20.0) -> Tensor:
    """Mean relaxed cross-entropy (Zhu et al. 2019): ``-log sum p`` over the classes that lie near a pixel on the map.

    Wherever the true border runs within that distance of the drawn one, the best of those classes is enough. Far from
    borders it is cross-entropy. The paper's distance is a pixel; its class weights are left out.

    Args:
        logits_BKHW: float32.
        target_BHW: Class indices, int64, 255 where unlabelled.
        border_metres: What is near: that far or less, from centre to centre.
    """
    nearby_BKHW = classes_nearby(target_BHW, logits_BKHW.shape[1], border_metres)
    losses_BHW = logits_BKHW.logsumexp(1) - logits_BKHW.where(nearby_BKHW, -math.inf).logsumexp(1)
    return _mean(losses_BHW.where(target_BHW != IGNORE_INDEX, 0.0).sum(), target_BHW, None)


def _nll(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Cross-entropy of every pixel, 0 where unlabelled."""
    from torch.nn import functional

    return functional.cross_entropy(logits_BKHW, target_BHW, ignore_index=IGNORE_INDEX, reduction="none")


def _weights(target_BHW: Tensor, weights_K: Tensor) -> Tensor:
    """The weight of the true class of every pixel; 0 where unlabelled."""
    labelled_BHW = target_BHW != IGNORE_INDEX
    return weights_K[target_BHW.where(labelled_BHW, 0)] * labelled_BHW


def _mean(total: Tensor, target_BHW: Tensor, weights_K: Tensor | None) -> Tensor:
    """A sum over the labelled pixels as a mean, which is weighted if there are weights."""
    if weights_K is None:
        return total / (target_BHW != IGNORE_INDEX).sum().clamp(min=1)
    weight = _weights(target_BHW, weights_K).sum()
    # Where only classes of weight 0 are labelled, smoothing leaves a sum, but of nothing that counts.
    return total * (weight > 0) / weight.where(weight > 0, 1.0)


PIXEL_LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "jaccard": jaccard,
    "tversky": tversky,
    "lovasz": lovasz,
    "symmetric_cross_entropy": symmetric_cross_entropy,
    "generalised_cross_entropy": generalised_cross_entropy,
    "border_cross_entropy": border_cross_entropy,
    "relaxed_cross_entropy": relaxed_cross_entropy,
}
