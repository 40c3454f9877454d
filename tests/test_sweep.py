"""Sweeps: what is started for which run, with a stub in the place of seg that keeps a diary."""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import torch

import seg
from seg.cli.main import main
from seg.errors import RunError, TrainingError, WrongUseError
from seg.runs.sweep import Scoring, look, sweep_runs

STUB = """
import json, os, signal, sys, time
from pathlib import Path
from seg.config.load import dump_config, load_config

command, *words = sys.argv[1:]
with open("diary.txt", "a") as diary:
    diary.write(" ".join(sys.argv[1:]) + "\\n")


def option(name):
    return words[words.index(name) + 1] if name in words else None


if command == "eval":
    folder = Path(words[0]) / "eval" / option("--split")
    folder.mkdir(parents=True)
    (folder / "eval.json").write_text(json.dumps({"weights": None}))
    sys.exit()
folder = Path(option("--out"))
folder.mkdir(parents=True, exist_ok=True)
if "--resume" not in words:
    sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    config = load_config(Path(option("--config")), sets, train__seed=int(option("--seed")))
    (folder / "config.yaml").write_text(dump_config(config))
if folder.name in os.environ.get("FAIL", ""):
    sys.exit(1)
(folder / "checkpoints" / "last").mkdir(parents=True, exist_ok=True)
record = {"status": "running", "data": {"fingerprint": "f"}}
(folder / "run.json").write_text(json.dumps(record))
if os.environ.get("WAIT"):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    Path("waiting").touch()
    time.sleep(60)
(folder / "run.json").write_text(json.dumps(record | {"status": "finished"}))
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder with two configurations and the stub."""
    monkeypatch.chdir(tmp_path)
    for name in ("SEG_DATA", "FAIL", "WAIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "a.yaml").write_text("model: {arch: unet}\n")
    (tmp_path / "b.yaml").write_text("model: {arch: fpn}\n")
    (tmp_path / "stub.py").write_text(STUB)
    return tmp_path


def command(*words):
    return ["seg", "sweep", "--out", "runs", "--seg", shlex.join([sys.executable, "stub.py"]), *words]


@pytest.fixture
def sweep(desk, monkeypatch, capfd):
    """Run the command in this process, which has imported what it needs; exit code and output."""

    def run(*words, **environment):
        with monkeypatch.context() as here:
            for name, value in environment.items():
                here.setenv(name, value)
            here.setenv("COLUMNS", "400")
            here.setattr(sys, "argv", command(*words))
            try:
                main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
        captured = capfd.readouterr()
        return SimpleNamespace(returncode=code, stdout=captured.out, stderr=captured.err)

    return run


def diary():
    path = Path("diary.txt")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def train_line(config, name, seed, *more):
    whole = str(Path(config).absolute())
    return " ".join(["train", "--config", whole, "--seed", str(seed), *more, "--out", f"runs/{name}"])


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_grid_is_every_combination_once(desk):
    runs = sweep_runs(
        [Path("a.yaml"), Path("b.yaml")],
        Path("runs"),
        seeds="0,7",
        grid=("train.lr=1e-3,3e-4", "data.months=[6,7],[1]"),
        overrides=("train.epochs=3",),
    )
    assert len(runs) == len({run.name for run in runs}) == 16
    seen = {(r.config.model.arch, r.config.train.seed, r.config.train.lr, r.config.data.months) for r in runs}
    months = ((6, 7), (1,))
    assert seen == {(a, s, lr, m) for a in ("unet", "fpn") for s in (0, 7) for lr in (1e-3, 3e-4) for m in months}
    assert {run.config.train.epochs for run in runs} == {3}
    assert runs[0].name == "a-lr_1e-3-months_6_7-seed0"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seeds": "0,x"}, WrongUseError, "--seeds 0,1,2"),
        ({"seeds": "1,1"}, WrongUseError, "a-seed1"),
        ({"grid": ("train.lr",)}, WrongUseError, "names no values"),
        ({"grid": ("train.lrr=1,2",)}, WrongUseError, "train.lr"),
        ({"configs": (Path("a.yaml"), Path("c/a.yaml"))}, WrongUseError, "a-seed0"),
        ({"grid": ("train.seed=1,2",)}, WrongUseError, "write it as --seeds 0,1,2"),
        ({"overrides": ("train.seed=5",)}, WrongUseError, "write it as --seeds 0,1,2"),
        ({"grid": ("train.lr=2e-3,0.002",)}, WrongUseError, "would be the same run; give values and settings once"),
        ({"grid": ("train.lr=1e-3", "train.lr=1e-4")}, WrongUseError, "in one --grid"),
        ({"grid": ("train.lr=1e-3,1e-4",), "overrides": (" train.lr=1",)}, WrongUseError, "in one --grid"),
    ],
)
def test_a_grid_that_makes_no_sense_starts_nothing(desk, changes, error, message):
    with pytest.raises(error, match=message):
        sweep_runs(**{"configs": (Path("a.yaml"),), "out": Path("runs"), **changes})


