"""Threads spin on cores that have nothing else to do, and nowhere else."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.runs import cores

ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
IDLE = [(100, 130, 5, 9000, 40, 0, 3, 0, 50, 0), (90, 10, 7, 8000, 2, 0, 1, 0, 0, 0)]
"""Ticks of two cores as Linux counts them; those of guests stand once more among those of users."""


def statistics(ticks: list[tuple[int, ...]]) -> str:
    lines = [f"cpu{number} {' '.join(map(str, counted))}" for number, counted in enumerate(ticks)]
    whole = " ".join(map(str, map(sum, zip(*ticks, strict=True))))
    return "\n".join((f"cpu  {whole}", *lines, "intr 1 2 3", "btime 1700000000", "procs_running 1")) + "\n"


def later(idle: tuple[int, ...], busy: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The same after so many ticks of each core."""
    return [
        (user + work, nice, system, still + rest, *others)
        for (user, nice, system, still, *others), rest, work in zip(IDLE, idle, busy, strict=True)
    ]


class Machine:
    """One that says of its cores what a test wants."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, patch
        patch.setattr(cores, "_GPUS", (folder / "nvidia0",))
        patch.setattr(cores, "CGROUP", folder)
        patch.setattr(cores, "_STATISTICS", folder / "stat")
        patch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
        for name in ("WORLD_SIZE", "OMP_NUM_THREADS", *ASLEEP):
            patch.delenv(name, raising=False)
        for name, text in ASLEEP.items():
            patch.setenv(name, text)

    def spins(self, idle: tuple[int, ...] = (20, 20), busy: tuple[int, ...] = (0, 0)) -> bool:
        """Whether threads spin after cores were idle and busy for so many ticks."""
        (self.folder / "stat").write_text(statistics(IDLE))
        self._patch.setattr(
            cores.time, "sleep", lambda _: (self.folder / "stat").write_text(statistics(later(idle, busy)))
        )
        before = dict(os.environ)
        cores.spin_if_idle()
        spins = os.environ.get("GOMP_SPINCOUNT") == "100000"
        assert spins or os.environ == before
        if spins:
            os.environ["GOMP_SPINCOUNT"] = "0"
        return spins


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    return Machine(tmp_path, monkeypatch)


def test_threads_spin_on_idle_cores(machine: Machine) -> None:
    assert machine.spins()
    assert machine.spins((18, 20), (2, 0))
    assert not machine.spins((10, 20), (10, 0))
    assert not machine.spins((20, 0), (0, 20))
    assert not machine.spins((0, 0), (20, 20))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GOMP_SPINCOUNT", "7"),
        ("OMP_WAIT_POLICY", "ACTIVE"),
        ("OMP_NUM_THREADS", "1"),
        ("WORLD_SIZE", "2"),
    ],
)
def test_threads_wait_as_the_user_says_and_sleep_beside_others(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    assert not machine.spins()


def test_threads_do_not_spin_where_it_costs(machine: Machine) -> None:
    (machine.folder / "cpu.max").write_text("150000 100000\n")
    assert not machine.spins()
    (machine.folder / "cpu.max").write_text("max 100000\n")
    assert machine.spins()
    (machine.folder / "nvidia0").touch()
    assert not machine.spins()


def test_a_system_that_does_not_tell_is_taken_for_busy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_STATISTICS", machine.folder / "none")
    assert not machine.spins()
    monkeypatch.setattr(cores, "_STATISTICS", machine.folder / "stat")
    assert machine.spins()
    monkeypatch.delattr(os, "sched_getaffinity")
    assert not machine.spins()


@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 10), min_size=1, max_size=20), st.data())
def test_ticks_are_those_of_the_cores_that_count(ticks: list[tuple[int, ...]], data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(ticks) - 1), min_size=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cores, "_STATISTICS", _Text(statistics(ticks)))
        found = cores._times(chosen)
    assert found == [(ticks[core][3] + ticks[core][4], sum(ticks[core][:8])) for core in sorted(chosen)]


class _Text:
    def __init__(self, text: str) -> None:
        self._text = text

    def read_text(self, encoding: str) -> str:
        return self._text
