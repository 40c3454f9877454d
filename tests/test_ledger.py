"""The ledger of cost: what is measured, over sittings and processes, and how it is kept and shown."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seg.config.load import load_config
from seg.engine.cost import Meter, RunCost, cost_of_state
from seg.engine.distributed import ALONE, Ranks
from seg.engine.energy import Counter, EnergyMeter, energy_meter
from seg.report.record import run_record, write_json
from seg.runs.cost import cost_in_words, ledger, note_trials, tried

CPU = torch.device("cpu")


def powercap(folder: Path, **zones: tuple[str, int, int]) -> Path:
    """Counters of processors as Linux shows them: name, energy and largest value, µJ."""
    for zone, (name, energy, full) in zones.items():
        place = folder / zone.replace("_", ":")
        place.mkdir(parents=True, exist_ok=True)
        for file, value in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", full)):
            (place / file).write_text(f"{value}\n")
    return folder


def test_the_energy_of_processors(tmp_path: Path):
    zones = {"intel-rapl_0": ("package-0", 5_000_000, 10_000_000), "intel-rapl_1": ("package-1", 0, 10_000_000)}
    parts = {"intel-rapl_0_0": ("core", 1_000_000, 10_000_000), "intel-rapl_2": ("psys", 7, 10_000_000)}
    meter = energy_meter(CPU, ALONE, powercap(tmp_path, **zones, **parts))
    assert meter.by == "RAPL"
    assert meter.joules() == 0
    # One went on, the other was full and began again.
    powercap(tmp_path, intel_rapl_1=("", 0, 0))
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("2000000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000\n")
    assert meter.joules() == pytest.approx(7.5)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3000000\n")
    assert meter.joules() == pytest.approx(8.5)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.joules() is None
    assert meter.joules() is None
    assert energy_meter(CPU, ALONE, tmp_path).by == ""
    assert energy_meter(CPU, ALONE, tmp_path / "nowhere").joules() is None


def test_of_the_processes_on_a_machine_the_first_counts_its_processors(tmp_path: Path):
    folder = powercap(tmp_path, **{"intel-rapl_0": ("package-0", 0, 10)})
    second = energy_meter(CPU, Ranks(rank=1, count=2, local_rank=1), folder)
    (folder / "intel-rapl:0" / "energy_uj").write_text("9\n")
    assert (second.by, second.joules()) == ("RAPL", 0)


class NvmlError(Exception):
    pass


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A GPU that has used so many mJ, and what it was asked for."""
    state: dict[str, Any] = {"mj": 1000}

    def energy(handle: str) -> int:
        if state["mj"] is None:
            raise NvmlError("not supported")
        state["handle"] = handle
        return int(state["mj"])

    fake = SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="12-34"))
    return state


def test_the_energy_of_a_gpu(gpu: dict[str, Any], tmp_path: Path):
    meter = energy_meter(torch.device("cuda:1"), ALONE, tmp_path)
    gpu["mj"] = 4500
    assert (meter.by, meter.joules(), gpu["handle"]) == ("NVML", 3.5, "GPU-12-34")
    both = energy_meter(torch.device("cuda"), ALONE, powercap(tmp_path, **{"intel-rapl_0": ("package-0", 0, 10**9)}))
    gpu["mj"] = 5500
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("2000000\n")
    assert (both.by, both.joules()) == ("NVML and RAPL", 3.0)
    # A GPU that does not count leaves the energy unknown, whatever the processors say.
    gpu["mj"] = None
    assert energy_meter(torch.device("cuda"), ALONE, tmp_path).by == ""
    assert both.joules() is None


def test_the_real_library_has_what_is_asked_of_it():
    pynvml = pytest.importorskip("pynvml")
    for name in ("nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption", "NVMLError"):
        assert hasattr(pynvml, name)


def counted(joules: list[int]) -> EnergyMeter:
    return EnergyMeter((Counter(lambda: joules[0], 1),), "RAPL")


