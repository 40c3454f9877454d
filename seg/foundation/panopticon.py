"""Panopticon (Waldmann et al. 2025): any bands by wavelength or polarisation, as torchgeo has it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seg.foundation.backbone import positions, renamed, run_blocks
from seg.foundation.bands import WAVELENGTHS, standardised_as_published
from seg.foundation.packages import imported

_CHANNELS = {**WAVELENGTHS, "VV": -1.0, "VH": -2.0}
"""Wavelengths in nanometres; polarisations, with the direction of the orbit left open, by Panopticon's own numbers."""
_GRID = 37
"""Patches along the edge of the images that its published position embeddings are for."""


class Panopticon(nn.Module):
    """Panopticon; see `seg.foundation.backbone.Backbone`.

    As its authors prepare a data set, bands are standardised by the statistics of reBEN.

    Args:
        variant: A function of ``torchgeo.models.panopticon``.
        bands: Names of the input channels.
        options: ``depth`` for a smaller model.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        self.patch = self.output_stride = 14
        self.net = getattr(imported("torchgeo.models.panopticon"), variant)(img_size=_GRID * self.patch).model
        if "depth" in options:
            self.net.blocks = self.net.blocks[: options["depth"]]
        self.widths = (int(self.net.embed_dim),) * 4
        self.scales = standardised_as_published(bands)

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        channels_C = torch.tensor([_CHANNELS[name] for name in bands], device=pixels_BCHW.device)
        rows, columns = (edge // self.patch for edge in pixels_BCHW.shape[-2:])
        # The model writes into the numbers of the channels.
        given = {"imgs": pixels_BCHW, "chn_ids": channels_C.repeat(pixels_BCHW.shape[0], 1)}
        tokens_BND = self.net.patch_embed(given)
        first_B1D = self.net.cls_token.expand(tokens_BND.shape[0], -1, -1)
        tokens_BND = torch.cat((first_B1D, tokens_BND), 1) + positions(self.net.pos_embed, rows, columns)
        maps = run_blocks(self.net.blocks, tokens_BND, 1, rows, columns)
        return [*maps[:-1], self.net.norm(maps[-1].movedim(1, -1)).movedim(-1, 1)]

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        return renamed(tensors, tuple(self.state_dict()), "net.")
