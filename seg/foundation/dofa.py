"""DOFA (Xiong et al. 2024): any bands by their wavelength, as torchgeo has it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seg.foundation.backbone import positions, renamed, run_blocks
from seg.foundation.bands import WAVELENGTHS, standardised_as_published
from seg.foundation.packages import imported

_MICROMETRES = {**{name: value / 1000 for name, value in WAVELENGTHS.items()}, "VV": 5.405, "VH": 5.405}
"""As DOFA's own examples say them; for Sentinel-1 the centimetres of its C band stand in their place."""
_SIZES = {
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}


class Dofa(nn.Module):
    """DOFA; see `seg.foundation.backbone.Backbone`.

    Its authors standardise each sensor by its own statistics, and torchgeo leaves that to the user: bands are
    standardised by those of reBEN.

    Args:
        variant: ``small``, ``base`` or ``large``.
        bands: Names of the input channels.
        options: Arguments of torchgeo's ``DOFA``, for a smaller model.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        sizes = {**_SIZES[variant], **options}
        self.net = imported("torchgeo.models.dofa").DOFA(patch_size=16, num_classes=0, **sizes)
        # What it would average is not wanted; without weights that are never used.
        self.net.fc_norm = nn.Identity()
        self.patch = self.output_stride = int(self.net.patch_size)
        self.widths = (int(self.net.embed_dim),) * 4
        self.scales = standardised_as_published(bands)

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        waves_C = torch.tensor([_MICROMETRES[name] for name in bands], device=pixels_BCHW.device)
        rows, columns = (edge // self.patch for edge in pixels_BCHW.shape[-2:])
        tokens_BND, _ = self.net.patch_embed(pixels_BCHW, waves_C)
        places_1ND = positions(self.net.pos_embed, rows, columns)
        first_B1D = (self.net.cls_token + places_1ND[:, :1]).expand(tokens_BND.shape[0], -1, -1)
        return run_blocks(self.net.blocks, torch.cat((first_B1D, tokens_BND + places_1ND[:, 1:]), 1), 1, rows, columns)

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        return renamed(tensors, tuple(self.state_dict()), "net.")
