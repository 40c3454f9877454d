"""Building foundation models as encoders, and making them known to smp."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder

from seg.foundation.backbone import Backbone
from seg.foundation.catalogue import check_foundation, check_inputs, find_foundation
from seg.foundation.encoder import FoundationEncoder

_TINY = "tu-vit_tiny_patch16_224"
"""The transformer in whose place a foundation model comes."""


def build_backbone(name: str, bands: tuple[str, ...], **options: Any) -> Backbone:
    """A foundation model with random weights.

    Args:
        name: As an encoder.
        bands: Names of the input channels, in order.
        options: What is to be different from the model as it is published, such as ``depth``.

    Raises:
        ModelError: If there is no such model, it cannot be built here, or has no place for a band.
    """
    check_foundation(name)
    check_inputs(name, bands)
    model = find_foundation(name)
    module, _, kind = model.family.module.partition(".")
    backbone: Backbone = getattr(import_module(f"seg.foundation.{module}"), kind)(model.variant, bands, **options)
    return backbone


def dpt(name: str, bands: Sequence[str], classes: int) -> smp.DPT:
    """The architecture DPT, which smp builds for vision transformers of timm alone, with a foundation model.

    Args:
        name: As an encoder.
        bands: Names of the input channels, in order.
        classes: Channels of its output.
    """
    encoder = FoundationEncoder(build_backbone(name, tuple(bands)), bands, plain=True)
    strides = [encoder.output_stride] * len(encoder.out_channels)
    network = smp.DPT(_TINY, encoder_weights=None, in_channels=len(bands), classes=classes, num_classes=0)
    network.encoder = encoder
    network.decoder = DPTDecoder(encoder.out_channels, strides, encoder_has_prefix_tokens=False, readout="ignore")
    initialize_decoder(network.decoder)
    return network


@contextmanager
def known_to_smp(name: str, bands: Sequence[str]) -> Iterator[None]:
    """Within it, smp builds networks with a foundation model for these bands as it does with encoders of its own.

    Args:
        name: As an encoder.
        bands: Names of the input channels, in order.
    """

    def encoder(depth: int, output_stride: int) -> FoundationEncoder:
        return FoundationEncoder(build_backbone(name, tuple(bands)), bands, depth, output_stride)

    # smp passes no encoder of its own the names of bands.
    smp.encoders.encoders[name] = {"encoder": encoder, "pretrained_settings": {}, "params": {}}
    try:
        yield
    finally:
        del smp.encoders.encoders[name]
