"""What each family of foundation models is turned into, and what several of them need for it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from seg.foundation.bands import Scale

DEPTHS = 4
"""From how many depths of a model features are taken: a quarter, a half, three quarters of it, and all."""


class Backbone(Protocol):
    """A foundation model as the encoder uses it; a `torch.nn.Module`.

    Attributes:
        patch: Pixels by which the edges of its images must be divisible.
        widths: Channels of its features, shallow to deep.
        output_stride: The same as `patch`: by this attribute the part of an encoder is found that can be frozen.
        scales: How each band comes to the values that it was trained on.
    """

    patch: int
    widths: tuple[int, ...]
    output_stride: int
    scales: Mapping[str, Scale]

    def __call__(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        """Features of `DEPTHS` depths, shallow to deep, each (B, width, rows, columns).

        Args:
            pixels_BCHW: Bands in the values that the model was trained on, edges divisible by `patch`.
            bands: Their names, in order: those that the encoder was built for, or those of one of their sensors.
        """
        ...

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a published file by the names of this module's state dict; what it has no place for is left out.

        Args:
            tensors: By the names of the file.
        """
        ...


def taps(depth: int) -> list[int]:
    """The blocks after which features are taken, from 0.

    Args:
        depth: Number of blocks.
    """
    return [-(-depth * part // DEPTHS) - 1 for part in range(1, DEPTHS + 1)]


def run_blocks(blocks: nn.ModuleList, tokens_BND: Tensor, prefix: int, rows: int, columns: int) -> list[Tensor]:
    """Run a vision transformer block by block and lay its tokens out as maps.

    Args:
        blocks: The blocks.
        tokens_BND: Their input.
        prefix: How many tokens stand before those of the image.
        rows, columns: The grid of the image's tokens.
    """
    wanted = set(taps(len(blocks)))
    maps = []
    for number, block in enumerate(blocks):
        tokens_BND = block(tokens_BND)
        if number in wanted:
            maps.append(as_map(tokens_BND[:, prefix:], rows, columns))
    return maps


def as_map(tokens_BND: Tensor, rows: int, columns: int) -> Tensor:
    """Tokens row by row as a map (B, D, rows, columns).

    Here and in the models of a family, sizes are those of `shape`: what `len` gives is a constant of the network in an
    ONNX file.
    """
    return tokens_BND.transpose(1, 2).reshape(tokens_BND.shape[0], -1, rows, columns)


def positions(embedding_1ND: Tensor, rows: int, columns: int) -> Tensor:
    """Position embeddings with one prefix token for another grid than the square one that they were learned on."""
    edge = round((embedding_1ND.shape[1] - 1) ** 0.5)
    if (rows, columns) == (edge, edge):
        return embedding_1ND
    resampled: Tensor = resample_abs_pos_embed(embedding_1ND, [rows, columns], [edge, edge], num_prefix_tokens=1)
    return resampled


def renamed(tensors: Mapping[str, Tensor], wanted: Sequence[str], prefix: str) -> dict[str, Tensor]:
    """Those of the tensors that a module has under a name with a prefix.

    Args:
        tensors: By the names of a file.
        wanted: Names in the module's state dict.
        prefix: What the module's names have before those of the file.
    """
    return {prefix + name: value for name, value in tensors.items() if prefix + name in wanted}