def test_sittings_add_up(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr("seg.engine.cost.time.perf_counter", lambda: now[0])
    joules = [7]
    first = Meter(CPU, energy=counted(joules), began=98.0)
    first.saw(64)
    first.saw(36)
    now[0], joules[0] = 110.0, 27
    saved = first.together()
    assert (saved.wall_seconds, saved.device_seconds, saved.patches_seen) == (12.0, 12.0, 100)
    assert (saved.energy_joules, saved.energy_by, saved.peak_device_memory_bytes) == (20, "RAPL", None)
    assert saved.peak_memory_bytes is not None
    # What came after the state was saved is gone with the process.
    first.saw(1000)
    second = Meter(CPU, energy=counted(joules), began=105.0)
    second.add(cost_of_state(json.loads(json.dumps(saved.__dict__))))
    second.saw(5)
    now[0], joules[0] = 111.0, 30
    both = second.alone()
    assert (both.wall_seconds, both.patches_seen, both.energy_joules) == (18.0, 105, 23)
    # A sitting without a counter leaves the whole unknown.
    third = Meter(CPU, energy=EnergyMeter(), began=111.0)
    third.add(both)
    assert (third.together().energy_joules, third.together().energy_by) == (None, None)
    fourth = Meter(CPU, energy=counted(joules), began=111.0)
    fourth.add(third.together())
    assert fourth.together().energy_joules is None
    assert cost_of_state({}).energy_joules is None


class TwoRanks(Ranks):
    """This process, and one like it that tells what it is given."""

    def gather(self, content: bytes) -> list[bytes]:
        return [content, json.dumps([10**15, 5, 40]).encode()]


def test_processes_add_up():
    meter = Meter(CPU, TwoRanks(rank=0, count=2, local_rank=0), counted([3]), began=None)
    cost = meter.together()
    assert cost.device_seconds == 2 * cost.wall_seconds
    assert (cost.peak_memory_bytes, cost.peak_device_memory_bytes, cost.energy_joules) == (10**15, 5, 40)
    later = meter.alone()
    assert later.device_seconds == pytest.approx(2 * later.wall_seconds)
    assert later.energy_joules == 40


def test_the_energy_is_read_while_others_work(monkeypatch: pytest.MonkeyPatch):
    now, read = [0.0], []
    monkeypatch.setattr("seg.engine.cost.time.monotonic", lambda: now[0])
    meter = Meter(CPU, energy=EnergyMeter((Counter(lambda: len(read), 1),), "RAPL"))
    monkeypatch.setattr(meter._energy, "joules", lambda: read.append(now[0]))
    for _ in meter.watching(lambda items, *_: items)(range(5), "validation", 5):
        now[0] += 40.0
    assert read == [80.0, 160.0]


def test_what_is_kept_and_shown():
    cost = RunCost(7200.0, 14400.0, 1000, 3 * 2**30, None, 7.2e6, "RAPL")
    record = {"hardware": {"cpu": "EPYC", "gpus": ["H200"]}, "compute": {"device": "cpu"}}
    kept = ledger(cost, record | {"parameters_trained": 5000}, trials=4)
    assert list(kept) == [
        "wall_seconds",
        "device_seconds",
        "patches_seen",
        "peak_memory_bytes",
        "peak_device_memory_bytes",
        "energy_joules",
        "energy_by",
        "device",
        "trials",
        "parameters_trained",
    ]
    words = "4 device hours on EPYC, 5,000 parameters trained, 1,000 patches seen, 3.0 GiB of memory, 2 kWh by RAPL"
    assert cost_in_words({"cost": kept}) == words
    assert ledger(cost, record | {"compute": {"device": "cuda"}})["device"] == "H200"
    assert cost_in_words({"cost": kept | {"energy_joules": None}}).endswith("energy not measured")
    assert cost_in_words({}) == cost_in_words({"cost": {"device_seconds": "many"}}) == ""


def test_trials_are_configurations_whatever_their_seed_and_budget(tmp_path: Path):
    def config(*overrides: str) -> Any:
        return load_config(None, overrides)

    planned = [config(f"train.lr={lr}", f"train.seed={seed}") for lr in ("1e-3", "3e-4") for seed in (0, 1)]
    assert tried(tmp_path, planned) == 2
    budgets = [config("data.fraction=0.1"), config("data.except_countries=Finland", "eval.countries=Finland")]
    assert tried(tmp_path, [*planned, *budgets]) == 2
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / "config.yaml").write_text("model: {arch: fpn}\n")
    assert tried(tmp_path, planned) == 3
    before = run_record(status="finished", cost={"wall_seconds": 1.0, "trials": 1})
    write_json(folder / "run.json", before)
    note_trials(folder, 3)
    record = json.loads((folder / "run.json").read_text())
    assert record == before | {"cost": {"wall_seconds": 1.0, "trials": 3}}
    note_trials(tmp_path / "nowhere", 3)
