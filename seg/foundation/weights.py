"""Tensors that were found somewhere, as the encoder of a foundation model takes them."""

from collections.abc import Mapping

from torch import Tensor

from seg.errors import ModelError
from seg.foundation.encoder import FoundationEncoder

BACKBONE = "backbone."
"""How the names of the model's tensors begin in the encoder."""
STEM = "pyramid.stem.0.0.weight"
"""The convolution of the encoder that sees the bands themselves."""


def of_authors(
    encoder: FoundationEncoder, found: Mapping[str, Tensor], source: str, name: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """What the tensors of a file, named as the authors of a model name them, give to an encoder.

    Args:
        encoder: The encoder.
        found: The tensors.
        source: What they are, for errors.
        name: That of the encoder.

    Returns:
        Tensors by the names of the encoder, and the names of those that have no place in it: what reconstructs images
        in training.

    Raises:
        ModelError: If they are for another model, or leave a part of this one to chance.
    """
    tensors = {f"{BACKBONE}{key}": value for key, value in encoder.backbone.published(found).items()}
    unused = tuple(key for key in found if not any(each.endswith(key.removeprefix("encoder.")) for each in tensors))
    return fitting(encoder, tensors, source, name), unused


def fitting(encoder: FoundationEncoder, tensors: Mapping[str, Tensor], source: str, name: str) -> dict[str, Tensor]:
    """Those of the tensors that the encoder has, all in its shapes and with every learned value of the model.

    Args:
        encoder, source, name: As of `of_authors`.
        tensors: By the names of the encoder.

    Raises:
        ModelError: As `of_authors`.
    """
    learned = [f"{BACKBONE}{key}" for key, _ in encoder.backbone.named_parameters()]
    if lacking := [key for key in learned if key not in tensors]:
        raise ModelError(
            f"{source} is for another encoder than '{name}': it lacks '{lacking[0].removeprefix(BACKBONE)}' and "
            f"{len(lacking) - 1} more; name --encoder, as the one it was made for"
        )
    fitted = {}
    for key, wanted in encoder.state_dict().items():
        if key not in tensors:
            continue
        value = tensors[key]
        if value.shape != wanted.shape:
            raise ModelError(
                f"{source} is for another encoder than '{name}': '{key}' has shape {tuple(value.shape)} instead of "
                f"{tuple(wanted.shape)}; name --encoder, as the one it was made for"
            )
        if not value.isfinite().all():
            raise ModelError(
                f"{source} holds values that are not finite in '{key}', so no training can start from it; fetch it "
                "again or take other weights"
            )
        fitted[key] = value.to(wanted.dtype)
    return fitted
