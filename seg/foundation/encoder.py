"""A foundation model in the place of an encoder of smp."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seg.foundation.backbone import Backbone
from seg.foundation.pyramid import Pyramid
from seg.reben.bands import BANDS, SENSORS, of_sensor

_STRIDE = 32
_PLAIN = 16
"""Pixels between features where no pyramid changes that."""


class FoundationEncoder(nn.Module):
    """A foundation model with a learned pyramid and a shallow stem, as smp's encoders are used.

    What comes in is normalised by reBEN's statistics. These are kept with the weights, so that bands are brought back
    to DN and dB, and from there to what the model was trained on. The image is resized to what the model's patches
    divide, and its features are resized to the grids of the levels. A sensor that an image lacks is not shown to the
    model at all; the stem sees 0, the mean.

    Args:
        backbone: The model.
        bands: Names of the input channels, in order.
        depth, output_stride: As of smp's encoders.
        plain: Whether there is no pyramid, for a decoder that makes levels itself.

    Attributes:
        backbone: The model; frozen, it alone is, since the pyramid starts from nothing.
        pyramid: What makes levels of its features.
        out_channels, output_stride: As of smp's encoders.
    """

    mean_C: Tensor
    std_C: Tensor
    _shift_C: Tensor
    _scale_C: Tensor
    _low_C: Tensor
    _high_C: Tensor
    _sensors_C: Tensor

    def __init__(
        self,
        backbone: Backbone,
        bands: Sequence[str],
        depth: int = 5,
        output_stride: int = _STRIDE,
        plain: bool = False,
    ) -> None:
        super().__init__()
        assert isinstance(backbone, nn.Module)
        self.bands = tuple(bands)
        self.backbone: Any = backbone
        self.pyramid = None if plain else Pyramid(len(bands), backbone.widths, depth)
        self.out_channels = list(backbone.widths) if self.pyramid is None else [len(bands), *self.pyramid.channels]
        self._coarsest: int = _PLAIN if plain else min(output_stride, 2**depth)
        self.register_buffer("mean_C", torch.tensor([BANDS[name].mean for name in bands]))
        self.register_buffer("std_C", torch.tensor([BANDS[name].std for name in bands]))
        scales = [backbone.scales[name] for name in bands]
        for name in ("shift", "scale", "low", "high"):
            values = torch.tensor([getattr(one, name) for one in scales])
            self.register_buffer(f"_{name}_C", values, persistent=False)
        sensors = torch.tensor([SENSORS.index(BANDS[name].sensor) for name in bands])
        self.register_buffer("_sensors_C", sensors, persistent=False)
        self._measured = tuple(sensor for sensor in SENSORS if of_sensor(bands, sensor))

    @property
    def output_stride(self) -> int:
        """Pixels between the features of the coarsest level."""
        return self._coarsest

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Nothing to do: smp asks for the number of bands that the encoder was built for."""
        assert in_channels == len(self.bands), (in_channels, self.bands)

    def make_dilated(self, output_stride: int) -> None:
        """Stop making levels coarser, where smp dilates the last stages of its encoders."""
        self._coarsest = output_stride

    def values(self, images_BCHW: Tensor) -> Tensor:
        """Bands in the values that the model was trained on.

        Args:
            images_BCHW: Bands as the network gets them, normalised by the statistics of reBEN.
        """
        shape = (1, -1, 1, 1)
        stored_BCHW = images_BCHW.float() * self.std_C.view(shape) + self.mean_C.view(shape)
        values_BCHW = (stored_BCHW - self._shift_C.view(shape)) / self._scale_C.view(shape)
        return torch.minimum(torch.maximum(values_BCHW, self._low_C.view(shape)), self._high_C.view(shape))

    def forward(self, images_BCHW: Tensor, present_BS: Tensor | None = None) -> Any:
        """The image, and features at 1/2, 1/4, ... of its resolution.

        Args:
            images_BCHW: Normalised bands; edges divisible by `output_stride`.
            present_BS: Which of the sensors each image has, bool; None: all that the bands need.

        Returns:
            A list; without a pyramid a pair, the features at 1/16 and, as smp has it, that there are no tokens.
        """
        if present_BS is not None:
            images_BCHW = torch.where(present_BS[:, self._sensors_C, None, None], images_BCHW, 0)
        maps = self._maps(images_BCHW, present_BS)
        if self.pyramid is None:
            size = [edge // _PLAIN for edge in images_BCHW.shape[-2:]]
            levels = [functional.interpolate(each, size=size, mode="bilinear", align_corners=False) for each in maps]
        else:
            levels = self.pyramid(images_BCHW, maps, self._coarsest)
        if self.training:
            levels[-1] = levels[-1] + self._of_unused(levels)
        return (levels, [None] * len(levels)) if self.pyramid is None else [images_BCHW, *levels]

    def _of_unused(self, levels: list[Tensor]) -> Tensor:
        """0, with gradients of 0: every parameter has one, which training on several processes insists on.

        Decoders do not look at every level, nor do images without a sensor go through what sees that one.
        """
        learning = (one for one in self.backbone.parameters() if one.requires_grad)
        return sum((each.flatten()[0] * 0 for each in (*levels, *learning)), start=levels[-1].new_zeros(()))

    def _maps(self, images_BCHW: Tensor, present_BS: Tensor | None) -> list[Tensor]:
        """Features of the model on its own grids, shallow to deep; arguments as of `forward`."""
        values_BCHW = self._fitting(self.values(images_BCHW))
        if present_BS is None or len(self._measured) == 1:
            found: list[Tensor] = self.backbone(values_BCHW, self.bands)
            return found
        return self._of_present(values_BCHW, present_BS)

    def _fitting(self, values_BCHW: Tensor) -> Tensor:
        """The image in the size nearest to its own that the model's patches divide."""
        patch = self.backbone.patch
        if self._coarsest % patch == 0:
            return values_BCHW
        size = [max(1, (edge + patch // 2) // patch) * patch for edge in values_BCHW.shape[-2:]]
        if size == list(values_BCHW.shape[-2:]):
            return values_BCHW
        return functional.interpolate(values_BCHW, size=size, mode="bilinear", align_corners=False, antialias=True)

    def _of_present(self, values_BCHW: Tensor, present_BS: Tensor) -> list[Tensor]:
        """Features of images that do not all have the same sensors: those that do go through the model together."""
        maps: list[Tensor] = []
        for pattern_S in torch.unique(present_BS, dim=0):
            rows = (present_BS == pattern_S).all(1).nonzero()[:, 0]
            seen = [number for number, name in enumerate(self.bands) if pattern_S[SENSORS.index(BANDS[name].sensor)]]
            if not seen:
                continue
            found = self.backbone(values_BCHW[rows][:, seen], tuple(self.bands[number] for number in seen))
            if not maps:
                maps = [each.new_zeros(len(values_BCHW), *each.shape[1:]) for each in found]
            maps = [each.index_copy(0, rows, part) for each, part in zip(maps, found, strict=True)]
        assert maps, "no image of the batch has any sensor"
        return maps
