"""The cores of this machine: how many there are to compute on, and whether they have nothing else to do."""

import os
import time
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""What limits a container, version 2."""
_GPUS = tuple(map(Path, ("/dev/nvidia0", "/dev/kfd")))
_STATISTICS = Path("/proc/stat")
_LOOK = 0.2
"""Seconds for which cores are looked at."""
_IDLE = 0.8
"""The share of that time that idle cores have nothing to do."""
_SPINS, _MILLISECOND = "GOMP_SPINCOUNT", "100000"
_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", _SPINS: "0"}
"""What says how the threads that torch computes with wait for each other; looked at when torch is imported."""


def container_cores() -> float | None:
    """Cores' worth of time that the container allows; None: no limit."""
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    return None


def waiting_asleep() -> dict[str, str]:
    """What the environment has to say for torch's threads to sleep while they wait; nothing if the user says how.

    Those that spin take the cores from whatever else is at work, and from those of their own that compute: beside one
    other busy process on two cores, training ran up to seven times slower.
    """
    return _ASLEEP if os.environ.keys().isdisjoint(_ASLEEP) else {}


def spin_if_idle() -> None:
    """Let threads that would sleep at once spin for a millisecond before, if the CPU has nothing else to do.

    On two idle cores networks train 1.3 to 1.5 times as fast. To be called where training begins, before torch is
    imported.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1" and not any(gpu.exists() for gpu in _GPUS)
    several = os.environ.get("OMP_NUM_THREADS") != "1"
    if alone and several and _ASLEEP.items() <= os.environ.items() and _are_idle():
        os.environ[_SPINS] = _MILLISECOND


def _are_idle() -> bool:
    """Whether nothing else computes on the cores that this process may use; False where nobody tells."""
    try:
        cores = os.sched_getaffinity(0)
        before = _times(cores)
        time.sleep(_LOOK)
        after = _times(cores)
    except (AttributeError, OSError, ValueError):
        return False
    if (limit := container_cores()) is not None and limit < len(cores):
        # Whoever spins spends the time that the container has.
        return False
    pairs = zip(before, after, strict=True)
    return bool(before) and all(idle - was_idle >= _IDLE * (total - was) for (was_idle, was), (idle, total) in pairs)


def _times(cores: set[int]) -> list[tuple[int, int]]:
    """Of each core the ticks that it had nothing to do, and all of its ticks, since the machine was started."""
    found = []
    for line in _STATISTICS.read_text(encoding="ascii").splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores:
            # user, nice, system, idle, iowait, irq, softirq, steal; guests are counted among users.
            counted = list(map(int, ticks[:8]))
            found.append((counted[3] + counted[4], sum(counted)))
    return found