def test_commas_within_a_value_of_a_grid_belong_to_it(desk):
    two = "[{HorizontalFlip: {p: 0.5}},{VerticalFlip: {p: 0.5}}]"
    runs = sweep_runs((Path("a.yaml"),), Path("runs"), grid=(f"data.augment=[],{two}",))
    assert [run.options[-1] for run in runs] == ["data.augment=[]", f"data.augment={two}"]


def test_a_dry_run_prints_the_plan_and_starts_nothing(desk, sweep):
    done = sweep("a.yaml", "b.yaml", "--seeds", "0,1", "--dry-run")
    assert done.returncode == 0, done.stderr
    folders = ["runs/a-seed0", "runs/a-seed1", "runs/b-seed0", "runs/b-seed1"]
    assert done.stdout.splitlines() == [
        *(f"train     {folder}" for folder in folders),
        f"Then: seg compare {' '.join(folders)} --split test",
    ]
    assert diary() == []
    assert not Path("runs").exists()


# --- running ---------------------------------------------------------------------------------------------------------


def test_every_run_is_trained_and_scored_and_then_skipped(desk, sweep):
    done = sweep("a.yaml", "--seeds", "0,1", "--set", "train.epochs=3", "--data", "store")
    assert done.returncode == 0, done.stderr
    store = str(desk / "store")
    more = ("--set", "train.epochs=3", "--data", store)
    assert diary() == [
        line
        for seed in (0, 1)
        for line in (
            train_line("a.yaml", f"a-seed{seed}", seed, *more),
            f"eval runs/a-seed{seed} --split test --data {store}",
        )
    ]
    assert done.stdout.splitlines()[-1] == "Compare: seg compare runs/a-seed0 runs/a-seed1 --split test"
    again = sweep("a.yaml", "--seeds", "0,1,2", "--set", "train.epochs=3", "--data", "store")
    assert again.returncode == 0
    assert [line for line in diary() if line.startswith("train")] == [train_line("a.yaml", "a-seed2", 2, *more)]
    assert "2 finished before, 1 now, none failed" in again.stdout


def test_a_failure_does_not_stop_the_others_and_is_named_at_the_end(desk, sweep):
    done = sweep("a.yaml", "b.yaml", "--no-eval", FAIL="a-seed0")
    assert done.returncode == 1
    assert [Path(line.split()[2]).name for line in diary()] == ["a.yaml", "b.yaml"]
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert failed[0].startswith("FAILED a-seed0: ")
    assert failed[0].endswith("exit code 1")
    assert json.loads(Path("runs/b-seed0/run.json").read_text())["status"] == "finished"
    # It has no checkpoint, so it starts anew, and what there was is kept.
    again = sweep("a.yaml", "b.yaml", "--no-eval")
    assert again.returncode == 0
    assert diary() == [train_line("a.yaml", "a-seed0", 0)]
    assert Path("runs/a-seed0.unfinished-1/config.yaml").is_file()


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_what_was_interrupted_is_resumed(desk, sweep, status):
    assert sweep("a.yaml").returncode == 0
    diary()
    Path("runs/a-seed0/run.json").write_text(json.dumps({"status": status}))
    Path("runs/a-seed0/eval/test/eval.json").write_text("{ damaged")
    done = sweep("a.yaml", "--dry-run")
    assert f"resume    runs/a-seed0  (its status is {status})" in done.stdout
    Path("runs/a-seed0/eval/test/eval.json").unlink()
    Path("runs/a-seed0/eval/test").rmdir()
    assert sweep("a.yaml", "--data", "moved").returncode == 0
    moved = desk / "moved"
    assert diary() == [
        f"train --resume --data {moved} --out runs/a-seed0",
        f"eval runs/a-seed0 --split test --data {moved}",
    ]


