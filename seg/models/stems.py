"""The first layer of an encoder, fitted to other bands than those it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class BandFit:
    """How the bands of published weights became those of a network.

    Attributes:
        kept: Bands that both have.
        estimated: Bands of the network alone; they start from the mean of what is known.
        dropped: Bands of the published weights alone.
    """

    kept: tuple[str, ...]
    estimated: tuple[str, ...]
    dropped: tuple[str, ...]

    @classmethod
    def between(cls, known: Sequence[str], wanted: Sequence[str]) -> "BandFit":
        """The fit from the bands of published weights to those of a network."""
        return cls(
            tuple(name for name in wanted if name in known),
            tuple(name for name in wanted if name not in known),
            tuple(name for name in known if name not in wanted),
        )


def find_stems(encoder: nn.Module, channels: int, size: int) -> list[str]:
    """Names of the weights of the convolutions that see the image itself; most encoders have one of them.

    Args:
        encoder: An encoder; run once.
        channels: Its bands.
        size: Edge of an image that it takes, pixels.
    """
    image_BCHW = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0))
    found: list[str] = []

    def note(name: str, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].shape == image_BCHW.shape and torch.equal(inputs[0], image_BCHW):
            found.append(f"{name}.weight")

    hooks = [
        module.register_forward_pre_hook(lambda _module, inputs, name=name: note(name, inputs))
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    training = {module: module.training for module in encoder.modules()}
    try:
        encoder.eval()
        with torch.no_grad():
            encoder(image_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
        for module, was_training in training.items():
            module.training = was_training
    return found


def fit_stem(weight_OIHW: Tensor, known: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """The weights of a first convolution for other bands.

    A band that is known by name keeps its weights; another one gets their mean over all known bands. Where the sets of
    bands differ, each filter is then scaled so that independent bands of unit variance, which is what the network sees,
    give an output of the same standard deviation as before: batch statistics further up still hold.

    Args:
        weight_OIHW: Published weights.
        known: Names of their input bands, in order.
        wanted: Names of the bands of the network, in order.
    """
    assert weight_OIHW.shape[1] == len(known), (weight_OIHW.shape, known)
    mean_OHW = weight_OIHW.mean(1)
    fitted_OIHW = torch.stack(
        [weight_OIHW[:, list(known).index(name)] if name in known else mean_OHW for name in wanted], 1
    )
    if set(known) == set(wanted):
        return fitted_OIHW
    before_O, after_O = (weight.double().square().sum((1, 2, 3)) for weight in (weight_OIHW, fitted_OIHW))
    # A filter that only sees bands the network lacks has nothing that could be scaled.
    scale_O = torch.where(after_O > 0, (before_O / after_O.clamp_min(torch.finfo(torch.float64).tiny)).sqrt(), 1.0)
    return (fitted_OIHW.double() * scale_O[:, None, None, None]).to(weight_OIHW.dtype)
