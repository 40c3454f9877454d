"""The doctor: every piece of advice from facts made up for it, and the command on this machine."""

import dataclasses
import importlib.metadata
import json
import sys
import tomllib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import typed
from packaging.requirements import Requirement

from seg.cli.doctor import _extras_row, _machine_rows
from seg.engine.instructions import cpu_instructions
from seg.engine.speed import Speed
from seg.pipeline.doctor import diagnose
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.runs import cores
from seg.runs import machine as machine_module
from seg.runs.advice import FoundStore, judge, judge_store, look_for_store
from seg.runs.data import demo_folder
from seg.runs.expectation import Expectation
from seg.runs.machine import Gpu, Machine, Place, inspect_machine
from seg.store.open import open_store

GB = 10**9
ROOT = Path(__file__).parents[1]
CARD = Gpu(name="Card", memory_bytes=80 * GB, capability=(9, 0), bfloat16=True, supported=True)
GOOD = Machine(
    system="Linux x86_64",
    cpu="CPU",
    cores=16,
    quota=None,
    threads=16,
    omp_threads=None,
    memory_bytes=64 * GB,
    torch_build="cuda 13.0",
    nvidia_driver="580.1",
    gpus=(CARD,),
    device="cuda",
    dtype="bfloat16",
    instructions="AVX-512 with bfloat16",
    work=Place(Path("/work"), 900 * GB, True),
    cache=Place(Path("/cache"), 900 * GB, True),
    open_files=65536,
    shared_bytes=32 * GB,
    missing=(),
    optional={"wandb": "1.0", "mlflow": "3.0"},
    extras={"onnx": (), "stac": ()},
)
OLD = Gpu(name="Old", memory_bytes=8 * GB, capability=(7, 5), bfloat16=False, supported=True)
ANCIENT = Gpu(name="Ancient", memory_bytes=2 * GB, capability=(3, 5), bfloat16=False, supported=False)
CPU = {"gpus": (), "device": "cpu", "nvidia_driver": None}


def changed(**facts):
    return dataclasses.replace(GOOD, **facts)


def test_a_good_machine_needs_nothing():
    assert list(judge(GOOD)) == []


