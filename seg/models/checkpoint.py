"""Self-describing weights: a folder with ``model.safetensors`` and ``card.json``, replaced as a whole or not at all."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seg.config.paths import AnyPath
from seg.config.sections import Fusion, ModelConfig, Section
from seg.config.version import VERSION
from seg.errors import CheckpointError, ModelError
from seg.models.segmenter import Segmenter, build_segmenter, count_parameters
from seg.models.weights_file import CARD_FILE, STATE_FILES, WEIGHTS_FILE
from seg.reben.bands import band_names
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES, class_index
from seg.store.atomic import read_folder, replace_folder

FORMAT = 3
"""Version of the card's layout; 3 brought `fusion`. One that is newer than this is refused."""


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
        bands: Input channels by name, in order.
        mean, std: Statistics by which each band is normalised, in its unit.
        resampling: How 20 m and 60 m bands come onto the 10 m grid.
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
    fusion: Fusion = "stack"
    scene_head: Literal["derived", "learned", "none"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    resampling: Literal["bilinear", "nearest"]
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
        return self

    @property
    def calibration(self) -> float:
        """The temperature; 1 if none was fitted."""
        return self.temperature or 1.0

    def network(self) -> ModelConfig:
        """The configuration of the network, without pretrained weights."""
        return ModelConfig(
            arch=self.arch,
            encoder=self.encoder,
            fusion=self.fusion,
            scene_head=self.scene_head,
            dropout=self.dropout,
        )


def make_card(
    model: Segmenter,
    statistics: Sequence[tuple[float, float]],
    resampling: Literal["bilinear", "nearest"],
    data: Data,
    training: Training | None = None,
    thresholds: Sequence[float] | None = None,
) -> ModelCard:
    """The card of a network.

    Args:
        model: The network.
        statistics: Mean and standard deviation of each of its bands, in their order and unit.
        resampling: How 20 m and 60 m bands come onto the 10 m grid.
        data: What it is trained on.
        training: When its weights are saved.
        thresholds: Scene thresholds of the classes.
    """
    return ModelCard(
        seg_version=VERSION,
        arch=model.config.arch,
        encoder=model.config.encoder,
        fusion=model.config.fusion,
        scene_head=model.config.scene_head,
        dropout=model.config.dropout,
        bands=model.bands,
        mean=tuple(mean for mean, _ in statistics),
        std=tuple(std for _, std in statistics),
        resampling=resampling,
        parameters=count_parameters(model),
        data=data,
        training=training,
        thresholds=None if thresholds is None else tuple(thresholds),
    )


def save_checkpoint(
    folder: Path, model: nn.Module, card: ModelCard, write_more: Callable[[Path], None] | None = None
) -> None:
    """Write a checkpoint, replacing the one that the folder holds.

    The weights are written bit for bit, in whatever memory format they are. One process at a time may write to a
    folder; others may read it meanwhile.

    Args:
        folder: Where; made if need be, else it must be a checkpoint or empty.
        model: The weights.
        card: Their card.
        write_more: Writes further files into the folder it is given, which become visible together with the weights.

    Raises:
        CheckpointError: If the folder holds something else, or the disk does not take the files; an earlier checkpoint
            then stays as it was.
    """
    text = card.model_dump_json(indent=2) + "\n"
    ModelCard.model_validate_json(text)  # a card made by `model_copy` has not been checked yet

    def write(into: Path) -> None:
        # A copy each, because safetensors takes neither tensors that share memory nor channels-last ones.
        tensors = {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in model.state_dict().items()
        }
        save_file(tensors, into / WEIGHTS_FILE)
        (into / CARD_FILE).write_text(text, encoding="utf-8")
        if write_more is not None:
            write_more(into)

    try:
        if folder.exists() and not (folder / CARD_FILE).is_file() and any(folder.iterdir()):
            raise CheckpointError(f"{folder} holds files but no checkpoint; choose another folder, or empty it")
        replace_folder(folder, write, (WEIGHTS_FILE, CARD_FILE, *STATE_FILES))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint {folder} cannot be written ({error}); free space there, or choose another --out"
        ) from error