def test_a_trained_run_is_only_scored(desk, sweep):
    assert sweep("a.yaml", "--no-eval").returncode == 0
    diary()
    assert sweep("a.yaml", "--split", "validation").returncode == 0
    assert diary() == ["eval runs/a-seed0 --split validation"]
    # Scores of other weights are no scores of this run.
    best = Path("runs/a-seed0/checkpoints/best")
    best.mkdir()
    (best / "model.safetensors").write_bytes(b"other")
    done = sweep("a.yaml", "--split", "validation", "--dry-run")
    assert done.stdout.startswith("score     runs/a-seed0")


def test_a_run_with_other_settings_is_left_alone_and_named(desk, sweep):
    assert sweep("a.yaml", "--no-eval").returncode == 0
    before = Path("runs/a-seed0/config.yaml").read_bytes()
    diary()
    done = sweep("a.yaml", "b.yaml", "--no-eval", "--set", "train.lr=0.5")
    assert done.returncode == 1
    assert diary() == [train_line("b.yaml", "b-seed0", 0, "--set", "train.lr=0.5")]
    assert "train.lr is 0.001 there and 0.5 here" in done.stdout
    assert Path("runs/a-seed0/config.yaml").read_bytes() == before
    # Who is told of a run and where its data lie does not make another run of it.
    other = sweep("a.yaml", "--no-eval", "--set", "train.loggers=wandb", "--data", "elsewhere")
    assert "1 finished before" in other.stdout


def test_a_run_on_other_data_and_a_strange_folder_are_left_alone(desk, sweep):
    assert sweep("a.yaml", "--no-eval").returncode == 0
    info = dict.fromkeys(("s1_missing", "s2_missing", "maps_missing", "label_mismatches", "ignored", "patches"), 0)
    info |= {"format": 2, "seg_version": "", "bands": [], "splits": {}, "resplit": None, "synthetic": False}
    Path("store").mkdir()
    for fingerprint, todo in (("f", "finished"), ("g", "blocked")):
        Path("store/store.json").write_text(json.dumps(info | {"source": {}, "fingerprint": fingerprint}))
        (run,) = sweep_runs([Path("a.yaml")], Path("runs"), data=Path("store"), split=None)
        assert look(run).todo == todo
    assert "data f there and g here" in look(run).why
    Path("runs/b-seed0").mkdir()
    Path("runs/b-seed0/thesis.txt").touch()
    (run,) = sweep_runs([Path("b.yaml")], Path("runs"))
    assert look(run).todo == "blocked"


