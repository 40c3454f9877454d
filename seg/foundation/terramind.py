"""TerraMind (Jakubik et al. 2025): Sentinel-1 and Sentinel-2 as modalities, as terratorch has it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seg.foundation.backbone import as_map, renamed, taps
from seg.foundation.bands import Scale, standardised
from seg.foundation.packages import imported
from seg.reben.bands import S1_BANDS, S2_BANDS

_MODALITIES = {"S2L2A": (S2_BANDS, "untok_sen2l2a@224"), "S1GRD": (S1_BANDS, "untok_sen1grd@224")}


class TerraMind(nn.Module):
    """TerraMind; see `seg.foundation.backbone.Backbone`.

    Its modalities S2L2A (DN) and S1GRD (dB) are standardised by the statistics of its own data. Tokens of both
    attend to each other and are averaged place by place; a modality that is missing is left out.

    Args:
        variant: Its name in terratorch.
        bands: Names of the input channels.
        options: Arguments of terratorch's ``TerraMindViT``, for a smaller model.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        register = imported("terratorch.models.backbones.terramind.model.terramind_register")
        kinds = [kind for kind, (names, _) in _MODALITIES.items() if set(names) & set(bands)]
        self.net = getattr(register, variant)(modalities=kinds, merge_method="mean", **options)
        self.patch = self.output_stride = 16
        self.widths = (int(self.net.out_channels[-1]),) * 4
        self.scales: dict[str, Scale] = {}
        for names, key in _MODALITIES.values():
            self.scales |= standardised(names, register.v1_pretraining_mean[key], register.v1_pretraining_std[key])

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        rows, columns = (edge // self.patch for edge in pixels_BCHW.shape[-2:])
        layers = self.net(
            {
                kind: pixels_BCHW[:, [bands.index(name) for name in names]]
                for kind, (names, _) in _MODALITIES.items()
                if names[0] in bands
            }
        )
        return [as_map(layers[number], rows, columns) for number in taps(len(layers))]

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        return renamed(tensors, tuple(self.state_dict()), "net.")
