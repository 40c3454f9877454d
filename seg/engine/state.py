"""The state of a training run: exactly what a resume needs, saved together with the weights or not at all."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seg.models.checkpoint import ModelCard, load_weights, save_checkpoint
from seg.store.atomic import recover_folder

TENSORS_FILE = "state.safetensors"
PROGRESS_FILE = "state.json"
FORMAT = 1


class ResumeError(ValueError):
    """A run that cannot be resumed."""


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: The epoch under way, from 0.
        batch: Batches of that epoch that are done.
        step: Optimiser steps done.
        loss_sums: Sums of total, pixel and scene loss over the batches of the epoch under way.
        best_score: Best validation score so far; None before the first that is defined.
        best_epoch: Epoch of the best weights; None before the first.
        stale: Epochs since then.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    best_score: float | None = None
    best_epoch: int | None = None
    stale: int = 0


def save_state(
    folder: Path, model: nn.Module, card: ModelCard, optimiser: torch.optim.Optimizer, progress: Progress, identity: str
) -> None:
    """Save everything that a resume needs, atomically.

    Args:
        folder: Where; replaced as a whole.
        model: The weights.
        card: Their card.
        optimiser: Its moments are saved.
        progress: The position in the run.
        identity: What must be the same when the run is resumed (configuration and data).
    """
    device = next(model.parameters()).device
    tensors = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    for i, parameter in enumerate(_parameters(optimiser)):
        for name, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{i}.{name}"] = value.detach().cpu().contiguous()
    document = {"format": FORMAT, "identity": identity, "progress": asdict(progress)}

    def write_state(into: Path) -> None:
        save_file(tensors, into / TENSORS_FILE)
        (into / PROGRESS_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    save_checkpoint(folder, model, card, write_state)


def load_state(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, identity: str) -> Progress:
    """Bring model, optimiser and random state back to where `save_state` was called.

    Args:
        folder: What `save_state` wrote.
        model: Built as for the run; on the device on which it is to continue.
        optimiser: Built for this model.
        identity: Of the run that is to continue.

    Returns:
        The position in the run.

    Raises:
        ResumeError: If there is nothing to resume, it is damaged, or it belongs to another configuration or other data.
    """
    progress = read_progress(folder, identity)
    try:
        tensors = load_file(folder / TENSORS_FILE)
        load_weights(model, folder)
        _restore(tensors, optimiser, next(model.parameters()).device)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ResumeError(f"the state in {folder} is damaged ({error}); start the run anew") from None
    return progress


def read_progress(folder: Path, identity: str) -> Progress:
    """How far the run has come whose state a folder holds; nothing is changed.

    Raises:
        ResumeError: If there is nothing to resume, it is damaged, or it belongs to another configuration or other data.
    """
    recover_folder(folder)
    if not (folder / PROGRESS_FILE).is_file():
        raise ResumeError(f"{folder} holds no state to resume from; start the run without --resume")
    try:
        document = json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ResumeError(f"{folder} was written by another version of seg; finish the run with that version")
        if document["identity"] != identity:
            raise ResumeError(
                f"{folder} belongs to another configuration or other data; give no setting but --out and --resume, "
                "or start a new run"
            )
        return Progress(**document["progress"])
    except (json.JSONDecodeError, UnicodeDecodeError, OSError, KeyError, TypeError) as error:
        raise ResumeError(f"the state in {folder} is damaged ({error}); start the run anew") from None


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _restore(tensors: dict[str, Tensor], optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    parameters = _parameters(optimiser)
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind != "optimiser":
            continue
        index, _, slot = rest.partition(".")
        parameter = parameters[int(index)]
        # The step counter stays on the CPU, as torch makes it; moments live where and as the parameter does.
        moved = value if slot == "step" else torch.empty_like(parameter).copy_(value)
        optimiser.state[parameter][slot] = moved
    torch.set_rng_state(tensors["rng.cpu"])
    if device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], device)
