"""Pieces of work on a dask cluster of two processes and as SLURM jobs: what dies, refuses, or is asked to make room."""

import os
import signal
import socket
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from pieces import Step, die_after_a_strip, do
from test_make import run, several  # noqa: F401

from seg.errors import SceneError, WorkerError, WrongUseError
from seg.pipeline.make import make
from seg.prepare import executors
from seg.prepare.executors import _minutes, opened, results
from seg.region.request import request
from seg.store.open import open_store

TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def cluster():
    """A dask cluster of two worker processes on this machine; its client."""
    distributed = pytest.importorskip("distributed")
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as here:
        here.setenv("PYTHONPATH", path)
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
        with distributed.LocalCluster(**options) as made, distributed.Client(made) as client:
            yield client


@pytest.fixture
def slurm_here(tmp_path, monkeypatch):
    """What opens submitit's cluster of processes on this machine."""
    submitit = pytest.importorskip("submitit")
    # How long a result may take to cross a network file system.
    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 1)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return lambda: opened("slurm-local", (), tmp_path / "slurm")


def outcomes(pool, steps):
    """What came of each piece, by its name: the result, or what was raised."""
    return {step.name: done.exception() or done.result() for step, done in results(pool, do, steps)}


def steps(folder, *whats):
    return [Step(f"piece{i}", what, folder) for i, what in enumerate(whats)]


def until(condition, seconds=150):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found
    return found


