"""From features of a foundation model, all on one coarse grid, to those of an encoder of smp, each half as fine."""

from collections.abc import Sequence

from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

FINE = (64, 128)
"""Channels at 1/2 and 1/4 of the image's resolution."""
COARSE = (256, 512, 512)
"""Channels at 1/8, 1/16 and 1/32."""


class Pyramid(nn.Module):
    """Features at 1/2 to 1/32 of an image's resolution.

    Borders are finer than the patches of a vision transformer, so a shallow stem sees the image at full resolution: its
    features are those at 1/2, and are added to the model's at 1/4. Everything is normalised over channels alone, pixel
    by pixel, so that what a network says of a place does not depend on the window that shows it.

    Args:
        bands: Number of bands.
        widths: Channels of the model's features, shallow to deep.
        depth: Number of levels, 3 to 5: the coarsest has 1/2**depth of the resolution.

    Attributes:
        channels: Channels of each level.
    """

    def __init__(self, bands: int, widths: Sequence[int], depth: int) -> None:
        super().__init__()
        self.channels = (*FINE, *COARSE)[:depth]
        self.stem = nn.Sequential(_conv(bands, 32), _conv(32, FINE[0], stride=2))
        self.quarter = _conv(FINE[0], FINE[1], stride=2)
        self.enter = nn.ModuleList(
            nn.Sequential(LayerNorm2d(width), nn.Conv2d(width, number, 1))
            for width, number in zip(widths[1 - depth :], self.channels[1:], strict=True)
        )
        self.smooth = nn.ModuleList(_conv(number, number) for number in self.channels[1:])

    def forward(self, images_BCHW: Tensor, maps: Sequence[Tensor], coarsest: int) -> list[Tensor]:
        """The levels, fine to coarse.

        Args:
            images_BCHW: Normalised bands; edges divisible by the coarsest level's spacing.
            maps: Features of the model, shallow to deep; the deepest go to the coarsest level.
            coarsest: Pixels between features at which levels stop getting coarser.
        """
        half = self.stem(images_BCHW)
        levels = [half]
        used = maps[len(maps) - len(self.enter) :]
        for number, (features, enter, smooth) in enumerate(zip(used, self.enter, self.smooth, strict=True)):
            spacing = min(4 * 2**number, coarsest)
            size = [edge // spacing for edge in images_BCHW.shape[-2:]]
            # Channels are changed first: the finer a level is, the fewer it has.
            level = functional.interpolate(enter(features), size=size, mode="bilinear", align_corners=False)
            if number == 0:
                level = level + self.quarter(half)
            levels.append(smooth(level))
        return levels


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), LayerNorm2d(outputs), nn.GELU())
