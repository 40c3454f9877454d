"""A step or two and a batch of validation, to see what a run will need; nothing is written."""

import time
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from seg.data.dataset import Batch
from seg.data.loader import make_loader
from seg.engine.cost import peak_memory
from seg.engine.evaluate import Pass, evaluate
from seg.engine.optimiser import set_learning_rate
from seg.engine.run import Run
from seg.engine.schedule import learning_rate
from seg.engine.train import train_step, training_batches

STEPS = 2
_SHARE = 20
"""Of the patches of a run, a rehearsal takes one in so many. It is to end in a fifth of the run, and getting ready,
which takes both as long, is most of that in a run of half a minute."""
_LEAST = 2
"""Patches of a batch: fewer cannot be normalised."""


@dataclass(frozen=True)
class Rehearsal:
    """What a run will need.

    Attributes:
        step_seconds: An optimiser step, reading included, as fast as the second one.
        epoch_seconds: An epoch, validation included.
        run_seconds: All epochs.
        steps: Optimiser steps of an epoch.
        epochs: Epochs at most.
        memory_bytes: The most that the run will use: of the GPU, or of this process where the CPU trains; None where
            the system does not tell. What part of a batch has used is scaled up to a whole one.
        memory_total: What the GPU has, in bytes; None where the CPU trains.
        loss: Of the last step.
        whole: Whether the batches were whole; of a run of a few batches a part is taken, and its memory is scaled up.
        joules, energy_by: Energy of the rehearsal, and who has counted it; None if nobody does.
        seconds: What the rehearsal took.
        patches_seen: Patches that the run is trained on, each as often as it is.
    """

    step_seconds: float
    epoch_seconds: float
    run_seconds: float
    steps: int
    epochs: int
    memory_bytes: int | None
    memory_total: int | None
    loss: float
    whole: bool = True
    joules: float | None = None
    energy_by: str | None = None
    seconds: float = 0.0
    patches_seen: int = 0


def rehearse(run: Run) -> Rehearsal:
    """Train two steps and validate a batch; of a short run, a twentieth of its patches at most.

    Args:
        run: What takes part; its network is another one afterwards.

    Raises:
        OutOfMemoryError: Naming the setting to change.
        NotFiniteError: If loss or gradients are not finite.
    """
    started, energy = time.perf_counter(), run.meter.joules()
    before, _ = _memory(run.compute.device)
    loader = make_loader(run.train, run.order, run.workers, pin_memory=run.compute.device.type == "cuda")
    sums = torch.zeros(3, dtype=torch.float64, device=run.compute.device)
    per_step = own_patches(run)
    budget = max(_LEAST, run.total_steps * per_step // _SHARE)
    # The first step is slower than the others, so that of a short run two parts of a batch say more than a whole one.
    most = max(_LEAST, min(per_step, budget // STEPS))
    seconds_per_patch, loss, whole = 0.0, float("nan"), True
    batches = training_batches(run, loader)
    for _ in range(min(STEPS, run.steps_per_epoch, budget // most)):
        began, left = time.perf_counter(), most
        run.begin_step(sums)
        for given in islice(batches, run.config.accumulate):
            batch = given if len(given) <= left else _first(given, left)
            set_learning_rate(run.optimiser, learning_rate(run.progress.step, run.total_steps, run.config))
            loss = float(train_step(run, batch)[0])
            run.progress.batch += 1
            left, whole = left - len(batch), whole and batch is given
            if left < _LEAST:
                break
        run.progress.step += 1
        run.settle()
        _wait(run.compute.device)
        seconds_per_patch = (time.perf_counter() - began) / (most - left)
    step = seconds_per_patch * per_step
    used, _ = _memory(run.compute.device)
    epochs = -(-run.total_steps // run.steps_per_epoch)
    judged = min(run.config.batch_size, len(run.validation), max(1, epochs * len(run.validation) // _SHARE))
    per_patch = _seconds_of_validation(run, judged)
    epoch = run.steps_per_epoch * step + len(run.validation) / run.ranks.count * per_patch
    most_used, total = _memory(run.compute.device)
    if used is not None and before is not None and most_used is not None:
        # What a step holds on to grows with its patches, and saving the state copies it.
        scaled = before + (used - before) * min(per_step, run.config.batch_size) / min(most, run.config.batch_size)
        most_used = int(max(most_used, scaled)) + (0 if total else _bytes_of_state(run))
    joules = run.meter.joules()
    return Rehearsal(
        step_seconds=step,
        epoch_seconds=epoch,
        run_seconds=run.total_steps / run.steps_per_epoch * epoch,
        steps=run.steps_per_epoch,
        epochs=epochs,
        memory_bytes=most_used,
        memory_total=total,
        loss=loss,
        whole=whole,
        joules=None if joules is None or energy is None else joules - energy,
        energy_by=run.meter.energy_by,
        seconds=time.perf_counter() - started,
        patches_seen=run.total_steps * own_patches(run) * run.ranks.count,
    )


def _seconds_of_validation(run: Run, patches: int) -> float:
    """Seconds that the validation takes for a patch, with what is counted and scored, by some of the patches."""
    part = run.validation.take(np.arange(patches))
    began = time.perf_counter()
    evaluate(run.scored, part, run.origin, Pass(run.compute, run.config.batch_size))
    _wait(run.compute.device)
    return (time.perf_counter() - began) / patches


def _bytes_of_state(run: Run) -> int:
    """What is written when the state is saved: weights, averages, and moments, of which SGD has fewer."""
    weights = sum(tensor.nbytes for tensor in run.model.state_dict().values())
    moments = sum(tensor.nbytes for state in run.optimiser.state.values() for tensor in state.values())
    return int(weights * (2 if run.averaged is not None else 1) + moments)


def own_patches(run: Run) -> int:
    """Patches that a step goes over in this process; the train split may be smaller than what was asked for."""
    return min(run.config.batch_size * min(run.config.accumulate, len(run.order)), len(run.train) // run.ranks.count)


def _first(batch: Batch, count: int) -> Batch:
    return Batch(*(tensor[:count] for tensor in batch.tensors))


def _wait(device: torch.device) -> None:
    """A GPU works on after the call that gave it the work has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _memory(device: torch.device) -> tuple[int | None, int | None]:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
    return peak_memory(), None
