"""Prithvi-EO (Szwarcman et al. 2024): six bands of HLS, as terratorch has it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seg.foundation.backbone import as_map, renamed, taps
from seg.foundation.bands import standardised
from seg.foundation.packages import imported

PRITHVI_BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")
"""Blue, green, red, narrow near infrared and both short-wave infrareds, in the order of its weights."""


class Prithvi(nn.Module):
    """Prithvi-EO for one date; see `seg.foundation.backbone.Backbone`.

    HLS holds reflectance x 10,000 as reBEN does, and bands are standardised by the statistics of Prithvi's own data.
    Date and place are not told to it: its models with both do without them as they do in training, where they are left
    out at random.

    Args:
        variant: Its name in terratorch.
        bands: Names of the input channels.
        options: Arguments of terratorch's ``PrithviViT``, for a smaller model.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        package = imported("terratorch.models.backbones.prithvi_vit")
        settings = {**package.prithvi_cfgs[variant], "num_frames": 1, "coords_encoding": [], **options}
        self.net = package.PrithviViT(**settings)
        self.patch = self.output_stride = int(settings["patch_size"][-1])
        self.widths = (int(settings["embed_dim"]),) * 4
        self.scales = standardised(PRITHVI_BANDS, settings["mean"], settings["std"])

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        rows, columns = (edge // self.patch for edge in pixels_BCHW.shape[-2:])
        layers = self.net.forward_features(pixels_BCHW[:, [bands.index(name) for name in PRITHVI_BANDS]])
        return [as_map(layers[number][:, 1:], rows, columns) for number in taps(len(layers))]

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`; position embeddings are computed, for one date."""
        named = {name.removeprefix("encoder."): value for name, value in tensors.items()}
        named.pop("pos_embed", None)
        return renamed(named, tuple(self.state_dict()), "net.")