def test_a_run_that_another_sweep_works_on_is_left_alone(desk, sweep):
    Path("runs").mkdir()
    with Path("runs/.a-seed0.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = sweep("a.yaml", "b.yaml", "--no-eval")
    assert done.returncode == 1
    assert (
        "BUSY a-seed0: another process is writing runs/a-seed0; wait for it to end, or write elsewhere" in done.stdout
    )
    assert "0 finished before, 1 now, 1 left to another process, none failed." in done.stdout
    assert "seg compare runs/b-seed0 --split test" in done.stdout
    assert diary() == [train_line("b.yaml", "b-seed0", 0)]


def test_a_stopped_sweep_passes_the_signal_on_and_starts_nothing_more(desk, sweep):
    process = subprocess.Popen(
        [sys.executable, "-m", *command("a.yaml", "b.yaml")],
        env=os.environ | {"WAIT": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 50
    while not Path("waiting").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=50)
    assert process.returncode == 1
    assert "Stopped. The same command does what is left." in said
    assert len(diary()) == 1
    assert not Path("runs/b-seed0").exists()
    assert sweep("a.yaml", "--no-eval").returncode == 0
    assert diary() == ["train --resume --out runs/a-seed0"]


def test_a_seg_that_is_not_there_is_told(desk, sweep):
    done = sweep("a.yaml", "--seg", "nowhere/seg")
    assert done.returncode == 1
    assert "FAILED a-seed0: nowhere/seg cannot be started" in done.stdout


def test_a_sweep_that_asks_for_nonsense_ends_with_a_sentence(desk, sweep):
    done = sweep("a.yaml", "--executor", "lokal")
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "'lokal' is no executor; take local, dask:ADDRESS, slurm or slurm-local, as in dask:tcp://host:8786"
    )
    assert sweep("a.yaml", "--seeds", "0,x").returncode == 2
    assert diary() == []


# --- in processes of its own ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(ten_metres):
    return ten_metres


TINY = """
model: {arch: linknet, encoder: tu-test_resnet}
data: {bands: [B02, B03]}
train: {epochs: 2, batch_size: 16, device: cpu, precision: float32, patience: 0, save_every_steps: 1}
"""


@pytest.fixture
def tiny(desk, store, no_page):
    """The runs of two seeds of a tiny network, below a folder."""
    (desk / "tiny.yaml").write_text(TINY)
    return lambda out, **more: sweep_runs([Path("tiny.yaml")], Path(out), seeds="0,1", data=store, **more)


def content(folder):
    """What decides about a run, as bytes."""
    names = ("checkpoints/best/model.safetensors", "eval/test/scores.json", "eval/test/evidence/patches.parquet")
    return [path.read_bytes() for run in sorted(Path(folder).glob("tiny-*")) for name in names for path in [run / name]]


def test_a_job_that_is_interrupted_gives_what_one_process_gives(tiny, monkeypatch, request):
    """A SLURM job that has to make room in the middle of its training goes on."""
    pytest.importorskip("submitit")
    # Sums are rounded by the number of threads among which they are shared out.
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here, there, seen = tiny("here")[:1], tiny("there")[:1], []
    assert seg.sweep(here, notify=seen.append) == {}
    assert [line for line in seen if line.endswith("seed0")] == ["Training tiny-seed0", "Scoring tiny-seed0"]
    thread = Thread(target=make_room, args=(Path("there"),))
    thread.start()
    assert seg.sweep(there, executor="slurm-local", notify=seen.append) == {}
    thread.join()
    assert seen[-1] == "tiny-seed0 is finished"
    assert "Requeued" in "".join(log.read_text() for log in Path("there/slurm").glob("*.out"))
    assert content("here") == content("there")
    assert len(content("here")) == 3


def make_room(folder):
    """Ask the first training that has saved a state to make room, as SLURM does."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for lock in folder.glob("tiny-*/.seg.lock"):
            if any(lock.parent.glob("checkpoints/last/*")):
                os.kill(json.loads(lock.read_text())["process"], signal.SIGUSR2)
                return
        time.sleep(0.01)


def test_what_fails_is_told_apart(tiny, monkeypatch):
    """A mistake of the user, a folder of another run, and a bug; the others are done."""
    runs = tiny("runs", split=None)
    runs[0].folder.mkdir(parents=True)
    (runs[0].folder / "thesis.txt").touch()

    def train(task, *_):
        raise TrainingError("the loss is not finite") if task.config.train.seed else AssertionError

    monkeypatch.setattr("seg.pipeline.train.train", train)
    failed = seg.sweep(runs)
    assert {name: type(error) for name, error in failed.items()} == {
        "tiny-seed0": RunError,
        "tiny-seed1": TrainingError,
    }


def test_every_scoring_that_lacks_is_done_and_no_other(tiny, store):
    (run, _) = tiny("runs", overrides=["data.bands=[VV,B02]", "train.epochs=1"])
    both = replace(run, scorings=(Scoring("test"), Scoring("test", drop="s1")))
    assert seg.sweep([run]) == {}
    stamp = (run.folder / "eval/test/eval.json").stat().st_mtime_ns
    assert (look(run).todo, look(both).todo) == ("finished", "score")
    assert seg.sweep([both]) == {}
    assert look(both).todo == "finished"
    assert (run.folder / "eval/test-without-s1/eval.json").is_file()
    assert (run.folder / "eval/test/eval.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("holds", ["", "store.json", "run.json"])
def test_runs_go_to_a_folder_of_their_own(tmp_path, holds):
    (tmp_path / "a.yaml").write_text("model: {arch: unet}\n")
    out = tmp_path / "out"
    if holds:
        out.mkdir()
    (out / holds if holds else out).write_text("{}")
    with pytest.raises(WrongUseError, match="is a file" if not holds else "is a store or a run itself"):
        sweep_runs([tmp_path / "a.yaml"], out)