@pytest.mark.parametrize(
    ("facts", "words", "stops"),
    [
        ({"gpus": (), "device": "cpu", "torch_build": "cpu"}, "install a CUDA build of torch", False),
        ({"gpus": (), "device": "cpu"}, "sees no GPU although there is an NVIDIA driver (580.1)", False),
        (CPU, "no GPU was found", False),
        ({"gpus": (OLD,), "dtype": "float32"}, "cuda:0 (Old) does not compute in bfloat16", False),
        ({"gpus": (ANCIENT,)}, "no kernels for cuda:0 (Ancient, capability 3.5)", True),
        ({"gpus": (CARD, ANCIENT)}, "no kernels for cuda:1", False),
        ({"quota": 4.0}, "16 threads on 4 cores, which slows it down; set OMP_NUM_THREADS=4", False),
        ({"quota": 0.5, "threads": 2}, "set OMP_NUM_THREADS=1", False),
        ({"threads": 64, "omp_threads": "64"}, "set OMP_NUM_THREADS=16", False),
        ({"work": Place(Path("/w"), 2 * GB, True)}, "/w has 2.0 GB free", False),
        ({"work": Place(Path("/w"), GB // 20, True)}, "/w has 0.1 GB free", True),
        ({"work": Place(Path("/w"), 900 * GB, False)}, "you may not write into /w", False),
        ({"memory_bytes": 2 * GB}, "only 2.0 GB of memory", False),
        ({"open_files": 256}, "ulimit -n 4096", False),
        ({"shared_bytes": 64 * 2**20}, "--shm-size=2g", False),
        ({"missing": ("tensorboard",)}, "tensorboard is not installed; run: pip install tensorboard", True),
    ],
)
def test_each_fault_has_one_sentence_with_its_cure(facts, words, stops):
    (advice,) = judge(changed(**facts))
    assert words in advice.text
    assert advice.stops is stops
    assert "\n" not in advice.text


def test_what_nobody_asked_for_is_in_the_table_and_no_advice():
    bare = changed(optional={"wandb": None, "mlflow": "3.0"}, extras={"onnx": ("onnx",), "stac": ("pystac",)})
    assert list(judge(bare)) == []
    rows = _machine_rows(bare)
    assert rows["optional"] == "no wandb (for train.loggers=wandb: pip install wandb); mlflow 3.0"
    assert rows["extras"] == "onnx lacks onnx; stac lacks pystac"


def test_idle_cores_matter_on_a_cpu_only():
    idle = {"threads": 1, "omp_threads": "1"}
    assert list(judge(changed(**idle))) == []
    assert any("leaves 15 of 16 cores idle" in advice.text for advice in judge(changed(**CPU, **idle)))


@pytest.mark.parametrize("facts", [{"memory_bytes": None}, {"open_files": None}, {"shared_bytes": None}])
def test_what_is_not_known_is_no_fault(facts):
    assert list(judge(changed(**facts))) == []


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SEG_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def store(real, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores") / "full"
    build_store(published_sources(real / "reben-full-4"), folder)
    return folder


def test_a_store_that_cannot_be_opened_stops_seg(home):
    found = look_for_store(Path("nowhere"))
    (advice,) = judge_store(found, GOOD)
    assert advice.stops
    assert "the store of --data cannot be used: there is no store nowhere" in advice.text


def test_the_environment_names_the_store_and_the_option_wins(home, store, monkeypatch):
    monkeypatch.setenv("SEG_DATA", "nowhere")
    assert look_for_store().source == "SEG_DATA"
    assert look_for_store().failure is not None
    found = look_for_store(store)
    assert (found.source, found.failure) == ("--data", None)
    assert found.info == open_store(store).info
    assert list(judge_store(found, GOOD)) == []


def test_the_demo_store_is_named_and_not_made(home):
    found = look_for_store()
    assert found == FoundStore("demo", demo_folder())
    assert not (home / "cache").exists()
    assert ["SYNTHETIC" in advice.text for advice in judge_store(found, GOOD)] == [True]
    full = changed(cache=Place(Path("/c"), GB // 2, True))
    assert [advice.stops for advice in judge_store(found, full)] == [False, True]
    foreign = changed(cache=Place(Path("/c"), 9 * GB, False))
    assert [advice.stops for advice in judge_store(found, foreign)] == [False, True]


# --- this machine ----------------------------------------------------------------------------------------------------


def test_facts_of_this_machine(home, monkeypatch):
    monkeypatch.setattr(machine_module, "OPTIONAL", {"pytest": "x", "no-such-package": "x"})
    facts = inspect_machine(home / "cache" / "seg")
    assert facts.cores >= 1
    assert facts.threads >= 1
    assert facts.work.folder == home
    assert facts.work.writable
    # The cache is not there yet; its disk is.
    assert facts.cache.free_bytes > 0
    assert not (home / "cache").exists()
    assert facts.missing == ()
    assert facts.optional == {"pytest": pytest.__version__, "no-such-package": None}


def test_of_each_extra_what_is_not_installed_is_said(home, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {
        extra: {name for text in texts if not installed(name := Requirement(text).name)}
        for extra, texts in project.items()
        if extra not in {"dev", "docs", "bench"}
    }
    assert {extra: set(absent) for extra, absent in inspect_machine(home).extras.items()} == wanted
    monkeypatch.setattr(machine_module, "_version", lambda name: None if name in {"onnxruntime", "peft"} else "1.0")
    facts = inspect_machine(home).extras
    assert facts == dict.fromkeys(wanted, ()) | {"onnx": ("onnxruntime",), "lora": ("peft",)}
    row = _extras_row(facts)
    assert row.startswith("complete: dask, energy, geofm, lightning, s3,")
    assert row.endswith("; lora lacks peft; onnx lacks onnxruntime")
    assert _extras_row({"s3": ()}) == "complete: s3"


def installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def test_cards_are_judged_by_what_torch_was_built_for(monkeypatch):
    cards = {"Old": (6, 1), "Turing": (7, 5), "Ada": (8, 9), "Blackwell": (12, 0)}

    def properties(number):
        major, minor = list(cards.values())[number]
        return SimpleNamespace(name=list(cards)[number], major=major, minor=minor, total_memory=GB)

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(cards))
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_75", "sm_80", "sm_90a", "sm_100", "compute_120"])
    monkeypatch.setattr("torch.cuda.get_device_properties", properties)
    monkeypatch.setattr("torch.version.hip", None)
    found = {gpu.name: (gpu.supported, gpu.bfloat16) for gpu in machine_module._gpus()}
    assert found == {"Old": (False, False), "Turing": (True, False), "Ada": (True, True), "Blackwell": (True, True)}


def test_limits_of_a_container(tmp_path, monkeypatch):
    for module in (cores, machine_module):
        monkeypatch.setattr(module, "CGROUP", tmp_path)
    facts = inspect_machine(tmp_path)
    assert facts.quota is None
    unlimited = facts.memory_bytes
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    facts = inspect_machine(tmp_path)
    assert (facts.quota, facts.memory_bytes) == (None, unlimited)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    facts = inspect_machine(tmp_path)
    assert (facts.quota, facts.memory_bytes) == (1.5, 1_000_000)


def test_what_to_expect_is_measured(home):
    diagnosis = diagnose()
    assert diagnosis.works
    expected = diagnosis.expectation
    assert expected.network == "unet resnet18 on 12 bands"
    speed = expected.speed
    assert expected.epoch_hours == pytest.approx((237_871 / speed.training + 122_342 / speed.running) / 3600)


def test_what_stops_seg_comes_first(home, monkeypatch):
    monkeypatch.setattr("seg.pipeline.doctor.inspect_machine", lambda _: changed(open_files=9, missing=("lmdb",)))
    diagnosis = diagnose()
    assert not diagnosis.works
    assert diagnosis.expectation is None
    assert [advice.stops for advice in diagnosis.advice] == [True, False, False]


EXPECTED = Expectation("unet resnet18 on 12 bands", "float32, AVX2", Speed(8.0, 30.0, 8, 2), 9.4)


@pytest.fixture
def cli(home, capfd, monkeypatch):
    monkeypatch.setattr("seg.pipeline.doctor.expect_default", lambda: EXPECTED)

    return partial(typed, capfd, monkeypatch)


def test_the_command(cli, store):
    code, out, err = cli("doctor", "--data", store)
    assert (code, err) == (0, "")
    info = open_store(store).info
    assert info.fingerprint in " ".join(out.split())
    assert "4 patches" in " ".join(out.split())
    expected = "9.4 h for an epoch of unet resnet18 on 12 bands over all of reBEN (float32, AVX2): 8.0 patches/s"
    assert expected in " ".join(out.split())
    assert f"{cpu_instructions().name} of the CPU" in out
    code, out, _ = cli("doctor", "--data", store, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["works"] is True
    assert document["store"]["info"]["fingerprint"] == info.fingerprint
    assert document["machine"]["cores"] >= 1
    assert document["versions"]["torch"]
    assert document["expectation"]["epoch_hours"] == 9.4
    code, out, _ = cli("doctor", "--data", "nowhere")
    assert code == 1
    assert "stops seg: the store of --data" in " ".join(out.split())
    code, out, _ = cli("doctor", "--data", "nowhere", "--json")
    assert (code, json.loads(out)["works"]) == (1, False)


def test_a_broken_installation_is_one_sentence(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "seg.pipeline.doctor", None)
    code, out, err = cli("doctor")
    assert (code, out) == (1, "")
    assert "install it again" in " ".join(err.split())


def test_models_as_typed(cli):
    code, out, _ = cli("models", "--arch", "unet", "--encoder", "tu-test_resnet", "--modality", "s1", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["bands"] == ["VV", "VH"]
    (network,) = document["networks"]
    assert network["cost"]["multiply_adds"] > 0
    code, out, _ = cli("models", "--encoder", "tu-test_vit", "--bands", "B02,B03")
    assert code == 0
    assert "tu-test_vit" in out
    assert "Do not fit: tu-test_vit in unet" in out
    code, out, err = cli("models", "--arch", "unnet")
    assert (code, out) == (2, "")
    assert "unnet" in err
    assert cli("models", "--modality", "s1", "--bands", "VV")[0] == 2
