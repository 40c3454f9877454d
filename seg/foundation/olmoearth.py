"""OlmoEarth (Herzog et al. 2025): Sentinel-1 and Sentinel-2 as modalities, as its own small package has it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seg.foundation.backbone import renamed, taps
from seg.foundation.bands import Scale, within_deviations
from seg.foundation.packages import imported

_PACKAGE = "olmoearth_pretrain_minimal"
_MODALITIES = {
    "sentinel2_l2a": ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09"),
    "sentinel1": ("VV", "VH"),
}
"""Bands in the order of its inputs."""
_DATE = (15, 5, 2017)
"""Day, month from 0 and year: a day of the summer in which reBEN begins. Networks of seg are not told dates."""


class OlmoEarth(nn.Module):
    """OlmoEarth version 1.2 for one date; see `seg.foundation.backbone.Backbone`.

    Its own normaliser takes two deviations below the mean of its data to two above it as 0 to 1, DN and dB, without
    bounds. Tokens of both modalities attend to each other and are averaged place by place; a modality that is missing
    is left out. Every image is said to be of one day in summer.

    Args:
        variant: ``nano``, ``tiny``, ``small`` or ``base``.
        bands: Names of the input channels.
        options: Arguments of ``OlmoEarthPretrain_v1``.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        package = imported(_PACKAGE)
        kinds = [kind for kind, names in _MODALITIES.items() if set(names) & set(bands)]
        settings = {"model_size": variant, "model_version": "v1.2", "supported_modality_names": kinds, **options}
        self.net: Any = package.OlmoEarthPretrain_v1(**settings).model.encoder
        # What pools features to compare images by is not wanted.
        self.net.project_and_aggregate = nn.Identity()
        self.patch = self.output_stride = 8
        self.widths = (int(self.net.embedding_size),) * 4
        table = imported(f"{_PACKAGE}.olmoearth_pretrain_v1.data.normalize").load_computed_config()
        raw: dict[str, Scale] = {}
        for kind, names in _MODALITIES.items():
            known = {name.upper(): Scale(one["mean"], one["std"]) for name, one in table[kind].items()}
            raw |= {name: known[name] for name in names}
        self.scales = within_deviations(raw, bounded=False)
        self._sample = imported(f"{_PACKAGE}.olmoearth_pretrain_v1.utils.datatypes").MaskedOlmoEarthSample

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        count, _, height, width = pixels_BCHW.shape
        rows, columns = height // self.patch, width // self.patch
        given: dict[str, Tensor] = {}
        for kind, names in _MODALITIES.items():
            if names[0] in bands:
                chosen = pixels_BCHW[:, [bands.index(name) for name in names]]
                given[kind] = chosen.permute(0, 2, 3, 1)[:, :, :, None]
                # 0: seen by the encoder; one date, one group of bands.
                given[f"{kind}_mask"] = pixels_BCHW.new_zeros(count, height, width, 1, 1)
        dates_BT3 = torch.tensor([[_DATE]], device=pixels_BCHW.device).expand(count, -1, -1)
        blocks, outputs = self.net.blocks, []
        wanted = taps(len(blocks))
        hooks = [
            blocks[number].register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
            for number in wanted
        ]
        try:
            self.net(self._sample(timestamps=dates_BT3, **given), patch_size=self.patch, fast_pass=True)
        finally:
            for hook in hooks:
                hook.remove()
        outputs[-1] = self.net.norm(outputs[-1])
        return [self._as_map(tokens_BND, rows, columns) for tokens_BND in outputs]

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        named = {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")}
        return renamed(named or tensors, tuple(self.state_dict()), "net.")

    def _as_map(self, tokens_BND: Tensor, rows: int, columns: int) -> Tensor:
        """Tokens of a modality, then those of the other, averaged place by place."""
        parts = tokens_BND.reshape(tokens_BND.shape[0], -1, rows, columns, tokens_BND.shape[-1])
        return parts.mean(1).movedim(-1, 1)
