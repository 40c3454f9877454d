"""Weights of foundation models: as their authors publish them, of a file, or of an earlier run."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

from seg.catalogue.hub import fetch
from seg.config.sections import ModelConfig
from seg.errors import CheckpointError, ModelError
from seg.foundation.catalogue import PUBLISHED, find_foundation
from seg.foundation.encoder import FoundationEncoder
from seg.foundation.torch_file import read_torch_file
from seg.foundation.weights import BACKBONE, STEM, fitting, of_authors
from seg.models.published import Published, read_published
from seg.models.stems import BandFit, fit_stem
from seg.models.transfer import Fitted
from seg.models.weights_bands import Evidence
from seg.models.weights_catalogue import TENSORS, encoder_file, published_file, run_checkpoint
from seg.reben.bands import of_sensor


def fit_foundation(
    encoder: FoundationEncoder, config: ModelConfig, sensor: str | None, notify: Callable[[str], None]
) -> tuple[Published, Fitted]:
    """Weights for the encoder of a foundation model, in its shapes.

    Args:
        encoder: The encoder.
        config: Says which weights.
        sensor: ``s1`` or ``s2`` for the encoder of that sensor, where there are two; None for the only one.
        notify: Is told what is fetched.

    Returns:
        The weights as they were found, and what they give to the encoder.

    Raises:
        ModelError, CheckpointError: If they cannot be fetched or read, or are for another encoder.
    """
    assert config.weights is not None
    if config.weights == PUBLISHED:
        path, revision = _fetched(config.encoder, notify)
        return _of_file(encoder, path, config.encoder, revision)
    place = published_file(config.weights, config.encoder, encoder.bands)
    assert isinstance(place, Path), "weights of other encoders have been refused"
    if run_checkpoint(place) is None:
        return _of_file(encoder, encoder_file(place), config.encoder, None)
    published = read_published(place, config.weights_bands, sensor, config.weights)
    return published, _of_run(encoder, published, config.encoder, sensor)


def _fetched(name: str, notify: Callable[[str], None]) -> tuple[Path, str]:
    """The file that the authors of a model publish, checked, and the commit that it is of."""
    weights = find_foundation(name).weights
    assert weights is not None, "that nobody publishes any has been said"
    how = f"and pass it with --weights /path/{weights.file}"
    path = fetch(weights.repository, weights.file, weights.revision, how, notify)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(weights.digest):
        raise CheckpointError(
            f"{path} is not the file that its authors have published: its SHA-256 begins with {digest[:8]} instead of "
            f"{weights.digest}; delete it, and it is fetched again"
        )
    return path, path.parent.name


def _of_file(encoder: FoundationEncoder, path: Path, name: str, revision: str | None) -> tuple[Published, Fitted]:
    found = load_file(path) if path.suffix == TENSORS else read_torch_file(path)
    published = Published(path.name, found, Evidence(), revision=revision)
    tensors, unused = of_authors(encoder, found, published.source, name)
    return published, Fitted(tensors, BandFit.between(encoder.bands, encoder.bands), None, unused, {})


def _of_run(encoder: FoundationEncoder, published: Published, name: str, sensor: str | None) -> Fitted:
    card, tensors = published.card, dict(published.tensors)
    assert card is not None
    if not any(key.startswith(BACKBONE) for key in tensors):
        raise ModelError(f"{published.source} is for another encoder than '{name}'; name --encoder {card.encoder}")
    known = card.bands if sensor is None or card.fusion == "stack" else of_sensor(card.bands, sensor)
    if STEM in tensors:
        tensors[STEM] = fit_stem(tensors[STEM], known, encoder.bands)
    # Statistics belong to bands, and the encoder has those of its own.
    tensors = {key: value for key, value in tensors.items() if key not in ("mean_C", "std_C")}
    fitted = fitting(encoder, tensors, published.source, name)
    unused = tuple(key for key in tensors if key not in fitted)
    return Fitted(fitted, BandFit.between(known, encoder.bands), None, unused, {})
