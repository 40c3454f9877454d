"""What a training run takes: time, memory, energy and patches, over all its sittings and processes."""

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from seg.config.track import T, Track
from seg.engine.distributed import ALONE, Ranks
from seg.engine.energy import EnergyMeter, energy_meter

_TICK = 60.0
"""Seconds between readings of the energy, so that no counter is full twice between them."""


@dataclass(frozen=True)
class RunCost:
    """What a run has taken so far.

    Attributes:
        wall_seconds: Time of the sittings, from the settings to the last weights.
        device_seconds: The same of all devices: processes x time.
        patches_seen: Patches that it was trained on, each as often as it was.
        peak_memory_bytes: The most memory of a process; None where the system does not tell.
        peak_device_memory_bytes: The most memory of a GPU; None without one.
        energy_joules: What GPUs and processors took; None if any part of it is unknown.
        energy_by: Who has measured that; None likewise.
    """

    wall_seconds: float = 0.0
    device_seconds: float = 0.0
    patches_seen: int = 0
    peak_memory_bytes: int | None = None
    peak_device_memory_bytes: int | None = None
    energy_joules: float | None = 0.0
    energy_by: str | None = None


class Meter:
    """Measures a sitting of a run, and adds what those before it took.

    Args:
        device: Where this process computes.
        ranks: The processes.
        energy: The meter of its energy.
        began: When the sitting began, by `time.perf_counter`; None: now.
    """

    def __init__(
        self, device: torch.device, ranks: Ranks = ALONE, energy: EnergyMeter | None = None, began: float | None = None
    ) -> None:
        self._device, self._ranks = device, ranks
        self._energy = energy_meter(device, ranks) if energy is None else energy
        self._began = time.perf_counter() if began is None else began
        self._before = RunCost()
        self._known = RunCost()
        self._patches = 0
        self._read = time.monotonic()

    def add(self, before: RunCost) -> None:
        """Add what the sittings before this one took."""
        self._before = self._known = before

    def saw(self, patches: int) -> None:
        """So many patches were trained on, in all processes together."""
        self._patches += patches
        self._tick()

    def watching(self, track: Track) -> Track:
        """The same `Track`, which also has the energy read while it is passed through."""

        def watched(items: Iterable[T], description: str, total: int) -> Iterable[T]:
            for item in track(items, description, total):
                self._tick()
                yield item

        return watched

    @property
    def energy_by(self) -> str | None:
        """Who counts the energy; None: nobody."""
        return self._energy.by or None

    def joules(self) -> float | None:
        """Energy of this process's device and machine in this sitting; None if nothing counts it."""
        return self._energy.joules()

    def together(self) -> RunCost:
        """The cost so far; all processes have to call this."""
        own = [peak_memory(), _peak_device_memory(self._device), self._energy.joules()]
        told = [json.loads(content) for content in self._ranks.gather(json.dumps(own).encode())]
        memory, gpu_memory, joules = zip(*told, strict=True)
        known = (self._before.energy_joules, *joules)
        energy = None if None in known else sum(known)
        before, seconds = self._before, self._seconds()
        self._known = RunCost(
            wall_seconds=before.wall_seconds + seconds,
            device_seconds=before.device_seconds + seconds * self._ranks.count,
            patches_seen=before.patches_seen + self._patches,
            peak_memory_bytes=_most(before.peak_memory_bytes, *memory),
            peak_device_memory_bytes=_most(before.peak_device_memory_bytes, *gpu_memory),
            energy_joules=energy,
            energy_by=None if energy is None else self._energy.by,
        )
        return self._known

    def alone(self) -> RunCost:
        """The cost so far as this process knows it without asking the others, which may have ended."""
        if self._ranks.count == 1:
            return self.together()
        seconds = self._before.wall_seconds + self._seconds()
        longer = seconds - self._known.wall_seconds
        return replace(
            self._known,
            wall_seconds=seconds,
            device_seconds=self._known.device_seconds + longer * self._ranks.count,
            patches_seen=self._before.patches_seen + self._patches,
        )

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _tick(self) -> None:
        if time.monotonic() - self._read >= _TICK:
            self._energy.joules()
            self._read = time.monotonic()


def cost_of_state(document: dict[str, Any]) -> RunCost:
    """What a state knows; earlier versions kept nothing, so that only what comes from now on is known."""
    return RunCost(**document) if document else RunCost(energy_joules=None)


def peak_memory() -> int | None:
    """The most memory that this process has used, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows counts otherwise
        return None
    # Linux counts in units of 1,024 bytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _peak_device_memory(device: torch.device) -> int | None:
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def _most(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)
