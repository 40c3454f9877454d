"""Batch normalisation folded into the convolution before it: the same function in fewer passes over memory."""

from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from seg.models.segmenter import Segmenter

_TOLERANCE = 1e-3
"""Largest difference of the logits, as a share of the largest logit, that rounding may explain."""


def fold_batch_norm(model: Segmenter, dtype: torch.dtype) -> int:
    """Fold every batch normalisation that follows a convolution into its weights, in place.

    What follows what is seen on a random image, so this works for any architecture. If its logits differ by more than
    rounding afterwards, everything is put back. The model is for inference alone from here.

    Args:
        model: In evaluation mode, float32, on its device.
        dtype: Number format of the weights of the folded convolutions: the one in which autocast computes.

    Returns:
        Number of batch normalisations that were folded.
    """
    images_BCHW = _random_images(model)
    with torch.inference_mode():
        expected_BKHW = model.pixel_logits(images_BCHW)
    names = {module: name for name, module in model.named_modules()}
    originals = []
    for convolution, norm in _pairs(model, images_BCHW):
        originals += [(names[convolution], convolution), (names[norm], norm)]
        model.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        model.set_submodule(names[norm], nn.Identity())
    with torch.inference_mode():
        found_BKHW = model.pixel_logits(images_BCHW)
    if not (found_BKHW - expected_BKHW).abs().max() <= _TOLERANCE * expected_BKHW.abs().max():
        for name, module in originals:
            model.set_submodule(name, module)
        return 0
    for name, _ in originals[::2]:
        model.get_submodule(name).to(dtype)
    return len(originals) // 2


def _random_images(model: Segmenter) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (1, len(model.bands), model.patch_edge, model.patch_edge)
    device = next(model.parameters()).device
    return torch.randn(shape, generator=generator).to(device)


def _pairs(model: Segmenter, images_BCHW: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions, each with the normalisation that takes what it gives; both used once."""
    calls: Counter[nn.Module] = Counter()
    given: list[tuple[nn.Conv2d, Tensor]] = []  # keeps the tensors, so that none takes the place of another
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def gives(module: nn.Conv2d, _: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        given.append((module, output))

    def takes(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        calls[module] += 1
        pairs.extend((convolution, module) for convolution, output in given if output is inputs[0])

    handles = []
    for module in model.modules():
        # Subclasses may do more than their base.
        if type(module) is nn.Conv2d:
            handles.append(module.register_forward_hook(gives))
        elif type(module) is nn.BatchNorm2d and module.track_running_stats:
            handles.append(module.register_forward_hook(takes))
    try:
        with torch.inference_mode():
            model.pixel_logits(images_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(calls[module] == 1 for module in pair)]
