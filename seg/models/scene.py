"""Scene heads: from what a segmentation network computes to one logit per class for the whole patch.

A scene head is a module that is called with the pixel logits (B, K, H, W) of the image without its padding, the deepest
encoder features (B, C, h, w) of the padded image and the `Frame` between the two, and that returns float32 (B, K).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from seg.models.padding import Frame, pool_inside
from seg.reben.classes import NUM_CLASSES

_LABELS_PER_PATCH = 2.95
"""Mean number of classes in the multi-label of a reBEN patch."""
_PRIOR_LOGIT = math.log(_LABELS_PER_PATCH / (NUM_CLASSES - _LABELS_PER_PATCH))
_LEAST_SHARPNESS = 0.01
_FIRST_SHARPNESS = 1.0


def log_mean_exp(logits_BKHW: Tensor, sharpness_K: Tensor) -> Tensor:
    """Log-sum-exp pooling: a smooth choice between the mean (sharpness to 0) and the maximum (sharpness to infinity).

    (1 / r) log mean_hw exp(r z), from Pinheiro & Collobert, "From image-level to pixel-level labeling with
    convolutional networks", CVPR 2015.

    Args:
        logits_BKHW: Pixel logits z; float32 is stable for any finite logits.
        sharpness_K: r of each class, above 0.

    Returns:
        (B, K), between the mean and the maximum of each map.
    """
    scaled_BKN = sharpness_K[:, None] * logits_BKHW.flatten(2)
    return (torch.logsumexp(scaled_BKN, dim=-1) - math.log(scaled_BKN.shape[-1])) / sharpness_K


class DerivedSceneHead(nn.Module):
    """The multi-label read off the mask's own logits, so that both come from one map.

    ``scene_c = log_mean_exp(pixel logits of c; r_c) + b_c`` with learned r and b for each class. A class that covers
    little needs a sharp r to be seen, one that is often confused in single pixels a flat one. Training starts at r = 1,
    where exp(z) is the unnormalised softmax of the pixel and its mean the unnormalised share of the class in the patch,
    and where every pixel still has a gradient. b starts at the logit of a class's average frequency, so that the first
    steps need not push down all pixel logits, which a softmax leaves free to move together.
    """

    def __init__(self) -> None:
        super().__init__()
        first = math.log(math.expm1(_FIRST_SHARPNESS - _LEAST_SHARPNESS))
        self.rho = nn.Parameter(torch.full((NUM_CLASSES,), first))
        self.bias = nn.Parameter(torch.full((NUM_CLASSES,), _PRIOR_LOGIT))

    @property
    def sharpness(self) -> Tensor:
        """The r of each class; float32 (K,). Its lower bound is where float32 still tells the pool from the mean."""
        return functional.softplus(self.rho.float()) + _LEAST_SHARPNESS

    def forward(self, logits_BKHW: Tensor, features_BCHW: Tensor, frame: Frame) -> Tensor:
        """Pool the pixel logits; the features are not looked at."""
        return log_mean_exp(logits_BKHW.float(), self.sharpness) + self.bias.float()


class LearnedSceneHead(nn.Module):
    """A linear classifier on the mean of the deepest encoder features over the image.

    Args:
        channels: Channels of those features.
        dropout: Share of them dropped in training.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, NUM_CLASSES)
        nn.init.constant_(self.classifier.bias, _PRIOR_LOGIT)

    def forward(self, logits_BKHW: Tensor, features_BCHW: Tensor, frame: Frame) -> Tensor:
        """Pool and classify the features; the pixel logits are not looked at."""
        pooled_BC = pool_inside(features_BCHW.float(), 1, frame).flatten(1)
        classifier = self.classifier
        return functional.linear(self.dropout(pooled_BC), classifier.weight.float(), classifier.bias.float())


SCENE_HEADS: dict[str, Callable[[int, float], nn.Module | None]] = {
    "derived": lambda _channels, _dropout: DerivedSceneHead(),
    "learned": LearnedSceneHead,
    "none": lambda _channels, _dropout: None,
}
"""Scene heads by name: from the channels of the deepest features and the dropout rate to the head, None for no head."""
