"""The card of a checkpoint: what its weights are. Without torch, so that a wrong one is refused before it is loaded."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from seg.config.section import Section
from seg.config.sections import Fusion, ModelConfig
from seg.config.terms import NO_ENCODER, network_name
from seg.errors import CheckpointError
from seg.models.weights_file import CARD_FILE, WEIGHTS_FILE
from seg.own.code import is_in_file
from seg.reben.bands import PATCH_SIZE, band_names
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES, class_index
from seg.store.atomic import read_folder

FORMAT, FORMAT_CONTEXT, FORMAT_PLAIN = 5, 4, 3
"""Version of the card's layout, of one without code, and of one without a context either. 5 brought networks of one's
own, 4 the context, 3 `fusion`. Newer ones are refused."""


def _defined(score: Any) -> Any:
    return None if isinstance(score, float) and math.isnan(score) else score


class Data(Section):
    """What the weights were trained on.

    Attributes:
        fingerprint: Of the store.
        synthetic: Whether it is made up; such weights are for trying out the tool only.
        train_patches: Number of patches of the train split.
    """

    fingerprint: str
    synthetic: bool
    train_patches: Annotated[int, Field(ge=0)]


class Training(Section):
    """When in the training run the weights were saved.

    Attributes:
        epoch: From 0.
        step: Optimiser steps done.
        monitor: Name of the validation score that chooses the best epoch.
        score: Its value; None where it is undefined (NaN becomes None).
    """

    epoch: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=0)]
    monitor: str
    score: Annotated[float | None, BeforeValidator(_defined)]


class ModelCard(Section):
    """Everything that is needed to use weights, but for the weights.

    Attributes:
        format: Version of this layout.
        seg_version: Version of seg that wrote it.
        arch, encoder, fusion, scene_head, dropout: As in `ModelConfig`.
        code: SHA-256 of the file beside the card that builds the network, in hexadecimal digits. None: seg or an
            installed package builds it.
        bands: Input channels by name, in order.
        mean, std: Statistics by which each band is normalised, in its unit.
        resampling: How 20 m and 60 m bands come onto the 10 m grid.
        context: Pixels of 10 m around a patch that the network sees of its neighbours.
        classes: Output channels by name, in order.
        parameters: Number of learned values.
        data: What the weights were trained on.
        training: When they were saved; None before training.
        thresholds: Probability above which each class counts as present in the scene, fitted on validation; in the
            order of `classes`. None: not fitted.
        temperature: What pixel logits are divided by to be calibrated, fitted on validation. None: not fitted.
    """

    format: Annotated[int, Field(ge=1, le=FORMAT)] = FORMAT
    seg_version: str
    arch: str
    encoder: str
    code: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    fusion: Fusion = "stack"
    scene_head: Literal["masked", "derived", "learned", "none"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    resampling: Literal["bilinear", "nearest"]
    context: Annotated[int, Field(ge=0, le=PATCH_SIZE)] = 0
    classes: tuple[str, ...] = CLASS_NAMES
    parameters: Annotated[int, Field(ge=0)]
    data: Data
    training: Training | None = None
    thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    temperature: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        band_names(",".join(self.bands))
        for name in self.classes:
            class_index(name)
        if sorted(self.classes) != sorted(CLASS_NAMES):
            raise ValueError(f"the classes are not the {NUM_CLASSES} of reBEN, each once")
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(f"{len(self.bands)} bands have {len(self.mean)} means and {len(self.std)} deviations")
        if self.thresholds is not None and len(self.thresholds) != NUM_CLASSES:
            raise ValueError(f"{NUM_CLASSES} classes have {len(self.thresholds)} thresholds")
        if (self.code is not None) != is_in_file(self.arch) or (self.code and self.encoder != NO_ENCODER):
            raise ValueError("a network of one's own has FILE.py:NAME, the hash of that file, and the encoder 'none'")
        return self

    def source(self, run: str) -> str:
        """What weights of a run are called where another one begins with them."""
        return f"run {run}" + ", trained on SYNTHETIC data" * bool(self.data.synthetic)

    @property
    def calibration(self) -> float:
        """The temperature; 1 if none was fitted."""
        return self.temperature or 1.0

    @property
    def named(self) -> str:
        """What the network is called in tables."""
        return network_name(self.arch, self.encoder)

    def to_json(self) -> str:
        """The text of ``card.json``; without a context or code it says nothing of it, as before there was any."""
        absent = {name for name in ("context", "code") if not getattr(self, name)}
        return self.model_dump_json(indent=2, exclude=absent) + "\n"

    def network(self) -> ModelConfig:
        """The configuration of the network, without pretrained weights."""
        return ModelConfig(
            arch=self.arch,
            encoder=self.encoder,
            code=self.code,
            fusion=self.fusion,
            scene_head=self.scene_head,
            dropout=self.dropout,
        )


def check_checkpoint(folder: Path) -> ModelCard:
    """The card of a checkpoint whose weights are there and whole, as far as the head of their file tells.

    Raises:
        CheckpointError: If card or weights are missing or damaged, or a newer seg wrote them.
        OSError: If the folder is replaced faster than it can be read.
    """

    def look(place: Path) -> ModelCard:
        card = read_card(place)
        require_tensors(place)
        return card

    return read_folder(folder, look)


def require_tensors(folder: Path) -> None:
    """Refuse a checkpoint without weights, or with such whose head does not fit the size of their file.

    Raises:
        CheckpointError: With the cure.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} has a card but no {WEIGHTS_FILE}; copy the checkpoint again")
    read_metadata(path, "copy the checkpoint again")


def read_metadata(path: Path, cure: str) -> dict[str, str]:
    """What the head of a file of tensors says of it; the tensors are not read.

    Raises:
        CheckpointError: If the head is damaged, or does not fit the size of the file.
    """
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); {cure}") from None


def read_card(folder: Path) -> ModelCard:
    """The card in a folder that nobody replaces meanwhile, as it was written.

    Raises:
        CheckpointError: If there is none, it is damaged, or a newer seg wrote it.
    """
    path = folder / CARD_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {CARD_FILE}; give a folder such as RUN/checkpoints/best"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy the checkpoint again") from None
    return card_of(document, str(path), "give a folder such as RUN/checkpoints/best")


def card_of(document: Any, path: str, cure: str) -> ModelCard:
    """A card from JSON.

    Args:
        document: What JSON gives.
        path: Where it stands.
        cure: What to do if it is no card.

    Raises:
        CheckpointError: If it is damaged, or a newer seg wrote it.
    """
    written = document.get("format") if isinstance(document, dict) else None
    if not isinstance(written, int):
        raise CheckpointError(f"{path} is no card of a checkpoint; {cure}")
    if written > FORMAT:
        raise CheckpointError(
            f"{path} has format {written}, but this seg knows formats up to {FORMAT}; install seg "
            f"{document.get('seg_version', 'of its time')} or newer"
        )
    try:
        return ModelCard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["ctx"]["error"] if first["type"] == "value_error" else first["msg"]
        raise CheckpointError(f"{path} cannot be used: {where}{': ' if where else ''}{reason}") from None
