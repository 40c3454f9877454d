"""A training run that is only tried: two steps, and nothing is written."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seg.config.track import Notify, Track, ignore, silent
from seg.runs.plan import TrainPlan, check_plan

if TYPE_CHECKING:
    from seg.engine.rehearsal import Rehearsal


@dataclass(frozen=True)
class DryRun:
    """What a training run will need.

    Attributes:
        rehearsal: Time and memory.
        record: What ``run.json`` would say of the run.
    """

    rehearsal: "Rehearsal"
    record: dict[str, Any]


def dry_run(task: TrainPlan, track: Track = silent, notify: Notify = ignore) -> DryRun:
    """Two steps of a training run, to see what it will need; nothing is written.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with settings or data.
        OutOfMemoryError: Naming the setting to change.
    """
    check_plan(task)
    from seg.engine.rehearsal import rehearse
    from seg.runs.preparation import joined_by, prepare

    with joined_by(task.config) as (ranks, compute):
        prepared = prepare(
            task.config, task.folder, task.resume, task.allow, ranks=ranks, compute=compute, track=track, notify=notify
        )
        rehearsal = rehearse(prepared.run)
        ranks.wait()
        return DryRun(rehearsal, prepared.record())
