"""Train a network: from a configuration to a run folder."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg.config.load import dump_config, load_config
from seg.config.track import Notify, Track, ignore, silent
from seg.engine.events import Epoch, Step
from seg.models.weights_file import CHECKPOINTS, LAST
from seg.reben.bands import selection_name
from seg.report.log import FILE_NAME as LOG_FILE
from seg.report.log import EpochLog, read_log
from seg.report.record import run_record, write_json
from seg.report.trackers import FILE_NAME as TRACKERS_FILE
from seg.report.trackers import Status, Trackers
from seg.runs.cost import ledger
from seg.runs.folder import CONFIG_FILE, FIGURE_FILE, RECORD_FILE, read_run, section
from seg.runs.plan import TrainPlan, check_plan, made_folder, require_new, with_whole_paths
from seg.store.atomic import write_text
from seg.store.targets import Known, claimed_folder, require_free

if TYPE_CHECKING:
    from seg.engine.distributed import Ranks
    from seg.engine.run import Run
    from seg.engine.state import Progress

Observe = Callable[[Step | Epoch], None]


@dataclass(frozen=True)
class TrainResult:
    """Outcome of a finished training run.

    Attributes:
        folder: The run folder.
        monitor: The score that was followed.
        best_score: Its value for the weights that were kept, by default the best; NaN if it is undefined.
        best_epoch: Their epoch, from 0.
        epochs: Epochs done.
    """

    folder: Path
    monitor: str
    best_score: float
    best_epoch: int
    epochs: int


def train(
    task: TrainPlan, observe: Observe = lambda _: None, track: Track = silent, notify: Notify = ignore
) -> TrainResult:
    """Train a network; under ``torchrun``, together with the other processes.

    Args:
        task: Settings and folder, from `plan`.
        observe: Is told of steps and epochs.
        track: Progress of validation and of making the demo store.
        notify: Is told what the user must not miss.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with settings, data or folder.
        Interrupted: After Ctrl-C; the run can be resumed.
    """
    began = time.perf_counter()
    check_plan(task)
    if task.resume and (kept := _finished(task)) is not None:
        notify(f"The run in {task.folder} is finished, so there is nothing to resume.")
        return kept
    if task.resume:
        require_free(task.folder)
    # All that is wrong with the request itself has been said before torch is loaded, which takes seconds.
    from seg.engine.state import has_state, read_progress
    from seg.runs.preparation import joined_by, prepare

    with (
        joined_by(task.config) as (ranks, compute),
        made_folder(task) if ranks.first else nullcontext(task.folder) as folder,
    ):
        # Nothing is written before all of them have planned, so that they see the same folders.
        task = replace(task, folder=Path(ranks.from_first(str(folder))))
        with _claimed(task, ranks):
            if task.resume and not ranks.from_first(
                "yes" if ranks.first and has_state(task.folder / CHECKPOINTS / LAST) else ""
            ):
                notify(f"The run in {task.folder} had saved nothing yet, so it starts from the beginning.")
                task = replace(task, resume=False)
            prepared = prepare(
                task.config,
                task.folder,
                task.resume,
                task.allow,
                ranks=ranks,
                compute=compute,
                began=began,
                track=track,
                notify=notify,
            )
            run, record = prepared.run, prepared.record()
            if task.resume:
                record["weights"] = read_run(task.folder).record.get("weights")
                # Before anything is written: a refusal must leave the settings of the run as they are.
                done = read_progress(run.folder / LAST, run.identity, run.allow, ranks)
                _complete_log(task.folder, done, ranks)
            if ranks.first:
                _write_settings(task)
            return _follow(task, run, record, observe, track, notify)


def _finished(task: TrainPlan) -> TrainResult | None:
    """What a run came to that is finished with these very settings; None if there is anything left to do."""
    record = read_run(task.folder).record
    if record.get("status") != "finished" or not _settings_stand(task):
        return None
    training = record["training"]
    score = math.nan if training["best_score"] is None else training["best_score"]
    return TrainResult(task.folder, training["monitor"], score, training["best_epoch"] - 1, training["epochs"])


@contextmanager
def _claimed(task: TrainPlan, ranks: "Ranks") -> Iterator[None]:
    """Claim a run folder: all that a run writes anew whenever it goes on."""
    from seg.engine.guard import NOT_FINITE_FILE

    names = [RECORD_FILE, LOG_FILE, FIGURE_FILE, TRACKERS_FILE, f"{CHECKPOINTS}/{NOT_FINITE_FILE}"]
    if not (task.resume and _settings_stand(task)):
        names.append(CONFIG_FILE)
    known = Known(vouchers=(RECORD_FILE,), cure=", and seg writes its own anew")
    with claimed_folder(task.folder, names, known):
        if ranks.first and not task.resume:
            # Another run may have been faster.
            require_new(task.folder)
        yield


def _settings_stand(task: TrainPlan) -> bool:
    """Whether ``config.yaml`` says what it would say anew, be it in other words."""
    return dump_config(load_config(task.folder / CONFIG_FILE)) == dump_config(with_whole_paths(task.config))


def _write_settings(task: TrainPlan) -> None:
    path = task.folder / CONFIG_FILE
    if not (path.is_file() and _settings_stand(task)):
        write_text(path, dump_config(with_whole_paths(task.config)))


def _complete_log(folder: Path, done: "Progress", ranks: "Ranks") -> None:
    """Log the last epoch of a run that was killed after its state was saved and before its log was written."""
    if not ranks.first or not done.last_epoch or len(read_log(folder)) >= done.epoch:
        return
    log = EpochLog(folder, done.epoch)
    log.add(done.epoch, done.last_epoch)
    log.close()


def _follow(
    task: TrainPlan, run: "Run", record: dict[str, Any], observe: Observe, track: Track, notify: Notify
) -> TrainResult:
    """Run the loop; the first process keeps log and record."""
    from seg.engine.train import fit

    began = time.perf_counter()
    speeds: list[float] = []
    log: EpochLog | None = None
    status: Status = "failed"
    trackers = _trackers(task, run, notify)
    kept = section(read_run(task.folder).record, "cost") if task.resume else {}
    if run.ranks.first:
        write_json(
            task.folder / RECORD_FILE, run_record(status="running", **record, **({"cost": kept} if kept else {}))
        )
    try:
        for event in fit(run, task.resume, track):
            if log is None and run.ranks.first:
                log = EpochLog(task.folder, run.progress.epoch - isinstance(event, Epoch))
            if isinstance(event, Epoch):
                speeds.append(event.patches_per_second)
                if log is not None:
                    log.add(event.epoch + 1, event.row())
                trackers.add(event.epoch + 1, event.row())
            observe(event)
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        throughput = {
            "patches_per_second": sum(speeds) / len(speeds) if speeds else None,
            "seconds": time.perf_counter() - began,
        }
        try:
            if run.ranks.first:
                # A disk that is full must not hide what went wrong before.
                with suppress(OSError) if status == "failed" else nullcontext():
                    record |= {"status": status, "throughput": throughput}
                    _conclude(task.folder, run, log, record, kept.get("trials", 1))
        finally:
            trackers.close(status)
    done = run.progress
    assert done.best_epoch is not None, "a finished run has a best epoch"
    score = math.nan if done.best_score is None else done.best_score
    return TrainResult(task.folder, run.config.monitor, score, done.best_epoch, done.epoch)


def _trackers(task: TrainPlan, run: "Run", notify: Notify) -> Trackers:
    """The trackers that were asked for; none in any but the first process."""
    return Trackers(
        task.config.train.loggers if run.ranks.first else (),
        task.folder,
        task.config.model_dump(mode="json"),
        synthetic=bool(run.origin.synthetic),
        resume=task.resume,
        notify=notify,
    )


def _conclude(folder: Path, run: "Run", log: EpochLog | None, record: dict[str, Any], trials: int) -> None:
    """Write what is left of a run when it ends, however it ends."""
    done = run.progress
    training = {
        "epochs": done.epoch,
        "steps": done.step,
        "best_epoch": None if done.best_epoch is None else done.best_epoch + 1,
        "monitor": run.config.monitor,
        "best_score": done.best_score,
    }
    if log is not None:
        log.close()
    whole = run_record(training=training, **record)
    write_json(folder / RECORD_FILE, whole | {"cost": ledger(run.meter.alone(), whole, trials)})
    if log is not None and log.rows:
        from seg.figures.style import write_png
        from seg.figures.training import training_figure

        title = f"{run.card.named} on {selection_name(run.card.bands)}"
        figure = training_figure(log.rows, title=title, synthetic=bool(run.origin.synthetic))
        if figure:
            write_png(folder / FIGURE_FILE, figure)
