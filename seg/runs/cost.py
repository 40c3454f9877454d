"""The ledger of a run: what it has cost, as ``run.json`` keeps it under ``cost`` and tables show it."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg.config.identity import settings_of_experiment
from seg.config.load import load_config
from seg.config.sections import Config
from seg.errors import SegError
from seg.report.record import write_json
from seg.runs.folder import CONFIG_FILE, RECORD_FILE, read_run, section
from seg.store.targets import Known, claimed_folder

if TYPE_CHECKING:
    from seg.engine.cost import RunCost
    from seg.engine.rehearsal import Rehearsal

_NO_TRIAL = ("fraction", "fraction_seed", "countries", "except_countries")
"""Settings of ``data`` that say what is asked and not how it is answered: other values of them try nothing."""


def ledger(cost: "RunCost", record: Mapping[str, Any], trials: int = 1) -> dict[str, Any]:
    """The section ``cost`` of ``run.json``.

    Args:
        cost: What was measured.
        record: What ``run.json`` says of the machine, and of how many parameters learned.
        trials: Configurations that were tried to come to this one, itself included.
    """
    trained = record.get("parameters_trained")
    return {**asdict(cost), "device": device_of(record), "trials": trials, "parameters_trained": trained}


def expected_ledger(rehearsal: "Rehearsal", seconds: float, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is expected to cost if it does not stop early, as `ledger` says it.

    Args:
        rehearsal: Some steps of it.
        seconds: What it took to get ready for them, which the run will take as well.
        record: What ``run.json`` says of the machine and of the processes.
    """
    from seg.engine.cost import RunCost, peak_memory

    wall, processes = seconds + rehearsal.run_seconds, int(section(dict(record), "batch").get("processes", 1))
    joules, gpu = rehearsal.joules, rehearsal.memory_total is not None
    expected = RunCost(
        wall_seconds=wall,
        device_seconds=wall * processes,
        patches_seen=rehearsal.patches_seen,
        peak_memory_bytes=peak_memory() if gpu else rehearsal.memory_bytes,
        peak_device_memory_bytes=rehearsal.memory_bytes if gpu else None,
        energy_joules=None if joules is None else joules / rehearsal.seconds * wall,
        energy_by=None if joules is None else rehearsal.energy_by,
    )
    return ledger(expected, record)


def device_of(record: Mapping[str, Any]) -> str:
    """What a run was computed on: the name of the GPU, or of the processor."""
    hardware, device = section(dict(record), "hardware"), section(dict(record), "compute").get("device")
    gpus = hardware.get("gpus") or []
    return str(gpus[0] if gpus and device != "cpu" else hardware.get("cpu") or "unknown")


def tried(out: Path, configs: Iterable[Config]) -> int:
    """Configurations that a sweep has tried: what is planned and what lies in its folder, but for seeds and budgets.

    Args:
        out: The folder of the run folders.
        configs: What is planned.
    """
    known = [*configs]
    for path in sorted(out.glob(f"*/{CONFIG_FILE}")):
        with suppress(SegError):
            known.append(load_config(path))
    return len({repr(_of_trial(config)) for config in known})


def note_trials(folder: Path, trials: int) -> None:
    """Write into the record of a run how many configurations were tried; a record that somebody has edited stays.

    Raises:
        OSError: If it cannot be written.
    """
    with suppress(SegError):
        record = read_run(folder).record
        cost = section(record, "cost")
        if cost and cost.get("trials") != trials:
            with claimed_folder(folder, (RECORD_FILE,), Known(vouchers=(RECORD_FILE,))):
                write_json(folder / RECORD_FILE, {**record, "cost": {**cost, "trials": trials}})


def cost_in_words(record: Mapping[str, Any]) -> str:
    """What a reader wants to know of the cost of a run; empty if the record does not say."""
    cost = section(dict(record), "cost")
    known = {name: value for name, value in cost.items() if isinstance(value, int | float)}
    if "device_seconds" not in known:
        return ""
    shown: dict[str, Callable[[float], str]] = {
        "parameters_trained": lambda count: f"{count:,.0f} parameters trained",
        "patches_seen": lambda patches: f"{patches:,.0f} patches seen",
        "peak_memory_bytes": lambda size: f"{size / 2**30:.1f} GiB of memory",
        "peak_device_memory_bytes": lambda size: f"{size / 2**30:.1f} GiB on the GPU",
        "energy_joules": lambda energy: f"{energy / 3.6e6:.3g} kWh by {cost.get('energy_by')}",
    }
    parts = [f"{known['device_seconds'] / 3600:.3g} device hours on {cost.get('device')}"]
    parts += [words(known[name]) for name, words in shown.items() if name in known]
    parts += ["energy not measured"] * ("energy_joules" not in known)
    return ", ".join(parts)


def _of_trial(config: Config) -> dict[str, Any]:
    settings = settings_of_experiment(config)
    return settings | {"data": {key: value for key, value in settings["data"].items() if key not in _NO_TRIAL}}
