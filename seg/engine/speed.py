"""How fast this machine trains a network and runs it: a few steps on random numbers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seg.config.sections import Config
from seg.engine.device import Compute, named_when_full
from seg.engine.losses.joint import JointLoss
from seg.engine.optimiser import make_optimiser
from seg.models.segmenter import build_segmenter
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES

LEAST_STEPS = 2


@dataclass(frozen=True)
class Speed:
    """How fast a machine is with one network, reading and augmentation left out.

    Attributes:
        training: Patches per second of optimiser steps.
        running: Patches per second of the network alone, as evaluation runs it.
        batch_size: Patches of a step.
        steps: Steps that were timed.
    """

    training: float
    running: float
    batch_size: int
    steps: int

    def seconds(self, trained: int, evaluated: int = 0) -> float:
        """Time for so many patches to train on and so many to evaluate, in seconds."""
        return trained / self.training + evaluated / self.running


def measure_speed(config: Config, compute: Compute, batch_size: int | None = None, seconds: float = 1.5) -> Speed:
    """Time optimiser steps of a network with random weights on random patches.

    The first step, which plans the kernels, does not count. Random numbers elsewhere are not disturbed.

    Args:
        config: Bands, network, loss and optimiser; weights to start from play no part, nor do class weights.
        compute: Device and formats.
        batch_size: Patches of a step; None: ``train.batch_size``.
        seconds: For how long training is timed; at least two steps are.

    Raises:
        ModelError: If architecture and encoder do not fit each other.
        OutOfMemoryError: If a batch does not fit into memory.
    """
    size = batch_size or config.train.batch_size
    device = compute.device
    with torch.random.fork_rng(), named_when_full("lower train.batch_size with --set"):
        torch.manual_seed(0)
        model = build_segmenter(
            config.model.model_copy(update={"weights": None}), config.data.bands, config.data.context
        )
        model.to(device, memory_format=compute.memory_format)  # type: ignore[call-overload]
        plain = config.loss.model_copy(update={"class_weights": "none", "positive_weights": "none"})
        loss, optimiser = JointLoss(plain), make_optimiser(model, config.train)
        images = torch.randn(size, len(config.data.bands), model.picture_edge, model.picture_edge, device=device)
        images = images.to(memory_format=compute.memory_format)
        target = torch.randint(0, NUM_CLASSES, (size, PATCH_SIZE, PATCH_SIZE), device=device)
        labels = torch.randint(0, 2, (size, NUM_CLASSES), device=device).float()

        def train() -> Tensor:
            with compute.autocast():
                pixel_logits, scene_logits = model(images)
            total: Tensor = loss(pixel_logits, scene_logits, target, labels)[0]
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            return total

        def run() -> Tensor:
            with torch.inference_mode(), compute.autocast():
                logits: Tensor = model(images)[0]
            return logits

        model.train()
        each, steps = _timed(train, seconds)
        model.eval()
        each_run, _ = _timed(run, seconds / 4)
    return Speed(size / each, size / each_run, size, steps)


def _timed(step: Callable[[], Tensor], seconds: float) -> tuple[float, int]:
    """Mean seconds of a step, and how many there were; the first one does not count."""
    _finished(step())
    began, steps = time.perf_counter(), 0
    while steps < LEAST_STEPS or time.perf_counter() - began < seconds:
        _finished(step())
        steps += 1
    return (time.perf_counter() - began) / steps, steps


def _finished(result: Tensor) -> None:
    """Wait for the device: a number of the result has to be there."""
    result.flatten()[0].item()
