"""CROMA (Fuller et al. 2023): an encoder for each sensor and one for both, as torchgeo has it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seg.foundation.backbone import as_map, renamed, taps
from seg.foundation.bands import standardised_as_published, within_deviations
from seg.foundation.packages import imported
from seg.reben.bands import BANDS, S1_BANDS, S2_BANDS

_SENSORS = {"sar": S1_BANDS, "optical": S2_BANDS}
_SIZES = {"base": {"encoder_dim": 768, "encoder_depth": 12}, "large": {"encoder_dim": 1024, "encoder_depth": 24}}


class Croma(nn.Module):
    """CROMA; see `seg.foundation.backbone.Backbone`.

    As its authors prepare a data set, bands go from two deviations below the mean of reBEN to two above it onto 0 to 1.
    Where an image has both sensors, features are those of Sentinel-2 half way and at its end, and of both sensors half
    way and at the end; else those of the one sensor's encoder.

    Args:
        variant: ``base`` or ``large``.
        bands: Names of the input channels.
        options: Arguments of torchgeo's ``CROMA``, for a smaller model.
    """

    def __init__(self, variant: str, bands: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        kinds = [kind for kind, names in _SENSORS.items() if set(names) & set(bands)]
        settings = {**_SIZES[variant], **options}
        # The biases of attention are made here, for images of any size; torchgeo's takes a minute for a large one.
        self.net = imported("torchgeo.models.croma").CROMA(modalities=kinds, patch_size=8, image_size=8, **settings)
        del self.net.attn_bias
        # Pooled features are not wanted.
        for name in ("s1_GAP_FFN", "s2_GAP_FFN"):
            if hasattr(self.net, name):
                setattr(self.net, name, nn.Identity())
        self.patch = self.output_stride = 8
        self.widths = (int(self.net.encoder_dim),) * 4
        self.scales = within_deviations(standardised_as_published(bands), bounded=True)

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        rows, columns = (edge // self.patch for edge in pixels_BCHW.shape[-2:])
        bias = attention_bias(self.net.num_heads, rows, columns, pixels_BCHW.device)
        seen = {BANDS[name].sensor for name in bands}
        encoders = {sensor: getattr(self.net, f"{sensor}_encoder") for sensor in ("s1", "s2") if sensor in seen}
        layers = {
            sensor: self._encode(encoder, pixels_BCHW[:, [bands.index(name) for name in names]], bias)
            for (sensor, encoder), names in zip(
                encoders.items(), (S1_BANDS if sensor == "s1" else S2_BANDS for sensor in encoders), strict=True
            )
        }
        if len(layers) == 1:
            (only,) = layers.values()
            chosen = [only[number] for number in taps(len(only))]
        else:
            radar, optical = layers["s1"], layers["s2"]
            joint = self._join(radar[-1], optical[-1], bias)
            chosen = [optical[len(optical) // 2 - 1], optical[-1], joint[len(joint) // 2 - 1], joint[-1]]
        return [as_map(tokens_BND, rows, columns) for tokens_BND in chosen]

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `seg.foundation.backbone.Backbone`."""
        return renamed(tensors, tuple(self.state_dict()), "net.")

    def _encode(self, encoder: Any, pixels_BCHW: Tensor, bias: Tensor) -> list[Tensor]:
        """Tokens after each block of one sensor's encoder, the last ones normalised."""
        patch = self.patch
        # (B, C, rows, patch, columns, patch) to (B, rows x columns, C x patch x patch)
        count, bands, height, width = pixels_BCHW.shape
        cells = pixels_BCHW.reshape(count, bands, height // patch, patch, width // patch, patch)
        tokens_BND = encoder.linear_input(cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))
        outputs = []
        for attention, feed_forward in encoder.transformer.layers:
            tokens_BND = _attend(attention, tokens_BND, bias) + tokens_BND
            tokens_BND = feed_forward(tokens_BND) + tokens_BND
            outputs.append(tokens_BND)
        return [*outputs[:-1], encoder.transformer.norm_out(outputs[-1])]

    def _join(self, radar_BND: Tensor, optical_BND: Tensor, bias: Tensor) -> list[Tensor]:
        outputs = []
        tokens_BND = radar_BND
        for attention, crossing, feed_forward in self.net.joint_encoder.layers:
            tokens_BND = _attend(attention, tokens_BND, bias) + tokens_BND
            tokens_BND = _attend_to(crossing, tokens_BND, optical_BND, bias) + tokens_BND
            tokens_BND = feed_forward(tokens_BND) + tokens_BND
            outputs.append(tokens_BND)
        return [*outputs[:-1], self.net.joint_encoder.norm_out(outputs[-1])]


def attention_bias(heads: int, rows: int, columns: int, device: torch.device) -> Tensor:
    """What CROMA adds to attention: the distance between two patches, times a slope for each head (2D-ALiBi).

    Args:
        heads: How many; a power of two.
        rows, columns: Patches along the edges of an image.
        device: Where it is needed.

    Returns:
        float32 (1, heads, rows x columns, rows x columns).
    """
    down, across = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
    )
    places_N2 = torch.stack((down.flatten(), across.flatten()), 1).float()
    distance_NN = (places_N2[:, None] - places_N2[None]).square().sum(-1).sqrt()
    slopes_H = 2.0 ** (-8 / heads * torch.arange(1, heads + 1, device=device))
    return -(slopes_H[:, None, None] * distance_NN)[None]


def _attend(layer: Any, tokens_BND: Tensor, bias: Tensor) -> Tensor:
    """Self-attention of torchgeo's layers, through torch's kernels."""
    query, key, value = layer.to_qkv(layer.input_norm(tokens_BND)).chunk(3, -1)
    return _attention(layer, query, key, value, bias)


def _attend_to(layer: Any, tokens_BND: Tensor, context_BND: Tensor, bias: Tensor) -> Tensor:
    """Its cross-attention."""
    context_BND = layer.input_norm(context_BND)
    query = layer.to_q(layer.input_norm(tokens_BND))
    return _attention(layer, query, layer.to_k(context_BND), layer.to_v(context_BND), bias)


def _attention(layer: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    count, tokens, width = query.shape
    shape = (count, tokens, layer.num_heads, width // layer.num_heads)
    q, k, v = (each.reshape(shape).transpose(1, 2) for each in (query, key, value))
    # Biases are float32; under autocast the rest is not.
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(query.dtype))
    out: Tensor = layer.to_out(mixed.transpose(1, 2).flatten(2))
    return out
