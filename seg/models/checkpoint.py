"""Self-describing weights: a folder with ``model.safetensors`` and ``card.json``, replaced as a whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seg.config.paths import AnyPath
from seg.config.version import VERSION
from seg.errors import CheckpointError, ModelError
from seg.foundation.encoder import FoundationEncoder
from seg.models.additions import plain_state, put_apart
from seg.models.card import (
    FORMAT,
    FORMAT_CONTEXT,
    FORMAT_PLAIN,
    Data,
    ModelCard,
    Training,
    read_card,
    require_tensors,
)
from seg.models.segmenter import Segmenter, build_segmenter, count_parameters
from seg.models.weights_file import CARD_FILE, STATE_FILES, WEIGHTS_FILE
from seg.own.code import CODE_FILE, code_beside
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.store.atomic import read_folder, replace_folder


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
        format=FORMAT if model.config.own else FORMAT_CONTEXT if model.context else FORMAT_PLAIN,
        seg_version=VERSION,
        arch=model.config.arch,
        encoder=model.config.encoder,
        code=model.code.sha256 if model.code else None,
        fusion=model.config.fusion,
        scene_head=model.config.scene_head,
        dropout=model.config.dropout,
        bands=model.bands,
        mean=tuple(mean for mean, _ in statistics),
        std=tuple(std for _, std in statistics),
        resampling=resampling,
        context=model.context,
        parameters=count_parameters(model),
        data=data,
        training=training,
        thresholds=None if thresholds is None else tuple(thresholds),
    )


def save_checkpoint(
    folder: Path, model: nn.Module, card: ModelCard, write_more: Callable[[Path], None] | None = None
) -> None:
    """Write a checkpoint, replacing the one that the folder holds.

    The weights are written bit for bit, in whatever memory format they are, low-rank additions added up; with them, the
    code that builds a network of one's own. One process at a time may write to a folder; others may read it meanwhile.

    Args:
        folder: Where; made if need be, else it must be a checkpoint or empty.
        model: The weights.
        card: Their card.
        write_more: Writes further files into the folder it is given, which become visible together with the weights.

    Raises:
        CheckpointError: If the folder holds something else, or the disk does not take the files; an earlier checkpoint
            then stays as it was.
    """
    text = card.to_json()
    ModelCard.model_validate_json(text)  # a card made by `model_copy` has not been checked yet

    def write(into: Path) -> None:
        # A copy each, because safetensors takes neither tensors that share memory nor channels-last ones.
        tensors = {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in plain_state(model).items()
        }
        save_file(tensors, into / WEIGHTS_FILE)
        (into / CARD_FILE).write_text(text, encoding="utf-8")
        if isinstance(model, Segmenter) and model.code is not None:
            (into / CODE_FILE).write_bytes(model.code.content)
        if write_more is not None:
            write_more(into)

    try:
        if folder.exists() and not (folder / CARD_FILE).is_file() and any(folder.iterdir()):
            raise CheckpointError(f"{folder} holds files but no checkpoint; choose another folder, or empty it")
        replace_folder(folder, write, (WEIGHTS_FILE, CARD_FILE, CODE_FILE, *STATE_FILES))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint {folder} cannot be written ({error}); free space there, or choose another --out"
        ) from error


def load_checkpoint(folder: AnyPath, device: str | torch.device = "cpu") -> tuple[Segmenter, ModelCard]:
    """The network of a checkpoint, in evaluation mode, and its card. Nothing is downloaded and no code is unpickled.

    Code of a network of one's own is run if it has the hash that the card names, and the user has named it on this
    machine.

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
    code = code_beside(folder, card.arch, card.code) if card.code else None
    try:
        model = build_segmenter(card.network(), card.bands, card.context, code)
    except ModelError as error:
        raise CheckpointError(f"the network of {folder} cannot be built: {error}") from error
    _fill(model, _in_order(tensors, card, model.class_tensors()), folder)
    _require_statistics(model, card, folder)
    return model.to(device).eval(), _in_class_order(card)


def load_weights(model: nn.Module, folder: Path, apart: Mapping[str, Tensor] | None = None) -> ModelCard:
    """Put the weights of a checkpoint into a network that exists.

    Args:
        model: Built as the one that was saved; stays on its device and in its mode.
        folder: Folder with ``model.safetensors`` and ``card.json``.
        apart: Layers that have low-rank additions, and those, see `seg.models.additions.apart_state`; None: none have.

    Returns:
        The card.

    Raises:
        CheckpointError: As `load_checkpoint`, and if the classes are in another order.
    """
    card, tensors = _read(folder)
    if card.classes != CLASS_NAMES:
        raise CheckpointError(f"the classes of {folder} are in another order; load it with load_checkpoint")
    _fill(model, put_apart(tensors, apart or {}), folder)
    return card


def read_checkpoint(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and tensors of a checkpoint as they are, without its network; both in the order of `CLASS_NAMES`.

    Raises:
        CheckpointError: If anything is missing or damaged, or a newer seg wrote it.
    """
    card, tensors = _read(folder)
    heads = [name for name in tensors if name.startswith(("network.segmentation_head.", "scene_head."))]
    return _in_class_order(card), _in_order(tensors, card, heads)


def _require_statistics(model: Segmenter, card: ModelCard, folder: Path) -> None:
    """Refuse a foundation model that would undo other statistics than those by which its inputs are normalised."""
    for encoder in model.modules():
        if isinstance(encoder, FoundationEncoder):
            stated = {name: pair for name, *pair in zip(card.bands, card.mean, card.std, strict=True)}
            wanted = torch.tensor([stated[name] for name in encoder.bands])
            kept = torch.stack((encoder.mean_C, encoder.std_C), 1).cpu()
            if not torch.allclose(kept, wanted, rtol=1e-4):
                raise CheckpointError(
                    f"the weights of {folder} were trained with other statistics than its {CARD_FILE} states; copy "
                    "the checkpoint again"
                )


def _read(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    card, tensors = read_folder(folder, lambda place: (read_card(place), _read_tensors(place)))
    if card.network().own and card.classes != CLASS_NAMES:
        raise CheckpointError(
            f"{folder} names the classes in another order, and which tensors of {card.arch} belong to classes is not "
            "known; take the card that seg wrote"
        )
    return card, tensors


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    require_tensors(folder)
    return load_file(folder / WEIGHTS_FILE)


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
