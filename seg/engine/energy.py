"""Energy that the hardware itself has counted: GPUs by NVML, processors by RAPL. What nothing counts is undefined."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from seg.engine.distributed import Ranks

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of Intel and AMD processors; since 2020 only root reads them unless told otherwise."""


@dataclass
class Counter:
    """A counter of energy that only grows, but for one that begins at 0 again when it is full.

    Attributes:
        read: Gives its value, in units of 1/`per_joule` J; raises `OSError` where it cannot be read any more.
        per_joule: Units in a joule.
        full: Value after which it begins at 0 again; 0: never. RAPL's is after some 45 minutes at 100 W.
    """

    read: Callable[[], int]
    per_joule: float
    full: int = 0
    _last: int = field(init=False)
    _sum: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._last = self.read()

    def joules(self) -> float:
        """Energy since the counter was made; to be asked before it can have been full twice."""
        now = self.read()
        self._sum += now - self._last + (self.full if now < self._last else 0)
        self._last = now
        return self._sum / self.per_joule


@dataclass
class EnergyMeter:
    """What a process and its device take.

    Attributes:
        counters: One for each part that is counted; none: the energy is unknown.
        by: Who counts, such as ``NVML`` or ``NVML and RAPL``; empty: nobody.
    """

    counters: tuple[Counter, ...] = ()
    by: str = ""

    def joules(self) -> float | None:
        """Energy since the meter was made, of all that runs on the hardware; None if it is unknown."""
        if not self.by:
            return None
        try:
            return sum(counter.joules() for counter in self.counters)
        except OSError:
            self.by = ""
            return None


def energy_meter(device: torch.device, ranks: Ranks, powercap: Path = POWERCAP) -> EnergyMeter:
    """The meter of this process: its GPU, and the processors of the machine in the first process on it.

    On a GPU, processors are counted too where they can be; without the GPU's own counter nothing is.

    Args:
        device: Where the process computes.
        ranks: The processes; on each machine the first one counts the processors.
        powercap: The folder of the counters of processors.
    """
    gpu = [_gpu(device)] if device.type == "cuda" else []
    if None in gpu or device.type not in ("cuda", "cpu"):
        return EnergyMeter()
    processors = _processors(powercap)
    by = [name for name, has in (("NVML", bool(gpu)), ("RAPL", bool(processors))) if has]
    own = processors if ranks.local_rank == 0 else []
    return EnergyMeter(tuple(counter for counter in (*gpu, *own) if counter is not None), " and ".join(by))


def _gpu(device: torch.device) -> Counter | None:
    """The counter of a GPU, in mJ since its driver was loaded; None without the extra ``energy`` or on an old GPU."""
    try:
        import pynvml
    except ImportError:
        return None

    def read() -> int:
        try:
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from None

    try:
        pynvml.nvmlInit()
        # By its UUID, as CUDA_VISIBLE_DEVICES numbers GPUs otherwise than the driver does.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return Counter(read, 1000)
    except (pynvml.NVMLError, OSError):
        return None


def _processors(powercap: Path) -> list[Counter]:
    """The counters of the processors, in µJ; none if any of them cannot be read."""
    counters = []
    try:
        for zone in sorted(powercap.glob("intel-rapl:*")):
            # Packages hold cores and memory controllers as zones of their own, which would count twice.
            if not (zone / "name").read_text(encoding="ascii").startswith("package"):
                continue
            full = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
            counters.append(Counter(_reader(zone / "energy_uj"), 1e6, full))
    except (OSError, ValueError):
        return []
    return counters


def _reader(path: Path) -> Callable[[], int]:
    def read() -> int:
        try:
            return int(path.read_text(encoding="ascii"))
        except ValueError as error:
            raise OSError(str(error)) from None

    return read
