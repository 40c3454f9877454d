"""A training run that is only tried: two steps, and nothing is written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seg.config.identity import settings_of_experiment
from seg.config.track import Notify, Track, ignore, silent
from seg.report.record import hardware
from seg.runs.cost import expected_ledger
from seg.runs.data import data_on_trial
from seg.runs.plan import TrainPlan, check_plan
from seg.runs.sweep import SweepRun

if TYPE_CHECKING:
    from seg.engine.rehearsal import Rehearsal


@dataclass(frozen=True)
class DryRun:
    """What a training run will need.

    Attributes:
        rehearsal: Time and memory.
        record: What ``run.json`` would say of the run, and under ``cost`` what it is expected to cost.
    """

    rehearsal: "Rehearsal"
    record: dict[str, Any]


def dry_run(task: TrainPlan, track: Track = silent, notify: Notify = ignore) -> DryRun:
    """Two steps of a training run, to see what it will need; nothing that is written stays.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with settings or data.
        OutOfMemoryError: Naming the setting to change.
    """
    began = time.perf_counter()
    check_plan(task)
    from seg.engine.rehearsal import rehearse
    from seg.runs.preparation import joined_by, prepare

    with joined_by(task.config) as (ranks, compute), data_on_trial(task.config.data, track, notify) as data:
        config = task.config.model_copy(update={"data": data})
        prepared = prepare(
            config, task.folder, task.resume, task.allow, ranks=ranks, compute=compute, track=track, notify=notify
        )
        ready = time.perf_counter() - began
        rehearsal = rehearse(prepared.run)
        ranks.wait()
        record = {**prepared.record(), "hardware": hardware()}
        return DryRun(rehearsal, record | {"cost": expected_ledger(rehearsal, ready, record)})


def foreseen(runs: Sequence[SweepRun], track: Track = silent, notify: Notify = ignore) -> dict[str, DryRun]:
    """What trainings of a sweep will need: of those that differ in nothing but the seed, the first one is tried.

    Args:
        runs: Runs that are left to train.
        track: Progress.
        notify: Is told what the user must not miss.

    Returns:
        By the name of the run that was tried.

    Raises:
        SegError: As `dry_run`.
    """
    tried: dict[str, str] = {}
    for run in runs:
        tried.setdefault(repr(settings_of_experiment(run.config)), run.name)
    by_name = {run.name: run for run in runs}
    return {
        name: dry_run(TrainPlan(by_name[name].config, by_name[name].folder, resume=False), track, notify)
        for name in tried.values()
    }
