"""Published tensors into an encoder: names matched across libraries, first layers by band, grids resampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from torch import Tensor, nn

from seg.config.wording import clipped
from seg.errors import ModelError
from seg.models.published import Published
from seg.models.stems import BandFit, find_stems, fit_stem
from seg.models.weights_bands import InputBands

_RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What published weights give to an encoder.

    Attributes:
        tensors: By the names of the encoder's state dict, in its shapes.
        bands: How the input bands fit.
        inputs: The input bands of the published weights; None if their first layer was not taken.
        unused: Published tensors that the encoder has no place for.
        stems: Those of its first layers, by their published names.
    """

    tensors: Mapping[str, Tensor]
    bands: BandFit
    inputs: InputBands | None
    unused: tuple[str, ...]
    stems: Mapping[str, Tensor]


def fit_encoder(encoder: nn.Module, name: str, bands: Sequence[str], edge: int, published: Published) -> Fitted:
    """Published weights in the shapes of an encoder.

    Names are compared without the prefixes that wrappers add, and without telling dots from underscores, because timm
    flattens the names of a network of which only features are wanted.

    Args:
        encoder: An encoder of smp.
        name: Its name, for errors.
        bands: Its bands, in order.
        edge: Edge of an image that it takes, pixels.
        published: The weights.

    Raises:
        ModelError: If they are for another encoder, or nothing fits.
    """
    source = {_plain(key): key for key in published.tensors}
    state = encoder.state_dict()
    shared = [key for key in state if _plain(key) in source]
    if not shared:
        example = clipped(next(iter(published.tensors), "nothing"))
        raise ModelError(
            f"{published.source} holds nothing that fits encoder '{name}': its tensors are named like '{example}'"
        )
    stems = find_stems(encoder, len(bands), edge)
    if not stems:
        raise ModelError(
            f"encoder '{name}' mixes its bands before the first convolution, so weights cannot be fitted to bands by "
            "name; use --weights none or another encoder"
        )
    learned = {key for key, _ in encoder.named_parameters()} | {key for key in state if key.endswith(_RUNNING)}
    if lacking := [key for key in state if key in learned and _plain(key) not in source]:
        raise _other_encoder(published, name, f"it lacks '{lacking[0]}' and {len(lacking) - 1} more")
    tensors: dict[str, Tensor] = {}
    fit = BandFit.between(bands, bands)
    inputs: InputBands | None = None
    # First layers come last: which bands they see is asked only of weights that are right otherwise.
    for key in sorted(shared, key=lambda key: key in stems):
        value = _finite(published, source[_plain(key)])
        wanted = state[key]
        if key in stems:
            if value.ndim == wanted.ndim:
                inputs = published.bands_for(value.shape[1])
                fit = BandFit.between(inputs.names, bands)
                value = fit_stem(value, inputs.names, bands)
        elif value.shape != wanted.shape and key in learned:
            value = _on_other_grid(encoder, key, value, wanted)
        if value.shape == wanted.shape:
            tensors[key] = value.to(wanted.dtype)
        elif key in learned:
            shapes = f"'{key}' has shape {tuple(value.shape)} instead of {tuple(wanted.shape)}"
            raise _other_encoder(published, name, shapes)
    taken = {_plain(key) for key in shared}
    unused = tuple(key for key in published.tensors if _plain(key) not in taken)
    return Fitted(tensors, fit, inputs, unused, {source[_plain(key)]: tensors[key] for key in stems})


def _finite(published: Published, name: str) -> Tensor:
    value = published.tensors[name]
    if value.is_floating_point() and not value.isfinite().all():
        raise ModelError(
            f"{published.source} holds values that are not finite in '{name}', so no training can start from it; fetch "
            "it again or take other weights"
        )
    return value


def _plain(name: str) -> str:
    while name.startswith("model."):
        name = name.removeprefix("model.")
    return name.replace(".", "_")


def _other_encoder(published: Published, name: str, reason: str) -> ModelError:
    made_for = f"--encoder {published.card.encoder}" if published.card else "--encoder, as the one it was made for"
    return ModelError(f"{published.source} is for another encoder than '{name}': {reason}; name {made_for}")


def _on_other_grid(encoder: nn.Module, key: str, value: Tensor, wanted: Tensor) -> Tensor:
    """Position embeddings for images of another size; anything else as it is."""
    if key.endswith("pos_embed") and value.ndim == wanted.ndim == 3 and value.shape[2] == wanted.shape[2]:
        inner = getattr(encoder, "model", encoder)
        prefix = int(getattr(inner, "num_prefix_tokens", 0))
        edge = round((wanted.shape[1] - prefix) ** 0.5)
        resampled: Tensor = resample_abs_pos_embed(value, [edge, edge], num_prefix_tokens=prefix)
        return resampled
    if key.endswith("relative_position_bias_table") and value.shape[1:] == wanted.shape[1:]:
        window: Any = encoder.get_submodule(key.rpartition(".")[0]).window_size
        resized: Tensor = resize_rel_pos_bias_table(value, new_window_size=window, new_bias_shape=wanted.shape)
        return resized
    return value
