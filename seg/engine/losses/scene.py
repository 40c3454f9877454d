"""Scene losses by name. A new one is one function and one entry in `SCENE_LOSSES`.

A loss takes logits and multi-label and gives the mean over patches and classes. Keyword arguments that it has besides
are settings of the same name in `LossConfig`, or ``positive_weights_K``; see `seg.engine.losses.joint`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seg.engine.losses.pixel import focus

if TYPE_CHECKING:
    from torch import Tensor


def bce(logits_BK: Tensor, labels_BK: Tensor, *, positive_weights_K: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy.

    Args:
        logits_BK: float32.
        labels_BK: 0 or 1, float32.
        positive_weights_K: Weight of the positives of each class; None weighs them as negatives.
    """
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(logits_BK, labels_BK, pos_weight=positive_weights_K)


def focal(
    logits_BK: Tensor, labels_BK: Tensor, *, focal_gamma: float = 2.0, positive_weights_K: Tensor | None = None
) -> Tensor:
    """Mean focal loss (Lin et al. 2017): ``-(1 - p) ** gamma * log p``, with p the probability of what is true.

    Args:
        logits_BK: float32.
        labels_BK: 0 or 1, float32.
        focal_gamma: gamma; 0 is binary cross-entropy.
        positive_weights_K: Weight of the positives of each class; None weighs them as negatives.
    """
    from torch.nn import functional

    nll_BK = functional.binary_cross_entropy_with_logits(logits_BK, labels_BK, reduction="none")
    losses_BK = focus(-(-nll_BK).expm1(), focal_gamma) * nll_BK
    if positive_weights_K is not None:
        losses_BK = losses_BK * (1 + labels_BK * (positive_weights_K - 1))
    return losses_BK.mean()


def asymmetric(
    logits_BK: Tensor,
    labels_BK: Tensor,
    *,
    asymmetric_positive: float = 0.0,
    asymmetric_negative: float = 4.0,
    asymmetric_margin: float = 0.05,
) -> Tensor:
    """Mean asymmetric loss (Ridnik et al. 2021, equations 4 to 7); the paper's code adds up instead.

    ``-(1 - p) ** positive * log p`` where the label is 1, ``-q ** negative * log(1 - q)`` where it is 0, with
    ``q = max(p - margin, 0)``.

    Args:
        logits_BK: float32.
        labels_BK: 0 or 1, float32.
        asymmetric_positive, asymmetric_negative: The paper's gamma+ and gamma-.
        asymmetric_margin: The paper's m.
    """
    from torch.nn import functional

    absent_BK = (-logits_BK).sigmoid()
    shifted_BK = (1 - absent_BK - asymmetric_margin).clamp(min=0)
    # Without a margin, 1 - p can be 0 in float32 although its logarithm is finite.
    log_absent_BK = (-shifted_BK).log1p() if asymmetric_margin else functional.logsigmoid(-logits_BK)
    positives_BK = focus(absent_BK, asymmetric_positive) * functional.logsigmoid(logits_BK)
    negatives_BK = focus(shifted_BK, asymmetric_negative) * log_absent_BK
    return -(labels_BK * positives_BK + (1 - labels_BK) * negatives_BK).mean()


SCENE_LOSSES: dict[str, Callable[..., Tensor]] = {"bce": bce, "focal": focal, "asymmetric": asymmetric}
