"""Threads spin on cores that have nothing else to do, and sleep at once beside other work."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.runs import cores

ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def statistics(ticks: list[tuple[int, ...]]) -> str:
    """What Linux counts of each core."""
    lines = [f"cpu{number} {' '.join(map(str, counted))}" for number, counted in enumerate(ticks)]
    whole = " ".join(map(str, map(sum, zip(*ticks, strict=True))))
    return "\n".join((f"cpu  {whole}", *lines, "intr 1 2 3", "btime 1700000000", "procs_running 1")) + "\n"


class Machine:
    """One that says of its cores what a test wants, and where nobody watches them."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.watched = threading.Event()
        (folder / "stat").write_text(statistics([(1, 2, 3, 4, 5, 6, 7, 8, 0, 0)] * 2))
        patch.setattr(cores, "_GPUS", (folder / "nvidia0",))
        patch.setattr(cores, "CGROUP", folder)
        patch.setattr(cores, "_STATISTICS", folder / "stat")
        patch.setattr(cores, "_watch", lambda _: self.watched.set())
        patch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
        patch.delitem(sys.modules, "torch", raising=False)
        for name in ("WORLD_SIZE", "OMP_NUM_THREADS"):
            patch.delenv(name, raising=False)
        for name, text in ASLEEP.items():
            patch.setenv(name, text)

    def spins(self) -> bool:
        """Whether threads may spin from now on."""
        before = dict(os.environ)
        self.watched.clear()
        cores.spin_on_idle_cores()
        if os.environ == before:
            return False
        assert os.environ == before | {"GOMP_SPINCOUNT": "100000"}
        assert self.watched.wait(10), "nobody watches"
        os.environ["GOMP_SPINCOUNT"] = "0"
        return True


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GOMP_SPINCOUNT", "7"),
        ("OMP_WAIT_POLICY", "ACTIVE"),
        ("OMP_NUM_THREADS", "1"),
        ("WORLD_SIZE", "2"),
    ],
)
def test_threads_wait_as_the_user_says_and_sleep_beside_other_processes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    assert machine.spins()
    monkeypatch.setenv(name, text)
    assert not machine.spins()


def test_threads_do_not_spin_where_it_costs_or_comes_too_late(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.folder / "cpu.max").write_text("150000 100000\n")
    assert not machine.spins()
    (machine.folder / "cpu.max").write_text("max 100000\n")
    assert machine.spins()
    (machine.folder / "nvidia0").touch()
    assert not machine.spins()
    (machine.folder / "nvidia0").unlink()
    monkeypatch.setitem(sys.modules, "torch", cores)  # type: ignore[arg-type]
    assert not machine.spins()


@pytest.mark.parametrize("stat", ["", "cpu0 1 2 3 4 5 6 7 8\n", "cpu0 a b\ncpu1 c d\n", "cpu0 1 2\ncpu1 1 2\n"])
def test_threads_do_not_spin_where_nobody_tells_what_others_do(machine: Machine, stat: str) -> None:
    assert machine.spins()
    (machine.folder / "stat").write_text(stat)
    assert not machine.spins()
    (machine.folder / "stat").unlink()
    assert not machine.spins()


def test_threads_do_not_spin_where_cores_have_no_numbers(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert not machine.spins()


@given(
    before=st.lists(st.tuples(*[st.integers(0, 10**6)] * 10), min_size=1, max_size=6),
    later=st.lists(st.tuples(*[st.integers(0, 500)] * 10), min_size=6, max_size=6),
    own=st.floats(0, 4),
    seconds=st.floats(0.1, 5),
    data=st.data(),
)
def test_what_others_do_is_what_this_process_does_not(
    before: list[tuple[int, ...]], later: list[tuple[int, ...]], own: float, seconds: float, data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(before) - 1), min_size=1))
    after = [tuple(a + b for a, b in zip(one, more, strict=True)) for one, more in zip(before, later, strict=False)]
    times = {"process_time": [1.0, 1.0 + own], "perf_counter": [5.0, 5.0 + seconds]}
    texts = [statistics(before), statistics(after)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cores, "_STATISTICS", _Texts(texts))
        for name, values in times.items():
            patch.setattr(cores.time, name, lambda values=values: values.pop(0))
        taken = cores.Others(chosen).at_work
        found = taken()
    # Neither idle nor waiting for a disk, and guests are counted among users.
    busy = sum(later[core][place] for core in chosen for place in (0, 1, 2, 5, 6, 7)) / os.sysconf("SC_CLK_TCK")
    assert found == pytest.approx((busy - own) / seconds, abs=1e-6)


