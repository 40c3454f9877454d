"""The state of a training run: exactly what a resume needs, saved together with the weights or not at all."""

import json
from collections.abc import Mapping
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
FORMAT = 2


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
        scores: Validation score of every epoch that is over; None where it is undefined.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    best_score: float | None = None
    best_epoch: int | None = None
    stale: int = 0
    scores: list[float | None] = field(default_factory=list)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """State of the generators from which the network draws in training, by name."""
    state = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["rng.cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Bring the generators back to a `random_state`."""
    torch.set_rng_state(state["rng.cpu"])
    if device.type == "cuda" and "rng.cuda" in state:
        torch.cuda.set_rng_state(state["rng.cuda"], device)


def save_state(
    folder: Path,
    model: nn.Module,
    card: ModelCard,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    identity: str,
    average: nn.Module | None = None,
) -> None:
    """Save everything that a resume needs, atomically.

    Args:
        folder: Where; replaced as a whole.
        model: The weights.
        card: Their card.
        optimiser: Its moments are saved.
        progress: The position in the run.
        identity: What must be the same when the run is resumed (configuration and data).
        average: The network with the averaged weights, if there is one.
    """
    tensors = random_state(next(model.parameters()).device)
    for i, parameter in enumerate(_parameters(optimiser)):
        for name, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{i}.{name}"] = value.detach().cpu().contiguous()
    if average is not None:
        # A copy each, because safetensors takes neither tensors that share memory nor channels-last ones.
        for name, value in average.state_dict().items():
            copy = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            tensors[f"average.{name}"] = copy
    document = {"format": FORMAT, "identity": identity, "progress": asdict(progress)}

    def write_state(into: Path) -> None:
        save_file(tensors, into / TENSORS_FILE)
        (into / PROGRESS_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    save_checkpoint(folder, model, card, write_state)


def load_state(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    identity: str,
    average: nn.Module | None = None,
) -> Progress:
    """Bring model, optimiser and random state back to where `save_state` was called.

    Args:
        folder: What `save_state` wrote.
        model: Built as for the run; on the device on which it is to continue.
        optimiser: Built for this model.
        identity: Of the run that is to continue.
        average: The network for the averaged weights, if there is one.

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
        if average is not None:
            average.load_state_dict({name: tensors[f"average.{name}"] for name in average.state_dict()})
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError) as error:
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
    fused = bool(optimiser.param_groups[0].get("fused"))
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind != "optimiser":
            continue
        index, _, slot = rest.partition(".")
        parameter = parameters[int(index)]
        # The step counter stays on the CPU, as torch makes it unless its kernels are fused; moments live where and as
        # the parameter does.
        if slot == "step":
            moved = value.to(parameter.device) if fused else value
        else:
            moved = torch.empty_like(parameter).copy_(value)
        optimiser.state[parameter][slot] = moved
    restore_random_state(tensors, device)