def ended(pid):
    """Whether a process runs no more, be it that nobody has asked yet how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def refusal_and_bug(found):
    assert isinstance(found["piece0"], SceneError)
    assert str(found["piece0"]) == "B02 is empty; leave it out"
    assert "this is a bug" in str(found["piece1"])
    assert not isinstance(found["piece1"], ValueError)
    assert found["piece2"] == "piece2"


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_local_calls_are_made_at_once_in_this_thread(tmp_path):
    seen = []
    with opened("local") as pool:
        assert list(pool.map(seen.append, (1, 2))) == [None, None]
        assert seen == [1, 2]
        refusal_and_bug(outcomes(pool, steps(tmp_path, "refuse", "break", "")))

        def stop(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pool.submit(stop, 1)


def test_any_other_executor_may_be_handed_over(tmp_path):
    with ThreadPoolExecutor(2) as mine:
        with opened(mine) as pool:
            refusal_and_bug(outcomes(pool, steps(tmp_path, "refuse", "break", "")))
        assert mine.submit(int).result() == 0, "it is left open"


@pytest.mark.parametrize("executor", ["", "dask", "dask:", "lokal", "slurm:1", "ray"])
def test_an_executor_that_does_not_exist(executor):
    with pytest.raises(WrongUseError, match="take local, dask:ADDRESS, slurm or slurm-local"), opened(executor):
        pass


@pytest.mark.parametrize(("executor", "package"), [("dask:tcp://h:1", "distributed"), ("slurm", "submitit")])
def test_what_is_not_installed_is_told_with_the_command(monkeypatch, executor, package):
    monkeypatch.setitem(sys.modules, package, None)
    extra = executor.partition(":")[0]
    with pytest.raises(WrongUseError, match=rf"run: pip install 'seg\[{extra}\]'"), opened(executor):
        pass


def test_options_of_sbatch_are_for_slurm():
    with pytest.raises(WrongUseError, match="--slurm is for --executor slurm"), opened("local", ["time=1"]):
        pass


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90:30", 91), ("24:00:00", 1440), ("2-00", 2880), ("1-12:30", 2190), ("1-00:00:01", 1441)],
)  # fmt: skip
def test_times_as_slurm_takes_them(text, minutes):
    assert _minutes(text) == minutes


@pytest.mark.parametrize("option", ["time=soon", "time=1:2:3:4", "time", "=3", "a b=3", "time=-5"])
def test_options_of_sbatch_that_make_no_sense(tmp_path, option):
    pytest.importorskip("submitit")
    with pytest.raises(WrongUseError, match="write it as --slurm"), opened("slurm-local", [option], tmp_path):
        pass


def test_calls_are_called_off_when_nobody_waits_any_more():
    class Waiting(ThreadPoolExecutor):
        def submit(self, *_):
            futures.append(Future())
            return futures[-1]

    for leave in (False, True):
        futures: list[Future] = []
        found = results(Waiting(), do, [1, 2], leave=leave)
        with ThreadPoolExecutor() as threads:
            first = threads.submit(next, found)
            until(lambda: len(futures) == 2)  # noqa: B023
            futures[0].set_result(None)
            first.result()
        found.close()
        assert futures[1].cancelled() is not leave


# --- dask -------------------------------------------------------------------------------------------------------------


def test_pieces_on_a_dask_cluster(cluster, tmp_path):
    with opened(f"dask:{cluster.scheduler.address}") as pool:
        refusal_and_bug(outcomes(pool, steps(tmp_path, "refuse", "break", "")))


def test_a_piece_whose_worker_dies_is_done_by_another(cluster, tmp_path):
    with opened(f"dask:{cluster.scheduler.address}") as pool:
        found = outcomes(pool, steps(tmp_path, "", "die once", ""))
    assert found == {name: name for name in ("piece0", "piece1", "piece2")}
    assert (tmp_path / "piece1.died").exists()


@pytest.mark.parametrize("store", [False, True])
def test_a_set_that_dask_workers_cut_is_that_of_one_process(cluster, several, tmp_path, monkeypatch, store):  # noqa: F811
    """Though one of two is killed in the middle, and paths are not whole."""
    s2, more = several
    run(s2, out=tmp_path / "here", store=store, **more)
    marker = tmp_path / "killed"
    cluster.wait_for_workers(2)
    cluster.run(die_after_a_strip, str(marker))
    monkeypatch.chdir(tmp_path)
    relative = {"s1": [path.relative_to(tmp_path) for path in more["s1"]], "clc": Path("clc.gpkg"), "column": "code"}
    products = [path.relative_to(tmp_path) for path in s2]
    executor = f"dask:{cluster.scheduler.address}"
    make(request(products, **relative), Path("there"), store=store, executor=executor)
    assert marker.exists()
    if store:
        one, two = open_store(tmp_path / "here"), open_store(tmp_path / "there")
        keys = list(one.patches.keys())
        assert keys == list(two.patches.keys())
        assert all(one.patches.raw(key) == two.patches.raw(key) for key in keys)
        same = ("index.parquet", "store.json", "dropped.csv")
    else:
        files = {path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*") if path.is_file()}
        assert {
            path.relative_to(tmp_path / "there") for path in (tmp_path / "there").rglob("*") if path.is_file()
        } == files
        same = tuple(files)
    for name in same:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:{free}", "127.0.0.1:{free}", "no-such-host.invalid:8786", "x://y"]
)
def test_a_scheduler_that_does_not_answer_is_told_within_seconds(address, monkeypatch):
    pytest.importorskip("distributed")
    assert executors._PATIENCE_SECONDS < 10
    monkeypatch.setattr(executors, "_PATIENCE_SECONDS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = address.format(free=taken.getsockname()[1])
        began = time.monotonic()
        with pytest.raises(WorkerError, match="no dask scheduler answers at"), opened(f"dask:{address}"):
            pass
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("tls://127.0.0.1:8786", r"tls://127\.0\.0\.1:8786 is encrypted; name the certificates"),
        ("wss://127.0.0.1:8786", "is encrypted; name the certificates"),
        ("ucx://127.0.0.1:8786", r"does not speak to ucx://127\.0\.0\.1:8786; start its scheduler on tcp"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*ucx:FutureWarning")
def test_a_protocol_that_is_not_to_be_had_here_is_told(address, sentence, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: pytest.fail("a client was made"))
    with pytest.raises(WorkerError, match=sentence), opened(f"dask:{address}"):
        pass


@pytest.mark.parametrize("address", ["http://x:1", "tcp://127.0.0.1:abc", "tcp://127.0.0.1", "host", " "])
def test_what_is_no_address_is_told_before_anybody_is_asked(address, monkeypatch):
    """A client of dask that fails so takes ten seconds to go, and prints a traceback after the sentence."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: pytest.fail("a client was made"))
    with pytest.raises(WorkerError, match="no dask scheduler answers at"), opened(f"dask:{address}"):
        pass


