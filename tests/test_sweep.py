"""Sweeps: what is started for which run, with a stub in the place of seg that keeps a diary."""

import fcntl
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from seg.errors import WrongUseError
from seg.pipeline.sweep import Sweep, look, sweep_runs

SWEEP = Path(__file__).resolve().parents[1] / "scripts" / "sweep.py"

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
    return [str(SWEEP), "--out", "runs", "--seg", shlex.join([sys.executable, "stub.py"]), *words]


@pytest.fixture
def sweep(desk, monkeypatch, capfd):
    """Run the script in this process, which has imported what it needs; exit code and output."""
    spec = importlib.util.spec_from_file_location("sweep", SWEEP)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(*words, **environment):
        with monkeypatch.context() as here:
            for name, value in environment.items():
                here.setenv(name, value)
            here.setattr(sys, "argv", command(*words))
            with pytest.raises(SystemExit) as stop:
                script.main()
        captured = capfd.readouterr()
        code = stop.value.code
        message = code if isinstance(code, str) else ""
        return SimpleNamespace(returncode=1 if message else code, stdout=captured.out, stderr=captured.err + message)

    return run


def diary():
    path = Path("diary.txt")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def train_line(config, name, seed, *more):
    return " ".join(["train", "--config", config, "--seed", str(seed), *more, "--out", f"runs/{name}"])


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_grid_is_every_combination_once(desk):
    plan = Sweep(
        (Path("a.yaml"), Path("b.yaml")),
        Path("runs"),
        seeds="0,7",
        grid=("train.lr=1e-3,3e-4", "data.months=[6,7],[1]"),
        overrides=("train.epochs=3",),
    )
    jobs = sweep_runs(plan)
    assert len(jobs) == len({job.name for job in jobs}) == 16
    seen = {(j.config.model.arch, j.config.train.seed, j.config.train.lr, j.config.data.months) for j in jobs}
    months = ((6, 7), (1,))
    assert seen == {(a, s, lr, m) for a in ("unet", "fpn") for s in (0, 7) for lr in (1e-3, 3e-4) for m in months}
    assert {job.config.train.epochs for job in jobs} == {3}
    assert jobs[0].name == "a-lr_1e-3-months_6_7-seed0"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seeds": "0,x"}, WrongUseError, "--seeds 0,1,2"),
        ({"seeds": "1,1"}, WrongUseError, "a-seed1"),
        ({"grid": ("train.lr",)}, WrongUseError, "names no values"),
        ({"grid": ("train.lrr=1,2",)}, WrongUseError, "train.lr"),
        ({"configs": (Path("a.yaml"), Path("c/a.yaml"))}, WrongUseError, "a-seed0"),
    ],
)
def test_a_grid_that_makes_no_sense_starts_nothing(desk, changes, error, message):
    with pytest.raises(error, match=message):
        sweep_runs(Sweep(**{"configs": (Path("a.yaml"),), "out": Path("runs"), **changes}))


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
    more = ("--set", "train.epochs=3", "--data", "store")
    assert diary() == [
        line
        for seed in (0, 1)
        for line in (
            train_line("a.yaml", f"a-seed{seed}", seed, *more),
            f"eval runs/a-seed{seed} --split test --data store",
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
    assert [line.split()[2] for line in diary()] == ["a.yaml", "b.yaml"]
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
    assert diary() == ["train --out runs/a-seed0 --resume --data moved", "eval runs/a-seed0 --split test --data moved"]


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
        (job,) = sweep_runs(Sweep((Path("a.yaml"),), Path("runs"), data=Path("store"), split=None))
        assert look(job, None).todo == todo
    assert "data f there and g here" in look(job, None).why
    Path("runs/b-seed0").mkdir()
    Path("runs/b-seed0/thesis.txt").touch()
    (job,) = sweep_runs(Sweep((Path("b.yaml"),), Path("runs")))
    assert look(job, "test").todo == "blocked"


def test_a_run_that_another_sweep_works_on_is_left_alone(desk, sweep):
    Path("runs").mkdir()
    with Path("runs/.a-seed0.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = sweep("a.yaml", "b.yaml", "--no-eval")
    assert done.returncode == 1
    assert "FAILED a-seed0: another process is writing runs/a-seed0; wait for it to end" in done.stdout
    assert diary() == [train_line("b.yaml", "b-seed0", 0)]


def test_a_stopped_sweep_passes_the_signal_on_and_starts_nothing_more(desk, sweep):
    process = subprocess.Popen(
        [sys.executable, *command("a.yaml", "b.yaml")],
        env=os.environ | {"WAIT": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 50
    while not Path("waiting").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=50)
    assert process.returncode == 1
    assert "Stopped" in out
    assert len(diary()) == 1
    assert not Path("runs/b-seed0").exists()
    assert sweep("a.yaml", "--no-eval").returncode == 0
    assert diary() == ["train --out runs/a-seed0 --resume"]


def test_a_seg_that_is_not_there_is_told(desk, sweep):
    done = sweep("a.yaml", "--seg", "nowhere/seg")
    assert done.returncode == 1
    assert "FAILED a-seed0: nowhere/seg cannot be started" in done.stdout


# --- SLURM -----------------------------------------------------------------------------------------------------------


def test_without_sbatch_the_files_are_written_and_named(desk, sweep):
    done = sweep("a.yaml", "--seeds", "0,1", "--slurm", "--sbatch=--gpus=1", "--sbatch=--time=1:00:00")
    assert done.returncode == 0, done.stderr
    files = [Path(f"runs/slurm/a-seed{seed}.sbatch") for seed in (0, 1)]
    assert [line for line in done.stdout.splitlines() if line.startswith("sbatch ")] == [f"sbatch {f}" for f in files]
    assert diary() == []
    text = files[1].read_text()
    assert text.startswith("#!/bin/bash\n")
    assert {"#SBATCH --gpus=1", "#SBATCH --time=1:00:00", "#SBATCH --dependency=singleton"} <= set(text.splitlines())
    # The file is what a node runs: it does this run and no other.
    ran = subprocess.run(["bash", str(files[1])], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert [line.split()[0] for line in diary()] == ["train", "eval"]
    assert Path("runs/a-seed1/run.json").is_file()
    assert not Path("runs/a-seed0").exists()


def test_with_sbatch_what_is_left_is_submitted(desk, sweep, monkeypatch):
    assert sweep("a.yaml").returncode == 0
    Path("bin").mkdir()
    sbatch = Path("bin/sbatch")
    sbatch.write_text('#!/bin/sh\necho "$1" >> submitted.txt\ncase "$1" in *b-seed1*) exit 3;; esac\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{desk / 'bin'}:/usr/bin:/bin")
    done = sweep("a.yaml", "b.yaml", "--seeds", "0,1", "--slurm")
    left = ["a-seed1", "b-seed0", "b-seed1"]
    assert Path("submitted.txt").read_text().split() == [f"runs/slurm/{name}.sbatch" for name in left]
    assert done.returncode == 1
    assert "FAILED b-seed1" in done.stdout
    names = {line for name in left for line in Path(f"runs/slurm/{name}.sbatch").read_text().splitlines()}
    assert len([line for line in names if line.startswith("#SBATCH --job-name=")]) == 3


def test_only_names_a_run_of_the_sweep(desk, sweep):
    done = sweep("a.yaml", "--only", "a-seed9")
    assert done.returncode == 1
    assert done.stderr.startswith("sweep: no run of the sweep is called a-seed9")
