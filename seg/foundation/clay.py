"""Clay 1.5 (Clay Foundation 2024): any bands of one sensor by their wavelength, as terratorch has it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seg.foundation.backbone import as_map, renamed, taps
from seg.foundation.bands import standardised
from seg.foundation.packages import imported
from seg.reben.bands import S1_BANDS, SENSORS, of_sensor

_S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CLAY_BANDS = (*S1_BANDS, *_S2_BANDS)
"""What it has seen; of Sentinel-2 neither B01 nor B09."""
_WAVES = dict(
    zip(CLAY_BANDS, (3.5, 4.0, 0.493, 0.56, 0.665, 0.704, 0.74, 0.783, 0.842, 0.865, 1.61, 2.19), strict=True)
)
"""Micrometres; what its authors say for polarisations tells them apart and is no wavelength."""
_S1_MEAN, _S1_STD = (-12.113, -18.673), (8.314, 8.017)
_S2_MEAN = (1105.0, 1355.0, 1552.0, 1887.0, 2422.0, 2630.0, 2743.0, 2785.0, 2388.0, 1835.0)
_S2_STD = (1809.0, 1757.0, 1888.0, 1870.0, 1732.0, 1697.0, 1742.0, 1648.0, 1470.0, 1379.0)
_PIXEL_METRES = 10.0
_TIME_AND_PLACE = 8
"""Values at the end of a position embedding; all 0 where neither is known, as in a fifth of its training."""
_SIZES = {"large": {"dim": 1024, "depth": 24, "heads": 16}}
_HEAD = 64


class Clay(nn.Module):
    """The encoder of Clay 1.5; see `seg.foundation.backbone.Backbone`.

    Bands are standardised by the statistics of its own data, DN and dB. It has learned from one sensor at a time, so
    each goes through it by itself, and the features of both are averaged place by place.

    Args:
        variant: ``large``.
        bands: Names of the input channels.
        options: ``dim``, ``depth`` and ``heads`` of a smaller model.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        sizes = {**_SIZES[variant], **options}
        dim = sizes["dim"]
        package = "terratorch.models.backbones.clay_v15"
        self.patch = self.output_stride = 8
        # Its module `model`, which has the encoder as a whole, changes how exactly torch multiplies everywhere.
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.patch_embedding: Any = imported(f"{package}.factory").DynamicEmbedding(
            wave_dim=128, num_latent_tokens=128, patch_size=self.patch, embed_dim=dim
        )
        self.transformer: Any = imported(f"{package}.backbone").Transformer(
            dim=dim, depth=sizes["depth"], heads=sizes["heads"], dim_head=_HEAD, mlp_dim=4 * dim, fused_attn=True
        )
        self._places = imported(f"{package}.utils").posemb_sincos_2d_with_gsd
        self.widths = (dim,) * 4
        self.scales = standardised(S1_BANDS, _S1_MEAN, _S1_STD) | standardised(_S2_BANDS, _S2_MEAN, _S2_STD)

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        found = [
            self._of_sensor(pixels_BCHW[:, [bands.index(name) for name in names]], names)
            for names in (of_sensor(bands, sensor) for sensor in SENSORS)
            if names
        ]
        return [torch.stack(maps).mean(0) if len(maps) > 1 else maps[0] for maps in zip(*found, strict=True)]

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`; beside the encoder, files hold its decoder and its teacher."""
        named = {name.removeprefix("model.encoder."): value for name, value in tensors.items()}
        return renamed(named, tuple(self.state_dict()), "")

    def _of_sensor(self, pixels_BCHW: Tensor, names: tuple[str, ...]) -> list[Tensor]:
        rows, columns = (edge // self.patch for edge in pixels_BCHW.shape[-2:])
        waves_C = torch.tensor([_WAVES[name] for name in names], device=pixels_BCHW.device)
        tokens_BND, _ = self.patch_embedding(pixels_BCHW, waves_C)
        width = self.widths[0] - _TIME_AND_PLACE
        places_ND = self._places(h=rows, w=columns, dim=width, gsd=torch.tensor(_PIXEL_METRES)).to(tokens_BND)
        tokens_BND = tokens_BND + functional.pad(places_ND, (0, _TIME_AND_PLACE))
        tokens_BND = torch.cat((self.cls_token.expand(tokens_BND.shape[0], -1, -1), tokens_BND), 1)
        layers = self.transformer.layers
        wanted, maps = taps(len(layers)), []
        for number, (attention, feed_forward) in enumerate(layers):
            tokens_BND = attention(tokens_BND) + tokens_BND
            tokens_BND = feed_forward(tokens_BND) + tokens_BND
            last = self.transformer.norm(tokens_BND) if number == len(layers) - 1 else tokens_BND
            if number in wanted:
                maps.append(as_map(last[:, 1:], rows, columns))
        return maps
