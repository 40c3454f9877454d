"""SatlasPretrain (Bastani et al. 2023): a Swin transformer for nine bands of Sentinel-2, as torchgeo has it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seg.foundation.backbone import renamed
from seg.foundation.bands import Scale
from seg.foundation.packages import imported

SATLAS_BANDS = ("B04", "B03", "B02", "B05", "B06", "B07", "B08", "B11", "B12")
"""In the order of its weights."""
_COLOURS = SATLAS_BANDS[:3]
_WHITE = 3558.0
"""The digital number that is the brightest, 255, in the true-colour images of Sentinel-2's products."""


class Satlas(nn.Module):
    """The backbone of SatlasPretrain for Sentinel-2; see `seg.foundation.backbone.Backbone`.

    It was trained on true-colour images of 8 bits over 255, and on the other bands over 8,160, all within 0 and 1.

    Args:
        variant: A function of ``torchgeo.models.swin``.
        bands: Names of the input channels.
        options: Arguments of that function.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        whole: Any = getattr(imported("torchgeo.models.swin"), variant)(**options)
        first = whole.features[0][0]
        whole.features[0][0] = nn.Conv2d(len(SATLAS_BANDS), first.out_channels, first.kernel_size, first.stride)
        self.features = whole.features
        self.norm = whole.norm
        self.patch = self.output_stride = 32
        width = int(first.out_channels)
        self.widths = (width, 2 * width, 4 * width, 8 * width)
        self.scales = {name: Scale(0.0, _WHITE if name in _COLOURS else 8160.0, 0.0, 1.0) for name in SATLAS_BANDS}

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`; at 1/4, 1/8, 1/16 and 1/32 of the resolution."""
        features_BHWC = pixels_BCHW[:, [bands.index(name) for name in SATLAS_BANDS]]
        maps = []
        for number, stage in enumerate(self.features):
            features_BHWC = stage(features_BHWC)
            # After the patches, blocks and what halves their grid take turns.
            if number % 2:
                maps.append(features_BHWC.movedim(-1, 1))
        return [*maps[:-1], self.norm(features_BHWC).movedim(-1, 1)]

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        return renamed(tensors, tuple(self.state_dict()), "")