class _Texts:
    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def read_text(self, encoding: str) -> str:
        return self._texts.pop(0)


def test_a_brake_holds_while_others_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads spin after two calm looks, and sleep from the first one that is not, or that tells nothing."""
    looks, seen = [0.0, 0.1, 0.05, 0.9, 0.0, 0.0, 0.2], []

    class Brake:
        def __init__(self, cores: int) -> None:
            self.held = False

        def hold(self) -> None:
            seen.append("hold")

        def release(self) -> None:
            seen.append("release")

    class Others:
        cores = 2

        def at_work(self) -> float:
            if not looks:
                raise ValueError("the system does not tell of all cores")
            return looks.pop(0)

    monkeypatch.setenv("GOMP_SPINCOUNT", "100000")
    monkeypatch.setattr(cores, "Brake", Brake)
    monkeypatch.setattr(cores.time, "sleep", lambda _: None)
    pytest.importorskip("torch")
    cores._watch(Others())  # type: ignore[arg-type]
    assert seen == ["hold", "release", "release", "hold", "hold", "release", "hold", "hold"]
    assert os.environ["GOMP_SPINCOUNT"] == "0", "processes that are started later spin with nobody to watch them"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not tell of threads")
def test_more_threads_than_cores_are_held_and_let_go() -> None:
    """And what is computed meanwhile is the same to the bit."""
    code = """
        import os, sys, threading, time
        from seg.runs.cores import Brake
        import torch

        def threads():
            while True:
                try:
                    return len(os.listdir("/proc/self/task"))
                except OSError:
                    # One of them ended while they were listed.
                    time.sleep(0.01)

        def brakes():
            return sum(thread.name.startswith("brake") for thread in threading.enumerate())

        torch.manual_seed(0)
        image, layer = torch.randn(2, 8, 64, 64), torch.nn.Conv2d(8, 8, 3)
        free = layer(image).sum().item()
        cores, before = int(sys.argv[1]), threads()
        brake = Brake(cores)
        brake.release()
        brake.hold()
        brake.hold()
        until = time.monotonic() + 20
        each = torch.get_num_threads()
        wanted = next(number for number in range(99) if each + number * (each - 1) > cores)
        # Torch has other threads that come and go.
        while threads() < before + each * wanted - 1 and time.monotonic() < until:
            time.sleep(0.01)
        held = threads() >= before + each * wanted - 1 and brakes() == wanted
        same = layer(image).sum().item() == free
        brake.release()
        while (brakes() or threads() > before) and time.monotonic() < until:
            time.sleep(0.01)
        print(held, brakes(), threads() <= before, brake.held, same)
    """
    # A cluster of dask leaves MKL_NUM_THREADS=1 to the processes that come after it, and torch follows that.
    environment = {name: text for name, text in os.environ.items() if not name.endswith("_NUM_THREADS")}
    for count in ("2", "6"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), count],
            env={**environment, "OMP_NUM_THREADS": "2"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.returncode, done.stderr
        assert done.stdout.split() == ["True", "0", "True", "False", "True"]


def test_one_thread_needs_no_brake(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    brake = cores.Brake(2)
    brake.hold()
    assert not brake.held
