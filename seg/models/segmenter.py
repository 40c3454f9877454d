"""The network: one of segmentation-models-pytorch (smp) for any bands and any image size, with a scene head."""

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from segmentation_models_pytorch.base import SegmentationModel
from torch import Tensor, nn

from seg.config.sections import ModelConfig
from seg.models.architectures import ModelError, check_encoder, find_architecture, pretrained_file
from seg.models.padding import Frame, InsidePool, replace_pools
from seg.models.scene import SCENE_HEADS
from seg.reben.bands import PATCH_SIZE, band_names
from seg.reben.classes import NUM_CLASSES

_FIXED_SIZE = 128
"""Edge of the padded patch, pixels, for encoders that are built for images of one size."""
_OTHER_SIZES = (72, 264)
"""Sizes, pixels, that an encoder which might be one of those has to take before it is believed to take any."""

# What smp, timm and torch raise when an encoder does not fit an architecture.
_MISFIT = (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError)


class Segmenter(nn.Module):
    """A segmentation network with a scene head.

    The image is padded by reflection to what the network can divide, and the pixel logits are cropped back. Neither the
    scene head nor an average pool of the decoder sees the margins: they weight each feature cell by its share inside
    the image. Left as published, and so run over the padded image, are the encoder (squeeze-and-excitation included),
    attention and batch statistics. Built by `build_segmenter`.

    Args:
        config: What was built.
        bands: Names of the input channels, in order.
        network: The smp model.
        fixed_size: Edge of the only padded image that the encoder takes, pixels; None if it takes any.

    Attributes:
        network: The smp model: ``encoder``, ``decoder`` and ``segmentation_head``.
        scene_head: The scene head; None for ``scene_head="none"``.
    """

    def __init__(
        self, config: ModelConfig, bands: tuple[str, ...], network: SegmentationModel, fixed_size: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.bands = bands
        self.network = network
        self.fixed_size = fixed_size
        self.scene_head = SCENE_HEADS[config.scene_head](self.network.encoder.out_channels[-1], config.dropout)
        architecture = find_architecture(config.arch)
        stride = int(self.network.encoder.output_stride)
        self._multiple = max(stride, architecture.multiple)
        self._least = max(architecture.cells * stride, fixed_size or 0)
        replace_pools(self.network.decoder)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of every pixel and of the scene.

        Args:
            images_BCHW: Normalised bands in the order of `bands`, float, on the 10 m grid; any H and W from 1.

        Returns:
            Pixel logits (B, K, H, W), in the dtype in which autocast computes, and scene logits (B, K), float32, or
            None without a scene head.

        Raises:
            ModelError: If the images have other bands or a size that the encoder does not take, or if the network
                cannot train on a single patch.
        """
        frame = self._frame(images_BCHW)
        for module in self.network.decoder.modules():
            if isinstance(module, InsidePool):
                module.frame = frame
        try:
            full_logits_BKHW, features_BCHW = self._run(frame.pad(images_BCHW))
        except ValueError as error:
            if self.training and "more than 1 value per channel" in str(error):
                raise ModelError(
                    f"{self.config.arch} cannot train on a batch of one patch, because it normalises pooled features "
                    "over the batch; use a batch of at least two"
                ) from error
            raise
        logits_BKHW = frame.crop(full_logits_BKHW)
        if self.scene_head is None:
            return logits_BKHW, None
        device = images_BCHW.device.type
        # On the meta device, where the cost of a network is measured, there is no autocast.
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
            return logits_BKHW, self.scene_head(logits_BKHW, features_BCHW, frame)

    def class_tensors(self) -> list[str]:
        """Names, as in the state dict, of the tensors whose first axis is the class."""
        convolutions = [
            (name, module)
            for name, module in self.network.segmentation_head.named_modules()
            if isinstance(module, nn.Conv2d)
        ]
        name, last = convolutions[-1]
        names = [f"network.segmentation_head.{name}.{tensor}" for tensor in last.state_dict()]
        if self.scene_head is not None:
            names += [f"scene_head.{tensor}" for tensor in self.scene_head.state_dict()]
        assert all(len(self.state_dict()[tensor]) == NUM_CLASSES for tensor in names)
        return names

    def _frame(self, images_BCHW: Tensor) -> Frame:
        if images_BCHW.ndim != 4 or images_BCHW.shape[1] != len(self.bands) or 0 in images_BCHW.shape:
            raise ModelError(
                f"the network takes images of shape (batch, {len(self.bands)}, height, width) with the bands "
                f"{', '.join(self.bands)}, but got {tuple(images_BCHW.shape)}"
            )
        height, width = images_BCHW.shape[-2:]
        frame = Frame.around(height, width, self._multiple, self._least)
        most = self.fixed_size
        if most and max(frame.full_height, frame.full_width) > most:
            raise ModelError(
                f"encoder '{self.config.encoder}' takes images of at most {most} x {most} pixels, but got "
                f"{height} x {width}; cut the scene into patches of {PATCH_SIZE} x {PATCH_SIZE}"
            )
        return frame

    def _run(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The forward pass of smp, but keeping the deepest encoder features (vision transformers add their tokens)."""
        encoded = self.network.encoder(images_BCHW)
        inputs = encoded if isinstance(encoded, tuple) else (encoded,)
        logits_BKHW = self.network.segmentation_head(self.network.decoder(*inputs))
        return logits_BKHW, inputs[0][-1]


def build_segmenter(config: ModelConfig, bands: Sequence[str]) -> Segmenter:
    """A new network, in training mode, on the CPU.

    With ``weights="imagenet"`` the first convolution, which was made for red, green and blue, repeats its filters over
    the bands and scales them, as smp and timm do; all else of the encoder is taken as it is.

    Args:
        config: Which network.
        bands: Names of the input channels, in order.

    Raises:
        ModelError: If architecture or encoder do not exist or do not fit each other, or if pretrained weights are asked
            for and do not exist or cannot be fetched.
        UnknownBandError: If a band is unknown or named twice.
    """
    names = band_names(",".join(bands))
    architecture = find_architecture(config.arch)
    check_encoder(config.encoder)
    source = pretrained_file(config.encoder)
    if config.weights and source is None:
        raise ModelError(f"encoder '{config.encoder}' has no pretrained weights; use --weights none or another encoder")
    failure: Exception | None = None
    attempts = _encoder_options(config)
    for fixed_size, options in attempts:
        try:
            model = Segmenter(config, names, _smp_model(config, len(names), options), fixed_size)
            is_last = (fixed_size, options) == attempts[-1]
            _try_out(model, (PATCH_SIZE,) if is_last else (PATCH_SIZE, *_OTHER_SIZES))
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"the pretrained weights of encoder '{config.encoder}' cannot be read; fetch {source} into the local "
                "cache on a machine with a network, or start from random weights with --weights none"
            ) from error
        except _MISFIT as error:
            failure = error
        else:
            return model
    raise ModelError(
        f"encoder '{config.encoder}' does not fit {config.arch}, which takes {architecture.takes}"
    ) from failure


