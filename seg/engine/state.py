"""The state of a training run: exactly what a resume needs, saved together with the weights or not at all."""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seg.config.identity import ALLOWABLE, settings_of_run
from seg.config.sections import Config
from seg.config.training import TrainConfig
from seg.engine.distributed import ALONE, Ranks
from seg.engine.encoder import bare
from seg.errors import RunError
from seg.models.additions import apart_state
from seg.models.card import ModelCard
from seg.models.checkpoint import load_weights, save_checkpoint
from seg.models.weights_file import STATE_FILES
from seg.store.atomic import recover_folder

TENSORS_FILE, PROGRESS_FILE = STATE_FILES
FORMAT = 3
APART = "apart."
"""How tensors begin that the weights beside them hold added up, see `seg.models.additions`."""

Identity = Mapping[str, Any]
"""What makes a run what it is, by name: its settings, such as ``train.lr``, its data and its number of processes."""
DATA, RANKS = "data", "processes"
"""The two that are no settings."""


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: The epoch under way, from 0.
        batch: Batches of that epoch that are done.
        step: Optimiser steps done.
        loss_sums: Sums of total, pixel and scene loss over the batches of the epoch under way.
        best_score: Validation score of the weights that are kept, by default the best so far; None if it is undefined.
        best_epoch: Their epoch; None before the first.
        stale: Epochs without a better score than ever before.
        scores: Validation score of every epoch that is over; None where it is undefined.
        last_epoch: What the log says of the last epoch that is done; empty before the first.
        cost: What the run had taken when it was saved last, see `seg.engine.cost.RunCost`; empty before that.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    best_score: float | None = None
    best_epoch: int | None = None
    stale: int = 0
    scores: list[float | None] = field(default_factory=list)
    last_epoch: dict[str, float] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Learner:
    """What changes with every step.

    Attributes:
        model: The weights.
        optimiser: Its moments.
        average: The network with the averaged weights, if there is one.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    average: nn.Module | None = None

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.model.parameters()).device


class SavingClock:
    """When the state is to be saved within an epoch.

    Args:
        config: Seconds and steps between savings.
        ranks: The processes.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        # The clocks of several processes differ; that of the first one counts.
        self._seconds = config.save_every if ranks.first else 0.0
        self._steps = config.save_every_steps
        self._since = time.monotonic()

    def has_struck(self) -> bool:
        """Whether the time is up; it begins anew then."""
        struck = bool(self._seconds) and time.monotonic() - self._since >= self._seconds
        if struck:
            self._since = time.monotonic()
        return struck

    def is_due_at(self, step: int) -> bool:
        """Whether it is to be saved after so many steps of the run."""
        return bool(self._steps) and step % self._steps == 0


