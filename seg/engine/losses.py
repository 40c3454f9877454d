"""Losses by name. A new one is one function and one entry in a dictionary here."""

from collections.abc import Callable
from difflib import get_close_matches

from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor
from torch.nn import functional

from seg.config.sections import LossConfig
from seg.reben.classes import IGNORE_INDEX

Loss = Callable[[Tensor, Tensor], Tensor]


class UnknownLossError(ValueError):
    """A loss that is not in the dictionary."""


def cross_entropy(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Mean cross-entropy over the labelled pixels of the batch; 0 where none is labelled."""
    total = functional.cross_entropy(logits_BKHW, target_BHW, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (target_BHW != IGNORE_INDEX).sum().clamp(min=1)


def dice(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Soft Dice loss (Milletari et al. 2016) over the labelled pixels, absent classes counting 0; smp's definition."""
    loss: Tensor = DiceLoss("multiclass", ignore_index=IGNORE_INDEX)(logits_BKHW, target_BHW)
    return loss


def cross_entropy_dice(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Sum of `cross_entropy` and `dice`."""
    return cross_entropy(logits_BKHW, target_BHW) + dice(logits_BKHW, target_BHW)


def bce(logits_BK: Tensor, labels_BK: Tensor) -> Tensor:
    """Mean binary cross-entropy over patches and classes."""
    return functional.binary_cross_entropy_with_logits(logits_BK, labels_BK)


PIXEL_LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "cross_entropy_dice": cross_entropy_dice,
}
SCENE_LOSSES: dict[str, Loss] = {"bce": bce}


class JointLoss:
    """The loss of mask and multi-label together: ``pixel + scene_weight * scene``.

    Args:
        config: Losses and weight.

    Raises:
        UnknownLossError: If a loss is not known.
    """

    def __init__(self, config: LossConfig) -> None:
        self._pixel = _named(config.pixel, PIXEL_LOSSES, "pixel")
        self._scene = _named(config.scene, SCENE_LOSSES, "scene")
        self._weight = config.scene_weight

    def __call__(
        self, pixel_logits_BKHW: Tensor, scene_logits_BK: Tensor | None, target_BHW: Tensor, labels_BK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Total, pixel and scene loss; the scene loss is 0 for a network without a scene head.

        Args:
            pixel_logits_BKHW: Any float dtype; computed in float32.
            scene_logits_BK: None without a scene head.
            target_BHW: Class indices, int64, 255 where unlabelled.
            labels_BK: 0 or 1, float32.
        """
        pixel = self._pixel(pixel_logits_BKHW.float(), target_BHW)
        scene = pixel.new_zeros(()) if scene_logits_BK is None else self._scene(scene_logits_BK.float(), labels_BK)
        return pixel + self._weight * scene, pixel, scene


def _named(name: str, losses: dict[str, Loss], kind: str) -> Loss:
    if name not in losses:
        near = get_close_matches(name, losses, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UnknownLossError(f"'{name}' is no {kind} loss{hint} (there are {', '.join(losses)})")
    return losses[name]