def count_parameters(model: nn.Module) -> int:
    """Number of learned values; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _encoder_options(config: ModelConfig) -> list[tuple[int | None, dict[str, Any]]]:
    """What to pass to smp so that the encoder takes images of other sizes than its own, in the order of preference.

    Returns:
        Pairs of the fixed size (None for any size) and smp's keyword arguments.
    """
    if not config.encoder.startswith("tu-"):
        return [(None, {})]
    with torch.device("meta"):
        encoder = timm.create_model(config.encoder.removeprefix("tu-"))
    accepted = inspect.signature(type(encoder).__init__).parameters
    options: dict[str, Any] = {}
    if config.arch == "dpt":
        options["num_classes"] = 0  # smp keeps the whole transformer, its classifier included
        if not getattr(encoder, "num_prefix_tokens", 0):
            options["decoder_readout"] = "ignore"  # there is no class token to read
    if "dynamic_img_size" in accepted:
        return [(None, {"dynamic_img_size": True, **options})]
    if "strict_img_size" in accepted:
        return [(None, {"strict_img_size": False, **options})]
    if "img_size" in accepted:
        return [(None, options), (_FIXED_SIZE, {"img_size": _FIXED_SIZE, **options})]
    return [(None, options)]


def _smp_model(config: ModelConfig, channels: int, options: dict[str, Any]) -> SegmentationModel:
    # smp passes timm's encoders a switch where its own take the name of the weights.
    weights: Any = True if config.weights and config.encoder.startswith("tu-") else config.weights
    return smp.create_model(config.arch, config.encoder, weights, channels, NUM_CLASSES, **options)


def _try_out(model: Segmenter, sizes: tuple[int, ...]) -> None:
    """Run the network on blank images: what does not fit shows now, not in the first training step."""
    model.eval()
    for size in sizes:
        with torch.no_grad():
            logits_BKHW, _ = model(torch.zeros(1, len(model.bands), size, size))
        if logits_BKHW.shape[1:] != (NUM_CLASSES, size, size):
            raise ValueError(f"the network gives maps of shape {tuple(logits_BKHW.shape)}")
    model.train()
