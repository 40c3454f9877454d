"""The cores of this machine, and how the threads that torch computes with wait for each other on them.

Between two pieces of work such threads either sleep or spin. On idle cores spinning is faster, for to be woken takes as
long as many a piece: networks train 1.3 to 1.5 times as fast on two of them. Beside other work it is several times
slower, as whoever spins takes the core from the one that it waits for. So threads spin for about a millisecond before
they sleep, and sleep at once as long as anything else is at work.

Torch's threads are those of libgomp, which asks the environment how to wait when it is loaded, and never again. But it
lets all threads sleep at once while it has more of them than there are cores. Some that do nothing are enough for that,
and which thread computes what, and hence every result, stays as it is.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""What limits a container, version 2."""
_GPUS = tuple(map(Path, ("/dev/nvidia0", "/dev/kfd")))
_STATISTICS = Path("/proc/stat")
_SPINS, _MILLISECOND = "GOMP_SPINCOUNT", "100000"
_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", _SPINS: "0"}
_LOOK, _CALM = 0.5, 2
"""Seconds between two looks at the cores, and the number of looks without other work after which threads spin."""
_MUCH = 0.15
"""Cores' worth of other work beside which threads sleep."""
_GRAIN = 1 << 16
"""Elements of which each of torch's threads takes a part."""


def container_cores() -> float | None:
    """Cores' worth of time that the container allows; None: no limit."""
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    return None


def waiting_asleep() -> dict[str, str]:
    """What the environment has to say for torch's threads to sleep at once; nothing if the user says how they wait."""
    return _ASLEEP if os.environ.keys().isdisjoint(_ASLEEP) else {}


def spin_on_idle_cores() -> None:
    """Let threads that would sleep at once spin before, as long as nothing else is at work on their cores.

    To be called where training begins, before torch is imported. It does nothing where it cannot be told whether the
    cores are idle, under torchrun, beside a GPU, where a container has less time than cores, or if the user says how
    threads wait or how many there are.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1" and not any(gpu.exists() for gpu in _GPUS)
    ours = _ASLEEP.items() <= os.environ.items() and "OMP_NUM_THREADS" not in os.environ
    if not (alone and ours) or "torch" in sys.modules:
        return
    with suppress(AttributeError, OSError, ValueError):
        others = Others(os.sched_getaffinity(0))
        if (limit := container_cores()) is None or limit >= others.cores:
            os.environ[_SPINS] = _MILLISECOND
            threading.Thread(target=_watch, args=(others,), name="idle cores", daemon=True).start()


class Others:
    """What others than this process do on its cores.

    Args:
        cores: Their numbers.

    Raises:
        OSError, ValueError: If the system does not tell.
    """

    def __init__(self, cores: set[int]) -> None:
        self._cores = cores
        self._busy, self._own, self._time = self._now()

    @property
    def cores(self) -> int:
        """How many cores there are."""
        return len(self._cores)

    def at_work(self) -> float:
        """Cores' worth of time that they took since it was asked for last."""
        busy, own, now = self._now()
        taken = (busy - self._busy - (own - self._own)) / max(now - self._time, 1e-3)
        self._busy, self._own, self._time = busy, own, now
        return taken

    def _now(self) -> tuple[float, float, float]:
        """Seconds for which the cores were busy, and for which this process was, and the time."""
        ticks = 0
        found = 0
        for line in _STATISTICS.read_text(encoding="ascii").splitlines():
            name, *counted = line.split()
            if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in self._cores:
                # user, nice, system, idle, iowait, irq, softirq, steal; guests are counted among users.
                user, nice, system, _, _, irq, softirq, steal = map(int, counted[:8])
                ticks += user + nice + system + irq + softirq + steal
                found += 1
        if found != len(self._cores):
            raise ValueError("the system does not tell of all cores")
        return ticks / os.sysconf("SC_CLK_TCK"), time.process_time(), time.perf_counter()


class Brake:
    """Keeps torch's threads from spinning, by threads that do nothing.

    Args:
        cores: How many cores there are.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._released: threading.Event | None = None

    @property
    def held(self) -> bool:
        """Whether threads sleep at once."""
        return self._released is not None

    def hold(self) -> None:
        """Let threads sleep at once."""
        import torch

        threads = torch.get_num_threads()
        if self.held or threads < 2:
            return
        self._released = released = threading.Event()

        def idle() -> None:
            # A thread of Python that computes has threads of libgomp's of its own, until it ends.
            torch.ones(threads * _GRAIN, device="cpu").add_(1)
            released.wait()

        # With those of the thread that trains they are more than there are cores.
        for number in range((self._cores - threads) // (threads - 1) + 1):
            threading.Thread(target=idle, name=f"brake {number}", daemon=True).start()

    def release(self) -> None:
        """Let threads spin."""
        if self._released is not None:
            self._released.set()
            self._released = None


def _watch(others: Others) -> None:
    """Brake while others are at work, and for good if the system does not tell any more."""
    brake, calm = Brake(others.cores), 0
    while True:
        time.sleep(_LOOK)
        try:
            calm = 0 if others.at_work() > _MUCH else calm + 1
        except (OSError, ValueError):
            calm = -1
        if "torch" not in sys.modules:
            continue
        # Wherever it is just being imported, this waits for the end of it. What is started from then on does not spin.
        import torch  # noqa: F401

        os.environ[_SPINS] = _ASLEEP[_SPINS]
        if calm >= _CALM:
            brake.release()
        else:
            brake.hold()
        if calm < 0:
            return
