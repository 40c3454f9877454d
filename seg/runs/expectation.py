"""What a run takes on this machine, from a few steps that are timed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seg.config.sections import Config
from seg.engine.device import Compute, choose_compute
from seg.engine.instructions import cpu_instructions
from seg.engine.rehearsal import Rehearsal
from seg.engine.speed import Speed, measure_speed
from seg.errors import OutOfMemoryError
from seg.reben.patch import PUBLISHED_PATCHES

_CPU_BATCH = 8
"""Patches of a timed step on a CPU: one of the usual 32 takes seconds there, and is hardly faster by the patch."""


@dataclass(frozen=True)
class Expectation:
    """What an epoch over all of reBEN takes on this machine.

    Attributes:
        network: What was timed: architecture, encoder and number of bands.
        compute: Device and formats, in words.
        speed: What was measured.
        epoch_hours: Training on the train split and evaluating the validation split, once.
    """

    network: str
    compute: str
    speed: Speed
    epoch_hours: float


def expect_default() -> Expectation | None:
    """What the default network takes; None where even its batch does not fit into memory."""
    config = Config()
    compute = choose_compute(config.train)
    try:
        speed = measure_speed(config, compute, _CPU_BATCH if compute.device.type == "cpu" else None)
    except OutOfMemoryError:
        return None
    model = config.model
    network = f"{model.named} on {len(config.data.bands)} bands"
    return Expectation(network, in_words(compute), speed, published_epoch_hours(speed))


def published_epoch_hours(speed: Speed) -> float:
    """Hours of an epoch over reBEN's train split, and of its validation."""
    return speed.seconds(PUBLISHED_PATCHES["train"], PUBLISHED_PATCHES["validation"]) / 3600


def rehearsed_epoch_hours(rehearsal: Rehearsal, record: Mapping[str, Any]) -> float | None:
    """Hours of an epoch over all of reBEN, from the rehearsal of a run on fewer patches; None if it is on as many.

    Args:
        rehearsal: What was timed.
        record: What ``run.json`` would say of the run.
    """
    patches, batch = record["data"]["patches"], record["batch"]["effective_batch"]
    if patches["train"] >= PUBLISHED_PATCHES["train"]:
        return None
    evaluation = max(0.0, rehearsal.epoch_seconds - rehearsal.steps * rehearsal.step_seconds) / patches["validation"]
    training = rehearsal.step_seconds / batch
    hours: float = (PUBLISHED_PATCHES["train"] * training + PUBLISHED_PATCHES["validation"] * evaluation) / 3600
    return hours


def in_words(compute: Compute) -> str:
    """Number format and, on a CPU, the vector instructions: ``float32, AVX2``."""
    where = cpu_instructions().name if compute.device.type == "cpu" else compute.device.type
    return f"{str(compute.dtype).removeprefix('torch.')}, {where}"


def duration(seconds: float) -> str:
    """A time for people, no more exact than it is known: ``50 seconds``, ``3.5 minutes``, ``2 hours``."""
    if seconds < 95:
        return f"{max(5, 5 * round(seconds / 5))} seconds"
    minutes = seconds / 60
    if minutes < 9.75:
        return f"{round(2 * minutes) / 2:g} minutes"
    return f"{minutes:.0f} minutes" if minutes < 95 else f"{minutes / 60:.1f} hours"