# --- SLURM ------------------------------------------------------------------------------------------------------------


def test_pieces_as_jobs(slurm_here, tmp_path):
    with slurm_here() as pool:
        found = outcomes(pool, steps(tmp_path, "refuse", "break", "", "die"))
    refusal_and_bug(found)
    assert isinstance(found["piece3"], WorkerError)
    log = Path(str(found["piece3"]).rpartition(" ")[2])
    assert log.is_file()


def test_a_training_that_has_to_make_room_is_saved_and_goes_on(slurm_here, tmp_path):
    (step,) = steps(tmp_path, "train")

    def make_room():
        pid = until(lambda: step.trace("pid").exists() and step.trace("pid").read_text())
        os.kill(int(pid), signal.SIGUSR2)
        os.kill(int(pid), signal.SIGUSR2)

    with slurm_here() as pool, ThreadPoolExecutor(1) as other:
        asked = other.submit(make_room)
        assert outcomes(pool, [step]) == {"piece0": "piece0"}
        asked.result()
    # It was asked once, though SLURM says so twice.
    assert step.trace("saved").read_text() == str([int(signal.SIGTERM)])


def test_a_job_that_nobody_waits_for_is_called_off(slurm_here, tmp_path):
    (step,) = steps(tmp_path, "wait")
    with slurm_here() as pool:
        future = pool.submit(do, step)
        pid = int(until(lambda: step.trace("pid").exists() and step.trace("pid").read_text()))
        assert future.cancel()
        until(lambda: ended(pid))
        until(lambda: not pool._under_way)


SBATCH = """#!/bin/sh
n=$(ls {bin}/jobs | wc -l)
cp "$1" {bin}/jobs/$n
[ -e {bin}/full ] && echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2 && exit 1
SLURM_JOB_ID=$n sh {bin}/jobs/$n > {bin}/$n.log 2>&1 &
echo "Submitted batch job $n"
"""
SRUN = """#!/bin/sh
while :; do case "$1" in --output|--error) shift 2;; --*) shift;; *) break;; esac; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder of commands that behave like those of SLURM, as far as is needed; ``jobs`` holds what was submitted."""
    pytest.importorskip("submitit")
    commands = tmp_path / "bin"
    (commands / "jobs").mkdir(parents=True)
    for name, text in (("sbatch", SBATCH.format(bin=commands)), ("srun", SRUN), ("sacct", "#!/bin/sh\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return commands


def test_what_slurm_is_told(slurm, tmp_path):
    options = ["gpus-per-node=1", "--time=1-00:00:00", "partition=gpu", "requeue", "mem=32G"]
    with opened("slurm", options, tmp_path / "logs") as pool:
        assert outcomes(pool, steps(tmp_path, "", "")) == {"piece0": "piece0", "piece1": "piece1"}
        assert outcomes(pool, steps(tmp_path, "")) == {"piece0": "piece0"}
    texts = [path.read_text().splitlines() for path in sorted((slurm / "jobs").iterdir())]
    for text in texts:
        assert {f"#SBATCH --{line}" for line in (
            "gpus-per-node=1", "time=1440", "partition=gpu", "requeue", "mem=32G", "dependency=singleton",
            "signal=USR2@90", "open-mode=append",
        )} <= set(text)  # fmt: skip
    names = [next(line for line in text if "--job-name" in line) for text in texts]
    # Two jobs of a piece have one name, so SLURM runs one after the other; other pieces have others.
    assert names[0] == names[2] != names[1]
    assert names[0].startswith("#SBATCH --job-name=seg-piece0-")


def test_a_queue_that_takes_no_job_and_a_machine_without_slurm(slurm, tmp_path, monkeypatch):
    (slurm / "full").touch()
    with opened("slurm", (), tmp_path / "logs") as pool, pytest.raises(WorkerError, match="QOSMaxSubmitJob") as told:
        pool.submit(do, steps(tmp_path, "")[0])
    assert "\n" not in str(told.value)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(WorkerError, match="there is no SLURM here"), opened("slurm", (), tmp_path / "logs"):
        pass
