"""Published weights as tensors of an encoder, whatever layout the file has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from seg.catalogue.hub import fetch
from seg.config.wording import SENTENCE, clipped
from seg.errors import CheckpointError, ModelError
from seg.foundation.torch_file import read_torch_file
from seg.models.card import ModelCard, read_metadata
from seg.models.checkpoint import read_checkpoint
from seg.models.weights_bands import SETTING, Evidence, Family, InputBands, bands_of_id, file_evidence, reben_evidence
from seg.models.weights_catalogue import FETCH, SSL4EO_BANDS, TENSORS, HubFile, encoder_file, run_checkpoint
from seg.models.weights_file import BEST, CARD_FILE
from seg.models.weights_names import SSL4EO, split_weights
from seg.reben.bands import of_sensor
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES

_REBEN_PREFIX = "model.vision_encoder."
"""A Lightning module holds a ConfigILM model, and that one holds timm's network."""


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """Weights as they were found.

    Attributes:
        source: Where they are from, in words.
        tensors: Those of the encoder, by the names of smp or timm, and possibly others.
        evidence: What says the input bands.
        revision: Commit of the hub; None for a file.
        classifier: Names of weight and bias of a scene classifier among the tensors, rows in the order of
            `CLASS_NAMES`; None if there is none.
        network: Tensors of an earlier run of seg beyond its encoder, by their name in a `Segmenter`.
        card: Card of that run.
    """

    source: str
    tensors: Mapping[str, Tensor]
    evidence: Evidence
    revision: str | None = None
    classifier: tuple[str, str] | None = None
    network: Mapping[str, Tensor] = field(default_factory=dict)
    card: ModelCard | None = None

    def bands_for(self, channels: int) -> InputBands:
        """Names of the input bands in order, and what says so.

        Args:
            channels: How many the first layer takes.

        Raises:
            ModelError: If nothing does, or things contradict each other.
        """
        return self.evidence.resolve(channels, self.source)


def read_published(place: Path | HubFile, bands: Sequence[str] | None, sensor: str | None, weights: str) -> Published:
    """Read weights from a file, a folder or the hub.

    Args:
        place: Where they are.
        bands: Their input bands in order, if somebody says so.
        sensor: ``s1`` or ``s2`` for the encoder of that sensor, where there are two; None for the only one.
        weights: What asked for them, as in ``model.weights``.

    Raises:
        ModelError, CheckpointError: If they cannot be read.
    """
    kind, _ = split_weights(weights)
    if isinstance(place, HubFile):
        path = fetch(place.repository, place.file, place.revision, f"and pass it with {_passed(place, kind)}")
        found = _read_file(path, f"{place.file} of {place.repository}", kind, bands, place)
        # The cache keeps each file below the commit it is of.
        return replace(found, revision=path.parent.name)
    if (checkpoint := run_checkpoint(place)) is not None:
        return _read_run(checkpoint, sensor, bands)
    path = encoder_file(place)
    return _read_file(path, path.name, kind, bands)


def _passed(place: HubFile, kind: str) -> str:
    """How a file of the hub is passed once it is on the disk, where nothing but settings tells what its id told."""
    bands = bands_of_id(place.repository)
    told = f" --set {SETTING}={','.join(bands)}" if bands else ""
    return f"--weights {kind}:/path/{place.file}{told}"


def _read_file(
    path: Path, source: str, kind: str, bands: Sequence[str] | None, place: HubFile | None = None
) -> Published:
    """Weights of an encoder, as timm, smp, torchgeo or the reBEN training scripts write them."""
    metadata: Mapping[str, str] = {}
    if path.suffix == TENSORS:
        metadata, tensors = read_metadata(path, FETCH), load_file(path)
        source = clipped(metadata.get("seg_pretraining", source), SENTENCE)
    else:
        tensors = read_torch_file(path)
    if any(key.startswith(_REBEN_PREFIX) for key in tensors):
        evidence = reben_evidence(path, metadata, bands, place.repository if place else None)
        return _reben(tensors, source, evidence)
    families: tuple[Family, ...] = ()
    if place is not None and place.bands is not None:
        families = (Family({len(place.bands): place.bands}, "SSL4EO-S12 as published", binding=True),)
    elif kind == SSL4EO:
        families = (Family(SSL4EO_BANDS, f"SSL4EO-S12, as '{SSL4EO}:' says"),)
    tensors = {key.removeprefix("encoder."): value for key, value in tensors.items()}
    return Published(source, tensors, file_evidence(path, metadata, bands, families))


def _reben(tensors: dict[str, Tensor], source: str, evidence: Evidence) -> Published:
    inner = {key.removeprefix(_REBEN_PREFIX): value for key, value in tensors.items() if key.startswith(_REBEN_PREFIX)}
    classifier = _classifier(inner)
    if classifier is not None:
        # ConfigILM orders the classes by the alphabet.
        alphabetical = sorted(CLASS_NAMES)
        rows = torch.tensor([alphabetical.index(each) for each in CLASS_NAMES])
        inner |= {key: inner[key][rows] for key in classifier}
    return Published(source, inner, evidence, classifier=classifier)


def _classifier(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    for key, value in tensors.items():
        bias = key.removesuffix("weight") + "bias"
        if key.endswith("weight") and value.ndim in (2, 4) and len(value) == NUM_CLASSES and bias in tensors:
            return key, bias
    return None


def _read_run(folder: Path, sensor: str | None, told: Sequence[str] | None) -> Published:
    """The checkpoint of an earlier run."""
    card, tensors = read_checkpoint(folder)
    if told is not None and tuple(told) != card.bands:
        raise ModelError(
            f"{folder} was trained with {','.join(card.bands)}, as its {CARD_FILE} says, not with {SETTING}="
            f"{','.join(told)}; leave {SETTING} out"
        )
    prefix, bands = "network.encoder.", card.bands
    if card.fusion == "dual":
        sensor = sensor or "s2"
        prefix += f"encoders.{sensor}."
        bands = of_sensor(bands, sensor)
    encoder = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    rest = {key: value for key, value in tensors.items() if ".encoders." not in key and not key.startswith(prefix)}
    if not encoder:
        raise CheckpointError(f"{folder} holds no encoder; give the folder of a run of 'seg train'")
    run = folder.parents[1].name if folder.name == BEST else folder.name
    evidence = Evidence(stated=(InputBands(bands, f"its {CARD_FILE}"),))
    return Published(card.source(run), encoder, evidence, network=rest, card=card)