def random_state(device: torch.device) -> dict[str, Tensor]:
    """State of the generators from which the network draws in training, by name, uint8."""
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
    learner: Learner,
    card: ModelCard,
    progress: Progress,
    identity: Identity,
    ranks: Ranks = ALONE,
) -> None:
    """Save everything that a resume needs, atomically. Of several processes, all have to call this; the first writes.

    Args:
        folder: Where; replaced as a whole.
        learner: What is saved.
        card: Card of the weights.
        progress: The position in the run.
        identity: What must be the same when the run is resumed.
        ranks: The processes.
    """
    tensors = _of_every_process(progress, learner.device, ranks)
    if not ranks.first:
        return
    for name, parameter in bare(learner.model).named_parameters():
        for slot, value in learner.optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{name}.{slot}"] = value.detach().cpu().contiguous()
    for name, value in apart_state(bare(learner.model)).items():
        tensors[f"{APART}{name}"] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if learner.average is not None:
        # A copy each, because safetensors takes neither tensors that share memory nor channels-last ones.
        for name, value in learner.average.state_dict().items():
            copy = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            tensors[f"average.{name}"] = copy
    document = {"format": FORMAT, "identity": dict(identity), "progress": asdict(progress)}

    def write_state(into: Path) -> None:
        save_file(tensors, into / TENSORS_FILE)
        (into / PROGRESS_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    save_checkpoint(folder, learner.model, card, write_state)


def load_state(
    folder: Path,
    learner: Learner,
    identity: Identity,
    allow: Collection[str] = (),
    ranks: Ranks = ALONE,
) -> Progress:
    """Bring model, optimiser and random state back to where `save_state` was called.

    Args:
        folder: What `save_state` wrote.
        learner: Built as for the run; on the device on which it is to continue.
        identity: Of the run that is to continue.
        allow: Settings that may be others than then, see `check_identity`.
        ranks: The processes; all of them have to call this.

    Returns:
        The position in the run.

    Raises:
        RunError: If there is nothing to resume, it is damaged, or it belongs to another configuration or other data.
    """
    progress = read_progress(folder, identity, allow, ranks)
    try:
        tensors = load_file(folder / TENSORS_FILE)
        apart = {name.removeprefix(APART): value for name, value in tensors.items() if name.startswith(APART)}
        load_weights(learner.model, folder, apart)
        progress.loss_sums = tensors["loss_sums"][ranks.rank].tolist()
        _restore(tensors, learner, ranks)
        if (average := learner.average) is not None:
            average.load_state_dict({name: tensors[f"average.{name}"] for name in average.state_dict()})
    except (SafetensorError, OSError, KeyError, TypeError, IndexError, RuntimeError) as error:
        raise RunError(f"the state in {folder} is damaged ({error}); start the run anew") from None
    return progress


def has_state(folder: Path) -> bool:
    """Whether a folder holds a state, or one that was being replaced when the run was killed."""
    recover_folder(folder)
    return (folder / PROGRESS_FILE).is_file()


def read_progress(folder: Path, identity: Identity, allow: Collection[str] = (), ranks: Ranks = ALONE) -> Progress:
    """How far the run has come whose state a folder holds; nothing is changed.

    Raises:
        RunError: If there is nothing to resume, it is damaged, or it belongs to another configuration or other data.
    """
    if ranks.first:
        recover_folder(folder)
    ranks.wait()
    if not (folder / PROGRESS_FILE).is_file():
        raise RunError(f"{folder} holds no state to resume from; start the run without --resume")
    try:
        document = json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise RunError(f"{folder} was written by another version of seg; finish the run with that version")
        progress = Progress(**document["progress"])
        check_identity(document["identity"], identity, allow, progress)
        return progress
    except (json.JSONDecodeError, UnicodeDecodeError, OSError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"the state in {folder} is damaged ({error}); start the run anew") from None


def check_identity(saved: Identity, now: Identity, allow: Collection[str], progress: Progress) -> None:
    """Refuse to continue a run as another one.

    Args:
        saved: What the run was.
        now: What is to continue it.
        allow: Settings of `ALLOWABLE` that may differ.
        progress: How far the run has come.

    Raises:
        RunError: Naming what differs, with its old and its new value.
    """
    if unknown := [name for name in allow if name not in ALLOWABLE]:
        raise RunError(f"'{unknown[0]}' cannot be allowed to change; what can is {', '.join(ALLOWABLE)}")
    # Settings that there were not yet when it began had no other effect than their defaults have.
    saved = {name: value for name, value in settings_of_run(Config()).items() if name in now} | dict(saved)
    changed = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    for name in changed:
        before, after = saved.get(name), now.get(name)
        if name == DATA:
            raise RunError(
                f"the run was trained on the data {before} and these are {after}; give it the store that it began with"
            )
        if name == RANKS:
            raise RunError(
                f"the run has {before} processes and {after} were started; start {before}, as each has its own state"
            )
        if name == "train.epochs" and name in allow and int(after or 0) <= progress.epoch:
            raise RunError(f"the run has done {progress.epoch} epochs already; train.epochs must be more")
        if name not in allow:
            cure = f"leave the setting out, or add --allow {name}" if name in ALLOWABLE else "leave the setting out"
            error = RunError(f"the run has {name}={_shown(before)} and not {_shown(after)}; {cure}")
            for other in changed[changed.index(name) + 1 :]:
                error.add_note(f"It also has {other}={_shown(saved.get(other))} and not {_shown(now.get(other))}.")
            raise error


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _of_every_process(progress: Progress, device: torch.device, ranks: Ranks) -> dict[str, Tensor]:
    """Random states and sums of losses, a row for each process."""
    own = {**random_state(device), "loss_sums": torch.tensor(progress.loss_sums, dtype=torch.float64)}
    return {
        name: torch.stack(
            [
                torch.from_numpy(np.frombuffer(part, np.uint8).copy()).view(tensor.dtype)
                for part in ranks.gather(tensor.numpy().tobytes())
            ]
        )
        for name, tensor in own.items()
    }


def _restore(tensors: dict[str, Tensor], learner: Learner, ranks: Ranks) -> None:
    optimiser = learner.optimiser
    parameters = dict(bare(learner.model).named_parameters())
    fused = any(group.get("fused") for group in optimiser.param_groups)
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind != "optimiser":
            continue
        owner, _, slot = rest.rpartition(".")
        parameter = parameters[owner]
        if slot == "step":
            # Torch keeps the step counter on the CPU, but for its fused optimisers.
            optimiser.state[parameter][slot] = value.to(parameter.device) if fused else value
        else:
            # Moments live where and as the parameter does.
            optimiser.state[parameter][slot] = torch.empty_like(parameter).copy_(value)
    # Copies: torch reads a generator's state from the beginning of the storage.
    own = {name: value[ranks.rank].clone() for name, value in tensors.items() if name.startswith("rng.")}
    restore_random_state(own, learner.device)
