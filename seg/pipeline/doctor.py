"""What this machine and its data are good for, and what to install or change."""

from dataclasses import dataclass

from seg.config.paths import AnyPath, path_or_none
from seg.report.record import versions
from seg.runs.advice import Advice, FoundStore, judge, judge_store, look_for_store
from seg.runs.expectation import Expectation, expect_default
from seg.runs.machine import Machine, inspect_machine
from seg.store.cache import cache_folder


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        versions: Of Python, seg and the packages that decide about numbers; None for what is not installed.
        machine: The machine.
        store: The data.
        advice: What to install or change, what stops seg first.
        expectation: What training on all of reBEN takes here; None where nothing can be trained.
    """

    versions: dict[str, str | None]
    machine: Machine
    store: FoundStore
    advice: tuple[Advice, ...]
    expectation: Expectation | None = None

    @property
    def works(self) -> bool:
        """Whether nothing found would stop seg."""
        return not any(advice.stops for advice in self.advice)


def diagnose(data: AnyPath | None = None, metadata: AnyPath | None = None) -> Diagnosis:
    """Look at this machine and at the data, and time a few steps of training; nothing is made or changed.

    Args:
        data: A store; None: that of ``SEG_DATA``, else the demo store.
        metadata: Metadata parquet, for a bare LMDB.
    """
    data, metadata = path_or_none(data), path_or_none(metadata)
    machine = inspect_machine(cache_folder())
    store = look_for_store(data, metadata)
    of_machine = tuple(judge(machine))
    advice = sorted((*of_machine, *judge_store(store, machine)), key=lambda one: not one.stops)
    able = not any(one.stops for one in of_machine)
    return Diagnosis(versions(), machine, store, tuple(advice), expect_default() if able else None)
