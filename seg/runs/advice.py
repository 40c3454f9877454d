"""What to install or change on a machine, and about the data that commands use there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seg.runs.data import SEG_DATA, demo_folder, open_named_store, store_of_environment
from seg.runs.machine import Machine
from seg.store.open import INFO_FILE, StoreInfo

_GB = 10**9
_LEAST_WORK = _GB // 10
"""A checkpoint of a small network; with less, no run can be kept."""
_WORK = 5 * _GB
"""Some runs with their evidence and maps."""
_CACHE = _GB
"""The demo store and what it is made from."""
_MEMORY = 4 * _GB
_OPEN_FILES = 1024
_SHARED = _GB
_BFLOAT16 = (8, 0)
"""Compute capability of the first NVIDIA cards with bfloat16."""


@dataclass(frozen=True)
class Advice:
    """Something to install or change.

    Attributes:
        text: A sentence with the cure.
        stops: Whether seg does not work without it.
    """

    text: str
    stops: bool = False


@dataclass(frozen=True)
class FoundStore:
    """The data that commands use here if none are named.

    Attributes:
        source: ``--data``, ``SEG_DATA`` or ``demo``.
        folder: Where.
        info: What the store says of itself; None if it cannot be opened or is a demo store that is not made yet.
        failure: Why it cannot be opened; None if it can.
    """

    source: str
    folder: Path
    info: StoreInfo | None = None
    failure: str | None = None


def look_for_store(data: Path | None = None, metadata: Path | None = None) -> FoundStore:
    """The store that a command would use; the demo store is not made for this."""
    named = data or store_of_environment()
    source = "--data" if data else SEG_DATA if named else "demo"
    folder = named or demo_folder()
    if source == "demo" and not (folder / INFO_FILE).is_file():
        return FoundStore(source, folder)
    try:
        return FoundStore(source, folder, open_named_store(folder, metadata, of_environment=source == SEG_DATA).info)
    except (ValueError, OSError) as error:
        return FoundStore(source, folder, failure=" ".join(str(error).split()))


def judge(machine: Machine) -> Iterator[Advice]:
    """What to install or change on a machine."""
    for name in machine.missing:
        yield Advice(f"{name} is not installed; run: pip install {name}", stops=True)
    yield from _judge_devices(machine)
    yield from _judge_cores(machine)
    yield from _judge_room(machine)
    if machine.open_files is not None and machine.open_files < _OPEN_FILES:
        yield Advice(
            f"a process may open only {machine.open_files} files, which many loader workers exceed; "
            f"run 'ulimit -n {4 * _OPEN_FILES}' before training"
        )
    if machine.shared_bytes is not None and machine.shared_bytes < _SHARED:
        yield Advice(
            f"/dev/shm holds only {machine.shared_bytes / 1e6:,.0f} MB; workers that are not forked and several GPUs "
            "exchange data there: start a container with --shm-size=2g, or train with --set data.workers=0"
        )


def judge_store(store: FoundStore, machine: Machine) -> Iterator[Advice]:
    """What to change about the data."""
    if store.failure is not None:
        yield Advice(f"the store of {store.source} cannot be used: {store.failure}", stops=True)
    elif store.source == "demo":
        yield Advice("no data are named, so SYNTHETIC demo data are used; give --data STORE or set SEG_DATA")
        if store.info is None and machine.cache.free_bytes < _CACHE:
            yield Advice(
                f"{machine.cache.folder} has {_gb(machine.cache.free_bytes)} free and the demo store needs "
                f"{_gb(_CACHE)}; free some space or set XDG_CACHE_HOME to another disk",
                stops=True,
            )
        if store.info is None and not machine.cache.writable:
            yield Advice(
                f"the demo store cannot be made in {machine.cache.folder}, where you may not write; set XDG_CACHE_HOME",
                stops=True,
            )


def _judge_devices(machine: Machine) -> Iterator[Advice]:
    if machine.nvidia_driver and not machine.gpus:
        if not machine.torch_build.startswith("cuda"):
            yield Advice(
                f"this machine has an NVIDIA driver ({machine.nvidia_driver}) but torch is built for "
                f"{machine.torch_build}; install a CUDA build of torch as https://pytorch.org/get-started says"
            )
        else:
            yield Advice(
                f"torch ({machine.torch_build}) sees no GPU although there is an NVIDIA driver "
                f"({machine.nvidia_driver}); update it, or check CUDA_VISIBLE_DEVICES and the container's --gpus"
            )
    elif machine.device == "cpu":
        yield Advice("no GPU was found; training on all of reBEN takes days on a CPU, so use one for more than trials")
    for number, gpu in enumerate(machine.gpus):
        # `auto` takes the first card.
        if not gpu.supported:
            yield Advice(
                f"the installed torch has no kernels for cuda:{number} ({gpu.name}, capability "
                f"{gpu.capability[0]}.{gpu.capability[1]}); install a build for it or use --device cpu",
                stops=number == 0,
            )
        elif not gpu.bfloat16:
            yield Advice(
                f"cuda:{number} ({gpu.name}) does not compute in bfloat16 and trains in float32, which is slower and "
                f"takes more memory; cards from capability {_BFLOAT16[0]}.{_BFLOAT16[1]} on do"
            )


def _judge_cores(machine: Machine) -> Iterator[Advice]:
    usable = machine.cores if machine.quota is None else max(1, min(machine.cores, int(machine.quota)))
    if machine.threads > usable:
        yield Advice(
            f"torch computes with {machine.threads} threads on {usable} cores, which slows it down; "
            f"set OMP_NUM_THREADS={usable}"
        )
    elif machine.device == "cpu" and machine.omp_threads and 2 * machine.threads <= usable:
        yield Advice(
            f"OMP_NUM_THREADS={machine.omp_threads} leaves {usable - machine.threads} of {usable} cores idle when "
            "training on the CPU; unset it"
        )


def _judge_room(machine: Machine) -> Iterator[Advice]:
    work = machine.work
    if not work.writable:
        yield Advice(f"you may not write into {work.folder}; start seg elsewhere or name folders with --out")
    elif work.free_bytes < _WORK:
        yield Advice(
            f"{work.folder} has {_gb(work.free_bytes)} free; free some space or write runs to another disk with --out",
            stops=work.free_bytes < _LEAST_WORK,
        )
    if machine.memory_bytes is not None and machine.memory_bytes < _MEMORY:
        yield Advice(
            f"there is only {_gb(machine.memory_bytes)} of memory; lower --set train.batch_size and set data.workers=0"
        )


def _gb(size: int) -> str:
    return f"{size / _GB:.1f} GB"
