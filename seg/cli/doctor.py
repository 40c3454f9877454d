"""``seg doctor``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seg.cli import console, options
from seg.config.wording import counted
from seg.runs.cores import spin_on_idle_cores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seg.pipeline.doctor import Diagnosis
    from seg.runs.advice import FoundStore
    from seg.runs.expectation import Expectation
    from seg.runs.machine import Machine


def doctor(
    data: options.Data = None,
    metadata: options.Metadata = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what this machine has, the store found, and what to install or change; exit code 1 if seg cannot work."""
    # It says how fast training would be.
    spin_on_idle_cores()
    try:
        from seg.pipeline.doctor import diagnose
    except ImportError as error:
        console.notify(
            f"seg cannot start: {error}; install it again, with the packages that it needs: pip install -e ."
        )
        sys.exit(1)
    diagnosis = diagnose(data, metadata)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(diagnosis) | {"works": diagnosis.works}, indent=2, default=str))
    else:
        _show(diagnosis)
    if not diagnosis.works:
        sys.exit(1)


def _show(diagnosis: "Diagnosis") -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    known = ((name, version) for name, version in diagnosis.versions.items() if version)
    rows = {
        "versions": ", ".join(f"{name} {version}" for name, version in known),
        **_machine_rows(diagnosis.machine),
        "store": _store_row(diagnosis.store),
    }
    if diagnosis.expectation:
        rows["to expect"] = _expectation_row(diagnosis.expectation)
    for name, value in rows.items():
        grid.add_row(name, escape(value))
    console.out.print(grid)
    for advice in diagnosis.advice:
        mark = "[bold red]stops seg:[/]" if advice.stops else "[yellow]advice:[/]"
        console.out.print(f"{mark} {escape(advice.text)}", soft_wrap=True)
    if not diagnosis.advice:
        console.done("Nothing to change.")


def _machine_rows(machine: "Machine") -> dict[str, str]:
    gpus = [
        f"cuda:{number} {gpu.name}, {gpu.memory_bytes / 1e9:.0f} GB, capability "
        f"{gpu.capability[0]}.{gpu.capability[1]}, {'bfloat16' if gpu.bfloat16 else 'no bfloat16'}"
        for number, gpu in enumerate(machine.gpus)
    ]
    quota = "" if machine.quota is None else f", {machine.quota:g} by the container's limit"
    threads = f"{counted(machine.threads, 'thread', 'threads')}, OMP_NUM_THREADS {machine.omp_threads or 'not set'}"
    memory = "unknown" if machine.memory_bytes is None else f"{machine.memory_bytes / 1e9:.1f} GB"
    why = "computes in it itself" if machine.dtype == "bfloat16" else "bfloat16 is emulated or absent here"
    places = {"here": machine.work, "cache": machine.cache}
    disk = (f"{place.free_bytes / 1e9:.1f} GB {name} ({place.folder})" for name, place in places.items())
    return {
        "system": f"{machine.system}, {machine.cpu}",
        "torch": f"{machine.torch_build}, NVIDIA driver {machine.nvidia_driver or 'not there'}",
        "devices": "; ".join(gpus) or "no CUDA device",
        "trains on": f"{machine.device} in {machine.dtype} ({why})",
        "instructions": f"{machine.instructions} of the CPU",
        "cores": f"{machine.cores}{quota}; {threads}",
        "memory": memory,
        "free disk": "; ".join(disk),
        "open files": "unlimited" if machine.open_files is None else str(machine.open_files),
        "/dev/shm": "not there" if machine.shared_bytes is None else f"{machine.shared_bytes / 1e9:.1f} GB",
        "optional": "; ".join(_optional(name, version) for name, version in machine.optional.items()),
        "extras": _extras_row(machine.extras),
    }


def _optional(name: str, version: str | None) -> str:
    """A package that nobody needs who has not asked for it."""
    from seg.runs.machine import OPTIONAL

    return f"{name} {version}" if version else f"no {name} (for {OPTIONAL[name]}: pip install {name})"


def _extras_row(extras: "Mapping[str, Sequence[str]]") -> str:
    """Which extras are complete, and what the others lack."""
    complete = [name for name, absent in extras.items() if not absent]
    lacking = [f"{name} lacks {', '.join(absent)}" for name, absent in extras.items() if absent]
    return "; ".join([*([f"complete: {', '.join(complete)}"] if complete else []), *lacking])


def _expectation_row(expected: "Expectation") -> str:
    speed = expected.speed
    hours = expected.epoch_hours
    return (
        f"{f'{hours:.1f} h' if hours >= 1 else f'{60 * hours:.0f} min'} for an epoch of {expected.network} over all of "
        f"reBEN ({expected.compute}): {_rate(speed.training)} patches/s in training and {_rate(speed.running)} in "
        f"evaluation, measured just now with {speed.steps} steps of {speed.batch_size} random patches, without reading"
    )


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _store_row(store: "FoundStore") -> str:
    if store.info is None:
        return f"{store.folder} ({store.source}): {'not made yet' if store.failure is None else 'cannot be used'}"
    info = store.info
    splits = ", ".join(f"{count} {split}" for split, count in info.splits.items())
    synthetic = "SYNTHETIC, " if info.synthetic else ""
    return (
        f"{store.folder} ({store.source}): {synthetic}{info.patches} patches ({splits}), bands {' '.join(info.bands)}, "
        f"fingerprint {info.fingerprint}"
    )
