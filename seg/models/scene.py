"""Scene heads: from what a segmentation network computes to one logit per class for the whole patch.

A scene head is a module that is called with the pixel logits (B, K, H, W) of the image without its padding, the deepest
encoder features (B, C, h, w) of the padded image and the `Frame` between the two, and that returns float32 (B, K).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from seg.models.frame import Frame
from seg.models.padding import pool_inside, sum_by_cell
from seg.reben.classes import NUM_CLASSES

_LABELS_PER_PATCH = 2.95
"""Mean number of classes in the multi-label of a reBEN patch."""
_PRIOR_LOGIT = math.log(_LABELS_PER_PATCH / (NUM_CLASSES - _LABELS_PER_PATCH))
_LEAST_SHARPNESS = 0.01
_FIRST_SHARPNESS = 1.0
_LEAST_SHARE = 1e-4
"""Added to the share of a patch before its logarithm: a pixel or two of the 14,400 are as good as none."""
_INTO_THE_MASK = 0.1
"""Of the gradient of the scene loss, what reaches the pixel logits by way of the masked head. All of it and nothing of
it were worse at both tasks: docs/tried.md."""


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
    pixels = scaled_BKN.shape[-1]
    # In a graph for images of any size the number of pixels is no number yet.
    logarithm = math.log(pixels) if isinstance(pixels, int) else torch.full((1,), pixels, dtype=torch.float32).log()
    return (torch.logsumexp(scaled_BKN, dim=-1) - logarithm) / sharpness_K


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


class MaskedSceneHead(nn.Module):
    """The multi-label read where the mask says that each class is: one look at how much of it there is, one at what.

    ``scene_c = v_c . features under c + a_c log(share of c) + b_c``. The share is the mean probability of the class
    over the patch; the features under c are the deepest encoder features, averaged with the pixel probabilities of c as
    weights, as object regions are in Yuan, Chen & Wang, "Object-contextual representations for semantic segmentation",
    ECCV 2020, section 3.2. So a class that is small, or is confused in single pixels, is still judged by the features
    of the place where it is likeliest. Where the mask knows nothing, that is the mean over the image, as in the learned
    head. Training starts at v near 0, a = 1 and the b that gives each class its average frequency.

    Only a tenth of the scene loss's gradient reaches the pixel logits: the mask belongs to the pixel loss.

    Args:
        channels: Channels of the deepest features.
        dropout: Share of them dropped in training.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, NUM_CLASSES, bias=False)
        self.slope = nn.Parameter(torch.ones(NUM_CLASSES))
        self.bias = nn.Parameter(torch.full((NUM_CLASSES,), _PRIOR_LOGIT + math.log(NUM_CLASSES)))

    def forward(self, logits_BKHW: Tensor, features_BCHW: Tensor, frame: Frame) -> Tensor:
        """Weigh the features with the probabilities, and both with what was learned."""
        logits_BKHW = logits_BKHW.float()
        if self.training:
            held_BKHW = logits_BKHW.detach()
            logits_BKHW = held_BKHW + _INTO_THE_MASK * (logits_BKHW - held_BKHW)
        probabilities_BKHW = logits_BKHW.softmax(1)
        shares_BK = probabilities_BKHW.mean((2, 3))
        features_BKC = self.dropout(_under(probabilities_BKHW, features_BCHW.float(), frame))
        seen_BK: Tensor = (features_BKC * self.classifier.weight.float()).sum(-1)
        area_BK: Tensor = self.slope.float() * (shares_BK + _LEAST_SHARE).log() + self.bias.float()
        return seen_BK + area_BK


def _under(probabilities_BKHW: Tensor, features_BCHW: Tensor, frame: Frame) -> Tensor:
    """Features of each class, averaged with its probabilities as weights: (B, K, C); 0 for a class that is nowhere."""
    height, width = features_BCHW.shape[-2:]
    weights_BKN = sum_by_cell(probabilities_BKHW, height, width, frame).flatten(2)
    weights_BKN = weights_BKN / weights_BKN.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return weights_BKN @ features_BCHW.flatten(2).mT


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
    "masked": MaskedSceneHead,
    "derived": lambda _channels, _dropout: DerivedSceneHead(),
    "learned": LearnedSceneHead,
    "none": lambda _channels, _dropout: None,
}
"""Scene heads by name: from the channels of the deepest features and the dropout rate to the head, None for no head."""
