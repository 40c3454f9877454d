"""What this machine has, as far as it matters to seg: facts only; `seg.runs.advice` judges them."""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from seg.config.training import TrainConfig
from seg.engine.device import choose_compute
from seg.engine.instructions import cpu_instructions
from seg.report.record import hardware
from seg.runs.cores import CGROUP, container_cores

OPTIONAL = {"wandb": "train.loggers=wandb", "mlflow": "train.loggers=mlflow"}
"""Packages that seg uses when they are installed, and what for."""
_NO_USER = ("dev", "docs", "bench")
"""Extras for those who work on seg."""


@dataclass(frozen=True)
class Gpu:
    """A CUDA device.

    Attributes:
        name: As its maker calls it.
        memory_bytes: Its memory.
        capability: Its compute capability, (major, minor).
        bfloat16: Whether it computes in bfloat16 itself.
        supported: Whether the installed torch has kernels for it.
    """

    name: str
    memory_bytes: int
    capability: tuple[int, int]
    bfloat16: bool
    supported: bool


@dataclass(frozen=True)
class Place:
    """A folder that seg writes into.

    Attributes:
        folder: Where.
        free_bytes: Free disk there.
        writable: Whether this user may write there.
    """

    folder: Path
    free_bytes: int
    writable: bool


@dataclass(frozen=True)
class Machine:
    """What this machine has.

    Attributes:
        system, cpu: Operating system and processor.
        cores: Cores that this process may use.
        quota: Cores' worth of time that the container allows; None: no limit.
        threads: Threads that torch computes with.
        omp_threads: ``OMP_NUM_THREADS``; None if it is not set.
        memory_bytes: Memory that this process may use, a container's limit included; None if it is not known.
        torch_build: ``cuda 13.0``, ``rocm 6.4`` or ``cpu``.
        nvidia_driver: Version of the driver, also where torch cannot use it; None: no driver.
        gpus: CUDA devices that torch sees.
        device, dtype: What ``train.device=auto`` and ``train.precision=auto`` come to here.
        instructions: The vector instructions that the processor computes networks with, see `cpu_instructions`.
        work, cache: The folder in which seg was started, and the one of the demo store.
        open_files: Files that a process may open (``ulimit -n``); None: no limit, or not known.
        shared_bytes: Size of ``/dev/shm``; None if there is none.
        missing: Packages that seg needs and that are not installed.
        optional: Version of each of the `OPTIONAL` packages; None for what is not installed.
        extras: Of each extra of seg, such as ``onnx``, the packages that are not installed.
    """

    system: str
    cpu: str
    cores: int
    quota: float | None
    threads: int
    omp_threads: str | None
    memory_bytes: int | None
    torch_build: str
    nvidia_driver: str | None
    gpus: tuple[Gpu, ...]
    device: str
    dtype: str
    instructions: str
    work: Place
    cache: Place
    open_files: int | None
    shared_bytes: int | None
    missing: tuple[str, ...]
    optional: dict[str, str | None]
    extras: dict[str, tuple[str, ...]]


def inspect_machine(cache: Path) -> Machine:
    """Gather the facts.

    Args:
        cache: The cache folder of seg; need not exist.
    """
    known = hardware()
    compute = choose_compute(TrainConfig())
    memory = [bytes_ for bytes_ in (known["memory_bytes"], _container_memory()) if bytes_]
    return Machine(
        system=known["system"],
        cpu=known["cpu"],
        cores=known["cores"] or 1,
        quota=container_cores(),
        threads=torch.get_num_threads(),
        omp_threads=os.environ.get("OMP_NUM_THREADS"),
        memory_bytes=min(memory) if memory else None,
        torch_build=_torch_build(),
        nvidia_driver=_nvidia_driver(),
        gpus=_gpus(),
        device=compute.device.type,
        dtype=str(compute.dtype).removeprefix("torch."),
        instructions=cpu_instructions().name,
        work=_place(Path.cwd()),
        cache=_place(cache),
        open_files=_open_files(),
        shared_bytes=_shared_bytes(),
        missing=_missing(),
        optional={name: _version(name) for name in OPTIONAL},
        extras=_extras(),
    )


def _gpus() -> tuple[Gpu, ...]:
    if not torch.cuda.is_available():
        return ()
    built_for = [int(match[1]) for arch in torch.cuda.get_arch_list() if (match := re.match(r"[a-z]+_(\d+)", arch))]
    gpus = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        capability = (properties.major, properties.minor)
        gpus.append(
            Gpu(
                name=properties.name,
                memory_bytes=properties.total_memory,
                capability=capability,
                bfloat16=capability >= (8, 0) or torch.version.hip is not None,
                # A card runs what was built for itself, for an older one of its generation, or as PTX for any older.
                supported=torch.version.hip is not None or not built_for or capability >= divmod(min(built_for), 10),
            )
        )
    return tuple(gpus)


def _torch_build() -> str:
    if torch.version.cuda:
        return f"cuda {torch.version.cuda}"
    return f"rocm {torch.version.hip}" if torch.version.hip else "cpu"


def _nvidia_driver() -> str | None:
    with suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"\b(\d{3}\.[\d.]+)\b", text)
        return found[1] if found else "unknown"
    return None


def _place(folder: Path) -> Place:
    there = folder
    while not there.exists():
        there = there.parent
    return Place(folder, shutil.disk_usage(there).free, os.access(there, os.W_OK | os.X_OK))


def _open_files() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _shared_bytes() -> int | None:
    with suppress(OSError):
        return shutil.disk_usage("/dev/shm").total
    return None


def _container_memory() -> int | None:
    with suppress(OSError, ValueError):  # "max" is no number
        return int((CGROUP / "memory.max").read_text(encoding="ascii"))
    return None


def _missing() -> tuple[str, ...]:
    """Distributions that the metadata of seg require and that are not there, extras left out."""
    return _absent(text for text in _required() if "extra ==" not in text)


def _extras() -> dict[str, tuple[str, ...]]:
    """Of each extra that users may want, by name, the distributions that are not there."""
    named: dict[str, list[str]] = {}
    for text in _required():
        if (of := re.search(r"""extra == ["']([\w-]+)["']""", text)) and of[1] not in _NO_USER:
            named.setdefault(of[1], []).append(text)
    return {name: _absent(texts) for name, texts in sorted(named.items())}


def _required() -> list[str]:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.requires("seg") or []
    return []


def _absent(requirements: Iterable[str]) -> tuple[str, ...]:
    names = [match[0] for text in requirements if (match := re.match(r"[\w.-]+", text))]
    return tuple(name for name in names if _version(name) is None)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
