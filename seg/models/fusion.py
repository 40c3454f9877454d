"""Two sensors, two encoders: features merged level by level, and what stands in for a sensor that is missing."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seg.reben.bands import BANDS, SENSORS, Sensor, of_sensor


class DualEncoder(nn.Module):
    """An encoder of smp for each sensor, which together stand where one of them would.

    At each level the features of both are concatenated and merged by a 1x1 convolution, which starts as their mean. The
    features of a sensor that an image lacks are a learned constant for each channel, which starts at 0. Where smp hands
    on the image itself as its first level, that is the image of all bands.

    Args:
        bands: Names of the input channels, in order.
        encoders: An encoder for each sensor, of one kind.
        used: Which levels the decoder looks at. The others are not merged: they are those of the last sensor.

    Attributes:
        encoders: As given.
        merges: A convolution for each level; an identity where there is nothing to merge.
        token_merges: A linear map for each level of a vision transformer's tokens.
        absent: Constants by sensor and level, ``s1_3``.
        out_channels, output_stride: As of smp's encoders.
    """

    _sensors_C: Tensor

    def __init__(self, bands: tuple[str, ...], encoders: Mapping[str, Any], used: Sequence[bool]) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(dict(encoders))
        for sensor in SENSORS:
            chosen = [bands.index(name) for name in of_sensor(bands, sensor)]
            self.register_buffer(f"_{sensor}_channels", torch.tensor(chosen), persistent=False)
        self.register_buffer(
            "_sensors_C", torch.tensor([SENSORS.index(BANDS[name].sensor) for name in bands]), persistent=False
        )
        one = encoders[SENSORS[-1]]
        channels = [int(number) for number in one.out_channels]
        # smp's own encoders and most of timm's pass the image on; those in the style of VGG have features there.
        self._passes_image = channels[0] == len(of_sensor(bands, SENSORS[-1]))
        self.output_stride = int(one.output_stride)
        self.out_channels = [len(bands) if self._passes_image else channels[0], *channels[1:]]
        self.merges = nn.ModuleList(
            _mean_of_two(number) if number and in_use and not (level == 0 and self._passes_image) else nn.Identity()
            for level, (number, in_use) in enumerate(zip(channels, used, strict=True))
        )
        tokens = bool(getattr(one, "has_prefix_tokens", False))
        self.token_merges = nn.ModuleList(_mean_of_two_tokens(number) for number in channels if tokens)
        self.absent = nn.ParameterDict(
            {
                f"{sensor}_{level}": nn.Parameter(torch.zeros(number))
                for sensor in SENSORS
                for level, (number, merge) in enumerate(zip(channels, self.merges, strict=True))
                if not isinstance(merge, nn.Identity)
            }
        )

    def forward(self, images_BCHW: Tensor, present_BS: Tensor | None = None) -> Any:
        """Merged features of each level, with a vision transformer's tokens if it has any.

        Args:
            images_BCHW: All bands.
            present_BS: Which of the `SENSORS` each image has, bool; None: both.
        """
        if present_BS is None and self.training:
            # So that every parameter has a gradient, which training on several processes insists on.
            present_BS = torch.ones(len(images_BCHW), len(SENSORS), dtype=torch.bool, device=images_BCHW.device)
        encoded = {sensor: self.encoders[sensor](images_BCHW[:, self._of(sensor)]) for sensor in SENSORS}
        with_tokens = isinstance(encoded[SENSORS[0]], tuple)
        levels = {sensor: output[0] if with_tokens else output for sensor, output in encoded.items()}
        merged = [
            self._merge(level, [levels[sensor][level] for sensor in SENSORS], present_BS)
            for level in range(len(self.merges))
        ]
        if self._passes_image:
            merged[0] = images_BCHW
            if present_BS is not None:
                merged[0] = torch.where(present_BS[:, self._sensors_C, None, None], images_BCHW, 0)
        if not with_tokens:
            return merged
        return merged, [
            self._merge_tokens(level, [encoded[sensor][1][level] for sensor in SENSORS], present_BS)
            for level in range(len(self.merges))
        ]

    def _of(self, sensor: str) -> Tensor:
        channels: Tensor = getattr(self, f"_{sensor}_channels")
        return channels

    def _merge(self, level: int, features: list[Tensor], present_BS: Tensor | None) -> Tensor:
        merge = self.merges[level]
        if isinstance(merge, nn.Identity):
            return features[-1]
        shape = (1, -1, 1, 1)
        merged: Tensor = merge(torch.cat(self._stand_in(level, features, present_BS, shape), 1))
        return merged

    def _merge_tokens(self, level: int, tokens: list[Tensor | None], present_BS: Tensor | None) -> Tensor | None:
        known = [each for each in tokens if each is not None]
        if not known:
            return None
        merged: Tensor = self.token_merges[level](torch.cat(self._stand_in(level, known, present_BS, (1, 1, -1)), -1))
        return merged

    def _stand_in(
        self, level: int, features: list[Tensor], present_BS: Tensor | None, shape: tuple[int, ...]
    ) -> list[Tensor]:
        """The features, with the constants in the place of those of missing sensors."""
        if present_BS is None:
            return features
        return [
            torch.where(
                present_BS[:, number].view(-1, *(1,) * (each.ndim - 1)),
                each,
                self.absent[f"{sensor}_{level}"].to(each.dtype).view(shape),
            )
            for number, (sensor, each) in enumerate(zip(SENSORS, features, strict=True))
        ]


class WithoutSensor(nn.Module):
    """A network that is not shown one of its two sensors.

    Args:
        model: A `Segmenter` of both.
        sensor: The sensor it has to do without.
    """

    _present_S: Tensor

    def __init__(self, model: nn.Module, sensor: Sensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("_present_S", torch.tensor([name != sensor for name in SENSORS]), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Any:
        """As the network's own, see `Segmenter.forward`."""
        return self.model(images_BCHW, self._present_S.expand(len(images_BCHW), -1))


def _mean_of_two(channels: int) -> nn.Conv2d:
    merge = nn.Conv2d(2 * channels, channels, 1)
    with torch.no_grad():
        merge.weight.copy_(_halves(channels)[:, :, None, None])
        nn.init.zeros_(merge.bias)  # type: ignore[arg-type]
    return merge


def _mean_of_two_tokens(channels: int) -> nn.Linear:
    merge = nn.Linear(2 * channels, channels)
    with torch.no_grad():
        merge.weight.copy_(_halves(channels))
        nn.init.zeros_(merge.bias)
    return merge


def _halves(channels: int) -> Tensor:
    return torch.eye(channels).repeat(1, 2) / 2
