"""Do what is left of many runs: train, resume, score, here or on many machines."""

import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from threading import Lock, current_thread, main_thread
from typing import TYPE_CHECKING, Any

from seg.config.track import Notify, Track, ignore, silent
from seg.errors import RunError, WorkerError
from seg.prepare.executors import LOCAL, LOGS, opened, results
from seg.runs.cost import note_trials, tried
from seg.runs.folder import RECORD_FILE
from seg.runs.plan import TrainPlan, plan
from seg.runs.sweep import Scoring, SweepRun, left_to_score, look, set_aside
from seg.store.locks import locked

if TYPE_CHECKING:
    from seg.engine.events import Epoch, Step

Observe = Callable[["Step | Epoch"], None]
Follow = Callable[[SweepRun], AbstractContextManager[Observe]]

_ALONE = Lock()
"""Two trainings in threads of one process would draw from the same random numbers."""


@contextmanager
def _unseen(_: SweepRun) -> Iterator[Observe]:
    yield lambda _: None


def sweep(
    runs: Sequence[SweepRun],
    *,
    executor: Executor | str = LOCAL,
    slurm: Sequence[str] = (),
    seg: Sequence[str] = (),
    follow: Follow = _unseen,
    track: Track = silent,
    notify: Notify = ignore,
) -> dict[str, BaseException]:
    """Do what is left of every run; one that fails does not stop the others, and the same call does what is left then.

    Args:
        runs: From `seg.runs.sweep.sweep_runs`.
        executor, slurm: Who does it, see `seg.prepare.executors.opened`; SLURM jobs go on when this call is broken off.
        seg: A command that starts seg for each run, as ``torchrun --nproc-per-node 4 -m seg``; empty: in the process.
        follow: Is told of each training, its steps and epochs; this and `track` only of what is done in this process.
        track: Progress.
        notify: Is told what the user must not miss.

    Returns:
        What failed, by the name of the run.

    Raises:
        WrongUseError, WorkerError: If there is no such executor.
    """
    states = {run.name: look(run) for run in runs}
    failed: dict[str, BaseException] = {
        name: RunError(state.why) for name, state in states.items() if state.todo == "blocked"
    }
    left = [run for run in runs if states[run.name].todo not in ("blocked", "finished")]
    here = executor == LOCAL
    out = runs[0].folder.parent
    trials = tried(out, [run.config for run in runs])
    rest = _Rest(tuple(seg), trials, follow, track, notify) if here else _Rest(tuple(seg), trials)
    if not here:
        left = [replace(run, folder=run.folder.absolute()) for run in left]
    with opened(executor, slurm, runs[0].folder.parent / LOGS) as pool:
        for run, done in results(pool, rest.of, left, leave=True):
            if error := done.exception():
                failed[run.name] = error
            elif not here:
                notify(f"{run.name} is finished")
    # Those that were finished before, in this sweep or another one here, were the best of fewer.
    for record in sorted(out.glob(f"*/{RECORD_FILE}")):
        note_trials(record.parent, trials)
    return failed


@dataclass(frozen=True)
class _Rest:
    """Does what is left of a run, wherever it is called.

    Attributes:
        seg: A command that starts seg; empty: in this process.
        trials: Configurations that are tried.
        follow, track, notify: As of `sweep`.
    """

    seg: tuple[str, ...]
    trials: int = 1
    follow: Follow = _unseen
    track: Track = silent
    notify: Notify = ignore

    def of(self, run: SweepRun) -> None:
        """Train or resume, and score.

        Raises:
            RunError, BusyError: If the folder holds something else, or somebody else is at it.
            WorkerError: If the command failed.
            SegError: One of its kinds, for anything wrong with settings or data.
        """
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        with _ALONE, locked(run.folder.parent / f".{run.name}.lock", run.folder):
            # Somebody else may have been at it since the work was planned.
            state = look(run)
            if state.todo == "blocked":
                raise RunError(state.why)
            if state.todo == "restart":
                self.notify(f"What there was of {run.name} is kept as {set_aside(run.folder).name}")
            if state.todo in ("train", "restart", "resume"):
                self._train(run, resume=state.todo == "resume")
                note_trials(run.folder, self.trials)
            for scoring in left_to_score(run):
                self._score(run, scoring)

    def _train(self, run: SweepRun, resume: bool) -> None:
        data = run.config.data
        if self.seg:
            settings = ["--resume"] if resume else run.options
            self._call("train", *settings, *_words(data=data.store, metadata=data.metadata, out=run.folder))
            return
        from seg.pipeline.train import train

        self.notify(f"Training {run.name}")
        if resume:
            task = plan(out=run.folder, resume=True, data__store=data.store, data__metadata=data.metadata)
        else:
            task = TrainPlan(run.config, run.folder, resume=False)
        with self.follow(run) as observe:
            train(task, observe, self.track, self.notify)

    def _score(self, run: SweepRun, scoring: Scoring) -> None:
        data = run.config.data
        store, metadata = (scoring.data, None) if scoring.data else (data.store, data.metadata)
        if self.seg:
            options = _words(split=scoring.split, data=store, metadata=metadata, drop=scoring.drop)
            self._call("eval", str(run.folder), *options)
            return
        from seg.pipeline.evaluate import evaluate

        self.notify(f"Scoring {run.name}")
        evaluate(
            run.folder,
            split=scoring.split,
            data=store,
            metadata=metadata,
            drop=scoring.drop,
            track=self.track,
            notify=self.notify,
        )

    def _call(self, *words: str) -> None:
        """Have seg started, its output going where that of this process goes.

        Raises:
            WorkerError: If it cannot be started or fails.
            KeyboardInterrupt: After Ctrl-C or SIGTERM, once it has saved what it has and ended.
        """
        command = [*self.seg, *words]
        self.notify(f"$ {shlex.join(command)}")
        stopped: list[int] = []
        with _signal_held_back():
            try:
                child = subprocess.Popen(command)
            except OSError as error:
                raise WorkerError(f"{command[0]} cannot be started ({error.strerror})") from None

        def pass_on(number: int, _frame: Any) -> None:
            # A terminal sends Ctrl-C to the command as well, but SIGTERM goes to this process alone.
            stopped.append(number)
            if number == signal.SIGTERM:
                child.terminate()

        signals = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
        before = {number: signal.signal(number, pass_on) for number in signals}
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if stopped:
            raise KeyboardInterrupt
        if code:
            raise WorkerError(f"'{shlex.join(command)}' ended with exit code {code}")


@contextmanager
def _signal_held_back() -> Iterator[None]:
    """What is started meanwhile never hears SLURM tell all of a job that its time ends: it gets SIGTERM then."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})


def _words(**values: object) -> list[str]:
    """Options of a command, those that have a value."""
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]
