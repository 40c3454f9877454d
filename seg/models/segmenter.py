"""The network: one of segmentation-models-pytorch (smp) or one's own, for any image size, with a scene head."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base import SegmentationModel
from torch import Tensor, nn

from seg.config.sections import ModelConfig
from seg.errors import ModelError
from seg.foundation.catalogue import check_inputs
from seg.foundation.encoder import FoundationEncoder
from seg.models.architectures import check_encoder, check_fusion, find_architecture
from seg.models.drops import set_drops
from seg.models.frame import Frame, TakenSizes
from seg.models.fusion import DualEncoder
from seg.models.network import NetworkPartsError, encoder_options, network_of
from seg.models.padding import InsidePool, replace_pools
from seg.models.scene import SCENE_HEADS
from seg.own.code import Code, check_own, settled
from seg.own.network import Layout, called, outputs_of, own_network
from seg.reben.bands import BANDS, PATCH_SIZE, SENSORS, band_names
from seg.reben.classes import NUM_CLASSES

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

    With a context, images show that many pixels more on every side than what is mapped: logits are those of the core
    alone, and so is what the scene head pools. What pools within the decoder sees all of the image.

    With ``fusion="dual"`` the encoder of the smp model is a `DualEncoder`. A network of one's own is run as it is.

    Args:
        config: What was built.
        bands: Names of the input channels, in order.
        network: The smp model, or a network of one's own.
        layout: Which sizes it takes; None: as an smp model says that takes any.
        context: Pixels around what is mapped that images show.

    Attributes:
        network: The smp model: ``encoder``, ``decoder`` and ``segmentation_head``; or a network of one's own.
        fixed_size: Edge of the only padded image that it takes, pixels; None if it takes any.
        scene_head: The scene head; None for ``scene_head="none"``.
        code: The file that builds a network of one's own; None if there is none.
    """

    _sensors_C: Tensor
    code: Code | None = None

    def __init__(
        self,
        config: ModelConfig,
        bands: tuple[str, ...],
        network: SegmentationModel,
        layout: Layout | None = None,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.config = config
        self.bands = bands
        self.network = network
        self.context = context
        self._layout = layout or smp_layout(config, network)
        self.fixed_size = self._layout.fixed_size
        self.scene_head = SCENE_HEADS[config.scene_head](self._layout.channels or 0, config.dropout)
        sensors_C = torch.tensor([SENSORS.index(BANDS[name].sensor) for name in bands])
        self.register_buffer("_sensors_C", sensors_C, persistent=False)
        if not config.own:
            replace_pools(self.network.decoder)

    @property
    def encoder(self) -> nn.Module | None:
        """The encoder, or what a network of one's own calls so; None if it has none."""
        found = getattr(self.network, "encoder", None)
        return found if isinstance(found, nn.Module) else None

    @property
    def patch_edge(self) -> int:
        """Edge of a patch with its context and margins, pixels: a size that the encoder takes."""
        return self.frame(self.picture_edge, self.picture_edge).full_height

    @property
    def picture_edge(self) -> int:
        """Edge of a patch with its context, pixels."""
        return PATCH_SIZE + 2 * self.context

    @property
    def multiple(self) -> int:
        """Pixels by which the edges of a padded image are divisible: what the network's features are spaced at most."""
        return self._layout.multiple

    @property
    def sizes(self) -> TakenSizes:
        """Sizes of images that it takes."""
        return TakenSizes(self.config, self._layout.multiple, self._layout.least, self.fixed_size, context=self.context)

    def frame(self, height: int, width: int, margin: int = 0) -> Frame:
        """How an image of this size is padded, by at least a margin."""
        return Frame.around(height, width, self._layout.multiple, self._layout.least, margin)

    def forward(self, images_BCHW: Tensor, present_BS: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits of every pixel and of the scene.

        Args:
            images_BCHW: Normalised bands in the order of `bands`, float, on the 10 m grid; any H and W from 1, and the
                context on every side.
            present_BS: Which of the `SENSORS` each image has, bool (B, 2); None: all that the bands need. What a
                missing sensor's bands hold is not looked at in evaluation mode: it counts as 0, the mean.

        Returns:
            Pixel logits (B, K, H, W), in the dtype in which autocast computes, and scene logits (B, K), float32, or
            None without a scene head.

        Raises:
            ModelError: If the images have other bands or a size that the encoder does not take, or if the network
                cannot train on a single patch.
        """
        logits_BKHW, scene_logits_BK = self.whole(images_BCHW, present_BS)
        return self._core(logits_BKHW), scene_logits_BK

    def whole(self, images_BCHW: Tensor, present_BS: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """As `forward`, but logits of every pixel, those of the context included."""
        logits_BKHW, features_BCHW, frame = self._mapped(images_BCHW, present_BS)
        if self.scene_head is None:
            return logits_BKHW, None
        device = images_BCHW.device.type
        # On the meta device, where the cost of a network is measured, there is no autocast.
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
            return logits_BKHW, self.scene_head(self._core(logits_BKHW), features_BCHW, frame.within(self.context))

    def _core(self, logits_BKHW: Tensor) -> Tensor:
        core = slice(self.context, -self.context)
        return logits_BKHW[..., core, core] if self.context else logits_BKHW

    def pixel_logits(self, images_BCHW: Tensor) -> Tensor:
        """Logits of every pixel alone, those of the context included; the scene head takes a sixth of a window's time.

        Args:
            images_BCHW: As of `forward`.
        """
        return self._mapped(images_BCHW, None)[0]

    def tell_pools(self, frame: Frame) -> None:
        """Tell what pools in the decoder where the image lies in what comes next."""
        for module in () if self.config.own else self.network.decoder.modules():
            if isinstance(module, InsidePool):
                module.frame = frame

    def class_tensors(self) -> list[str]:
        """Names, as in the state dict, of the tensors whose first axis is the class, where they are known."""
        names = []
        if not self.config.own:
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
        if min(height, width) <= 2 * self.context:
            raise ModelError(
                f"the network looks at {self.context} pixels around what it maps, so that nothing is left of images of "
                f"{height} x {width}; give it {self.picture_edge} x {self.picture_edge} for a patch"
            )
        frame = self.frame(height, width)
        most = self.fixed_size
        if most and max(frame.full_height, frame.full_width) > most:
            what = self.config.arch if self.config.own else f"encoder '{self.config.encoder}'"
            raise ModelError(
                f"{what} takes images of at most {most} x {most} pixels, but got "
                f"{height} x {width}; cut the scene into patches of {PATCH_SIZE} x {PATCH_SIZE}"
            )
        return frame

    def _mapped(self, images_BCHW: Tensor, present_BS: Tensor | None) -> tuple[Tensor, Tensor, Frame]:
        """Pixel logits, the deepest features, and the frame between the two."""
        frame = self._frame(images_BCHW)
        self.tell_pools(frame)
        try:
            full_logits_BKHW, features_BCHW = self.run(frame.pad(images_BCHW), present_BS)
        except ValueError as error:
            if self.training and "more than 1 value per channel" in str(error):
                raise ModelError(
                    f"{self.config.arch} cannot train on a batch of one patch, because it normalises pooled features "
                    "over the batch; use a batch of at least two"
                ) from error
            raise
        return frame.crop(full_logits_BKHW), features_BCHW, frame

    def run(self, images_BCHW: Tensor, present_BS: Tensor | None) -> tuple[Tensor, Tensor]:
        """The forward pass on padded images, keeping the deepest features."""
        # Such encoders are told which sensors there are, and what stands in for the others is theirs.
        told = not self.config.own and isinstance(self.network.encoder, DualEncoder | FoundationEncoder)
        if present_BS is not None and not told:
            present_BC = present_BS[:, self._sensors_C]
            images_BCHW = torch.where(present_BC[:, :, None, None], images_BCHW, 0)
        if self.config.own:
            # A copy, since such code may write into it. Where there are no features, no scene head looks at them.
            logits_BKHW, features_BCHW = outputs_of(called(self.network, images_BCHW.clone()), self.config.arch)
            return logits_BKHW, logits_BKHW if features_BCHW is None else features_BCHW
        encoder = self.network.encoder
        encoded = encoder(images_BCHW, present_BS) if told else encoder(images_BCHW)
        # Vision transformers add their tokens.
        inputs = encoded if isinstance(encoded, tuple) else (encoded,)
        logits_BKHW = self.network.segmentation_head(self.network.decoder(*inputs))
        return logits_BKHW, inputs[0][-1]


def smp_layout(config: ModelConfig, network: SegmentationModel, fixed_size: int | None = None) -> Layout:
    """Which sizes a network of smp takes.

    Args:
        config: Which network.
        network: It.
        fixed_size: Edge of the only padded image that its encoder takes, pixels; None if it takes any.
    """
    architecture = find_architecture(config.arch)
    stride = int(network.encoder.output_stride)
    return Layout(
        multiple=max(stride, architecture.multiple),
        least=max(architecture.cells * stride, fixed_size or 0),
        fixed_size=fixed_size,
        channels=network.encoder.out_channels[-1],
    )


def build_segmenter(config: ModelConfig, bands: Sequence[str], context: int = 0, code: Code | None = None) -> Segmenter:
    """A new network with random weights, in training mode, on the CPU; `start_segmenter` gives it published ones.

    Args:
        config: Which network.
        bands: Names of the input channels, in order.
        context: Pixels of 10 m around a patch that it is to see.
        code: What builds a network of one's own, if that was read already.

    Raises:
        ModelError: If architecture or encoder do not exist or do not fit each other, or if there is no second sensor to
            fuse.
        CheckpointError: If nobody has named the code of a network of one's own on this machine.
        UnknownNameError: If a band is unknown or named twice.
    """
    names = band_names(",".join(bands))
    config = settled(config)
    architecture = find_architecture(config.arch)
    if architecture.own:
        check_own(config)
        network, layout, code = own_network(config, names, context, code)
        own = Segmenter(config, names, network, layout, context)
        own.code = code
        return own
    check_encoder(config.encoder)
    check_fusion(config.fusion, names)
    check_inputs(config.encoder, names)
    failure: Exception | None = None
    attempts = encoder_options(config, context)
    for fixed_size, options in attempts:
        try:
            network = network_of(config, names, options)
            model = Segmenter(config, names, network, smp_layout(config, network, fixed_size), context)
            is_last = (fixed_size, options) == attempts[-1]
            _try_out(model, (PATCH_SIZE,) if is_last else (PATCH_SIZE, *_OTHER_SIZES))
        except NetworkPartsError:
            raise
        except _MISFIT as error:
            failure = error
        else:
            set_drops(model.network.encoder, config, partial(_try_out, model, (PATCH_SIZE,)))
            return model
    if failure is not None and not _of_smp(config.arch):
        # Whoever wrote the network has to see what went wrong in it, not what seg makes of it.
        failure.add_note(f"This is an error of the network '{config.arch}', which is not one of smp's.")
        raise failure
    raise ModelError(
        f"encoder '{config.encoder}' does not fit {config.arch}, which takes {architecture.takes}"
    ) from failure


def _of_smp(arch: str) -> bool:
    home: str = smp.MODEL_ARCHITECTURES_MAPPING[arch].__module__
    return home.startswith(f"{smp.__name__}.")


def count_parameters(model: nn.Module) -> int:
    """Number of learned values; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _try_out(model: Segmenter, sizes: tuple[int, ...]) -> None:
    """Run the network on blank images: what does not fit shows now, not in the first training step."""
    model.eval()
    for size in sizes:
        with torch.no_grad():
            seen = size + 2 * model.context
            logits_BKHW, _ = model(torch.zeros(1, len(model.bands), seen, seen))
        if logits_BKHW.shape[1:] != (NUM_CLASSES, size, size):
            raise ModelError(f"the network gives maps of shape {tuple(logits_BKHW.shape)}")
    model.train()