def load_card(folder: Path) -> ModelCard:
    """The card of a checkpoint, as it was written.

    Raises:
        CheckpointError: If there is none, it is damaged, or a newer seg wrote it.
        OSError: If it is replaced faster than it can be read.
    """
    return read_folder(folder, _read_card)


def load_checkpoint(folder: AnyPath, device: str | torch.device = "cpu") -> tuple[Segmenter, ModelCard]:
    """The network of a checkpoint, in evaluation mode, and its card. Nothing is downloaded and no code is unpickled.

    If the card names the classes in another order, the weights are reordered; the card that is returned, thresholds
    included, has the order of `CLASS_NAMES`.

    Args:
        folder: Folder with ``model.safetensors`` and ``card.json``.
        device: Where the network is to be.

    Raises:
        CheckpointError: If anything is missing, damaged or does not fit, or a newer seg wrote it.
        OSError: If it is replaced faster than it can be read.
    """
    folder = Path(folder)
    card, tensors = _read(folder)
    try:
        model = build_segmenter(card.network(), card.bands)
    except ModelError as error:
        raise CheckpointError(f"the network of {folder} cannot be built: {error}") from error
    _fill(model, _in_order(tensors, card, model.class_tensors()), folder)
    return model.to(device).eval(), _in_class_order(card)


def load_weights(model: nn.Module, folder: Path) -> ModelCard:
    """Put the weights of a checkpoint into a network that exists.

    Args:
        model: Built as the one that was saved; stays on its device and in its mode.
        folder: Folder with ``model.safetensors`` and ``card.json``.

    Returns:
        The card.

    Raises:
        CheckpointError: As `load_checkpoint`, and if the classes are in another order.
    """
    card, tensors = _read(folder)
    if card.classes != CLASS_NAMES:
        raise CheckpointError(f"the classes of {folder} are in another order; load it with load_checkpoint")
    _fill(model, tensors, folder)
    return card


def read_checkpoint(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and tensors of a checkpoint as they are, without its network; both in the order of `CLASS_NAMES`.

    Raises:
        CheckpointError: If anything is missing or damaged, or a newer seg wrote it.
    """
    card, tensors = _read(folder)
    heads = [name for name in tensors if name.startswith(("network.segmentation_head.", "scene_head."))]
    return _in_class_order(card), _in_order(tensors, card, heads)


def _read(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    return read_folder(folder, lambda place: (_read_card(place), _read_tensors(place)))


def _read_card(folder: Path) -> ModelCard:
    path = folder / CARD_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {CARD_FILE}; give a folder such as RUN/checkpoints/best"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy the checkpoint again") from None
    written = document.get("format") if isinstance(document, dict) else None
    if not isinstance(written, int):
        raise CheckpointError(f"{path} is no card of a checkpoint; give a folder such as RUN/checkpoints/best")
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


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} has a card but no {WEIGHTS_FILE}; copy the checkpoint again")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy the checkpoint again") from None


def _in_order(tensors: dict[str, Tensor], card: ModelCard, of_classes: list[str]) -> dict[str, Tensor]:
    """The tensors with the rows that belong to classes in the order of `CLASS_NAMES`."""
    if card.classes == CLASS_NAMES:
        return tensors
    rows = torch.tensor([card.classes.index(name) for name in CLASS_NAMES])
    return {
        name: tensor[rows] if name in of_classes and len(tensor) == NUM_CLASSES else tensor
        for name, tensor in tensors.items()
    }


def _in_class_order(card: ModelCard) -> ModelCard:
    thresholds = card.thresholds and tuple(card.thresholds[card.classes.index(name)] for name in CLASS_NAMES)
    return card.model_copy(update={"classes": CLASS_NAMES, "thresholds": thresholds})


def _fill(model: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Copy tensors into a network that has exactly these names and shapes."""
    wanted = model.state_dict()
    problems = [f"it lacks '{name}'" for name in wanted if name not in tensors]
    problems += [f"'{name}' has no place in the network" for name in tensors if name not in wanted]
    problems += [
        f"'{name}' has shape {tuple(tensors[name].shape)}, but the network's is {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} does not fit its card ({problems[0]}{more}); the files are of different "
            "checkpoints, or smp or timm have another version than when it was saved"
        )
    model.load_state_dict(tensors)
