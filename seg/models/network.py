"""The networks of segmentation-models-pytorch (smp), for any bands and, as far as their encoders can, for any size."""

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.base import SegmentationModel
from torch import nn

from seg.config.sections import ModelConfig
from seg.errors import ModelError
from seg.foundation.build import dpt, known_to_smp
from seg.foundation.catalogue import is_foundation
from seg.models.architectures import load_encoder
from seg.models.drops import drop_options
from seg.models.fusion import DualEncoder
from seg.reben.bands import PATCH_SIZE, SENSORS, of_sensor
from seg.reben.classes import NUM_CLASSES

_FIXED_SIZE = 128
"""Edge of the padded patch, pixels, for encoders that are built for images of one size."""
_FIXED_STEP = 64
"""By multiples of this it grows with the context."""
_PARTS = ("encoder", "decoder", "segmentation_head", "encoder.out_channels", "encoder.output_stride")
"""What is built upon in a network."""


class NetworkPartsError(ModelError):
    """A network of somebody's own that is not put together as smp's are."""


def check_parts(arch: str, network: nn.Module) -> None:
    """Check that a network has what is built upon; smp's own have it, one of somebody's own may not.

    Raises:
        NetworkPartsError: Naming what it lacks.
    """
    lacking = [name for name in _PARTS if not _has(network, name)]
    if lacking:
        raise NetworkPartsError(
            f"the network of architecture '{arch}' ({type(network).__name__}) has no {' and no '.join(lacking[:3])}; "
            "build it as a SegmentationModel of smp is built: docs/how-to/architecture.md"
        )


def _has(network: nn.Module, name: str) -> bool:
    part, _, of_it = name.partition(".")
    return hasattr(network, part) and (not of_it or hasattr(getattr(network, part), of_it))


def encoder_options(config: ModelConfig, context: int = 0) -> list[tuple[int | None, dict[str, Any]]]:
    """What to pass to smp so that the encoder takes images of other sizes than its own, in the order of preference.

    Args:
        config: Which network.
        context: Pixels around a patch that it is to see.

    Returns:
        Pairs of the fixed size (None for any size) and smp's keyword arguments.
    """
    if not config.encoder.startswith("tu-"):
        return [(None, {})]
    with torch.device("meta"):
        encoder = timm.create_model(config.encoder.removeprefix("tu-"))
    accepted = inspect.signature(type(encoder).__init__).parameters
    options: dict[str, Any] = drop_options(config, accepted)
    if config.arch == "dpt":
        options["num_classes"] = 0  # smp keeps the whole transformer, its classifier included
        if not getattr(encoder, "num_prefix_tokens", 0):
            options["decoder_readout"] = "ignore"  # there is no class token to read
    if "dynamic_img_size" in accepted:
        return [(None, {"dynamic_img_size": True, **options})]
    if "strict_img_size" in accepted:
        return [(None, {"strict_img_size": False, **options})]
    if "img_size" in accepted:
        edge = max(_FIXED_SIZE, -(-(PATCH_SIZE + 2 * context) // _FIXED_STEP) * _FIXED_STEP)
        return [(None, options), (edge, {"img_size": edge, **options})]
    return [(None, options)]


def smp_model(
    config: ModelConfig, bands: Sequence[str], options: dict[str, Any], weights: str | None = None
) -> SegmentationModel:
    """The network of smp.

    Args:
        config: Which network.
        bands: Names of the input channels, in order.
        options: Further arguments, from `encoder_options`.
        weights: ``imagenet`` starts the encoder from its published weights.
    """
    load_encoder(config.encoder)
    # smp passes timm's encoders a switch where its own take the name of the weights.
    switch: Any = True if weights and config.encoder.startswith("tu-") else weights
    if config.arch == "dpt" and is_foundation(config.encoder):
        return dpt(config.encoder, bands, NUM_CLASSES)
    with known_to_smp(config.encoder, bands) if is_foundation(config.encoder) else nullcontext():
        network = smp.create_model(config.arch, config.encoder, switch, len(bands), NUM_CLASSES, **options)
    check_parts(config.arch, network)
    return network


def network_of(config: ModelConfig, bands: tuple[str, ...], options: dict[str, Any]) -> SegmentationModel:
    """The network of smp with one encoder, or with one for each sensor.

    Args:
        config: Which network.
        bands: Names of the input channels, in order.
        options: From `encoder_options`.
    """
    if config.fusion == "stack":
        return smp_model(config, bands, options)
    # A decoder does not depend on the number of bands, so it may be that of either sensor.
    models = {sensor: smp_model(config, of_sensor(bands, sensor), options) for sensor in SENSORS}
    network = models[SENSORS[-1]]
    edge = options.get("img_size", _FIXED_SIZE)
    encoders: dict[str, Any] = {sensor: model.encoder for sensor, model in models.items()}
    network.encoder = DualEncoder(bands, encoders, _used_levels(network, len(of_sensor(bands, SENSORS[-1])), edge))
    return network


def _used_levels(network: SegmentationModel, channels: int, edge: int) -> list[bool]:
    """Which levels of the encoder's features reach the pixel logits, by an image with an edge of so many pixels."""
    network.eval()
    encoded = network.encoder(torch.zeros(1, channels, edge, edge))
    features, *tokens = encoded if isinstance(encoded, tuple) else (encoded,)
    leaves = [level.detach().requires_grad_() for level in features]
    logits_BKHW = network.segmentation_head(network.decoder(leaves, *tokens))
    gradients = torch.autograd.grad(logits_BKHW.sum(), leaves, allow_unused=True)
    network.train()
    return [gradient is not None for gradient in gradients]
