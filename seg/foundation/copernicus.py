"""Copernicus-FM (Wang et al. 2025): any bands by wavelength and bandwidth, as torchgeo has it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seg.foundation.backbone import positions, renamed, run_blocks
from seg.foundation.bands import standardised
from seg.foundation.packages import imported
from seg.reben.bands import S1_BANDS, S2_BANDS

_WAVELENGTHS = (440, 490, 560, 665, 705, 740, 783, 842, 860, 940, 1610, 2190)
_BANDWIDTHS = (20, 65, 35, 30, 15, 15, 20, 115, 20, 20, 90, 180)
_SPECTRUM = {
    **{
        name: (float(wave), float(width)) for name, wave, width in zip(S2_BANDS, _WAVELENGTHS, _BANDWIDTHS, strict=True)
    },
    **dict.fromkeys(S1_BANDS, (5e7, 1e9)),
}
"""Central wavelength and bandwidth in nanometres, as Copernicus-Bench gives them for BigEarthNet."""
_S2_MEAN = (1353.7, 1117.2, 1041.8, 946.5, 1199.1, 2003.0, 2374.0, 2301.2, 2599.7, 732.1, 1820.6, 1118.2)
_S2_STD = (897.3, 736.0, 684.8, 620.0, 791.9, 1341.3, 1595.4, 1545.5, 1750.1, 475.1, 1216.5, 736.7)
_PIXEL_KM = 0.01
_SIZES = {"base": {"embed_dim": 768, "depth": 12, "num_heads": 12}}


class Copernicus(nn.Module):
    """Copernicus-FM; see `seg.foundation.backbone.Backbone`.

    Bands are standardised by the statistics by which Copernicus-Bench does so, DN and dB. The model is told how large
    its patches are on the ground; date and place stay open, as it has learned them to.

    Args:
        variant: ``base``.
        bands: Names of the input channels.
        options: Arguments of torchgeo's ``CopernicusFM``, for a smaller model.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        self.net = imported("torchgeo.models.copernicusfm").CopernicusFM(**{**_SIZES[variant], **options})
        # What is for other kinds of data, for pooled features, and for patches of unknown size.
        self.net.patch_embed_variable = nn.Identity()
        self.net.fc_norm = nn.Identity()
        del self.net.scale_token
        # What it asks of wavelengths and areas holds for those above, and asking is nothing that ONNX knows.
        for module in self.net.modules():
            if hasattr(module, "assert_range"):
                module.assert_range = False
        self.patch = self.output_stride = 16
        self.widths = (int(self.net.cls_token.shape[-1]),) * 4
        self.scales = standardised(S2_BANDS, _S2_MEAN, _S2_STD) | standardised(
            S1_BANDS, (-12.548, -20.192), (5.257, 5.912)
        )

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        rows, columns = (edge // self.patch for edge in pixels_BCHW.shape[-2:])
        spectrum_C2 = torch.tensor([_SPECTRUM[name] for name in bands], device=pixels_BCHW.device)
        tokens_BND = self.net.patch_embed_spectral(
            pixels_BCHW, wavelengths=spectrum_C2[:, 0], bandwidths=spectrum_C2[:, 1], kernel_size=self.patch
        )
        area_1 = torch.tensor([(self.patch * _PIXEL_KM) ** 2], device=pixels_BCHW.device)
        places_1ND = (
            positions(self.net.pos_embed, rows, columns)
            + self.net.coord_fc(self.net.coord_token)
            + self.net.scale_fc(self.net.get_area_pos_embed(area_1, self.widths[0]))
            + self.net.time_fc(self.net.time_token)
        )
        first_B1D = (self.net.cls_token + places_1ND[:, :1]).expand(tokens_BND.shape[0], -1, -1)
        return run_blocks(self.net.blocks, torch.cat((first_B1D, tokens_BND + places_1ND[:, 1:]), 1), 1, rows, columns)

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        return renamed(tensors, tuple(self.state_dict()), "net.")
