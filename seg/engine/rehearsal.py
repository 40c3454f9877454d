"""A step or two and a batch of validation, to see what a run will need; nothing is written."""

import time
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from seg.data.dataset import Batch
from seg.data.loader import make_loader
from seg.engine.cost import peak_memory
from seg.engine.evaluate import Pass, predict
from seg.engine.optimiser import set_learning_rate
from seg.engine.run import Run
from seg.engine.schedule import learning_rate
from seg.engine.train import train_step, training_batches

STEPS = 2
_SHARE = 10
"""Of the patches of a run, a rehearsal takes one in so many: the first step is slow, and it is to end in a fifth."""
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
        memory_bytes: The most that was used: of the GPU, or of this process where the CPU trains; None where the
            system does not tell.
        memory_total: What the GPU has, in bytes; None where the CPU trains.
        loss: Of the last step.
        whole: Whether the batches were whole; of a run of a few batches a part is taken, and memory is then more.
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


def rehearse(run: Run) -> Rehearsal:
    """Train two steps and validate a batch; of a short run, a tenth of its patches at most.

    Args:
        run: What takes part; its network is another one afterwards.

    Raises:
        OutOfMemoryError: Naming the setting to change.
        NotFiniteError: If loss or gradients are not finite.
    """
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
    epochs = -(-run.total_steps // run.steps_per_epoch)
    judged = min(run.config.batch_size, len(run.validation), max(1, epochs * len(run.validation) // _SHARE))
    part = run.validation.take(np.arange(judged))
    began = time.perf_counter()
    for _ in predict(run.scored, part, Pass(run.compute, run.config.batch_size)):
        pass
    _wait(run.compute.device)
    per_patch = (time.perf_counter() - began) / len(part)
    epoch = run.steps_per_epoch * step + len(run.validation) / run.ranks.count * per_patch
    used, total = _memory(run.compute.device)
    return Rehearsal(
        step_seconds=step,
        epoch_seconds=epoch,
        run_seconds=run.total_steps / run.steps_per_epoch * epoch,
        steps=run.steps_per_epoch,
        epochs=epochs,
        memory_bytes=used,
        memory_total=total,
        loss=loss,
        whole=whole,
    )


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
