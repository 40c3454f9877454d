"""Where independent pieces of work are done: in this process, by the workers of a dask cluster, or as SLURM jobs.

All of these are a `concurrent.futures.Executor`, and somebody who has another one may hand that over. What is sent are
functions of modules and dataclasses; what they read and write lies in files that all machines see under the same paths.
"""

import hashlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

from seg.config.installed import not_installed
from seg.errors import SegError, WorkerError, WrongUseError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

LOCAL = "local"
CHOICES = "local, dask:ADDRESS, slurm or slurm-local"
LOGS = "slurm"
"""Folder, beside what is made, for what SLURM jobs are given and what they say."""
_ON_THIS_MACHINE = "slurm-local"
"""As ``slurm``, but each job is a process here: to see whether a command would do there."""
_PATIENCE_SECONDS = 5
_POLL_SECONDS = 0.5
_DAY = 24 * 60
_REQUEUES = 1000
"""How often a job may run out of time and go on in another one."""


def require_executor(executor: Executor | str, slurm: Sequence[str] = (), planned: bool = False) -> None:
    """Make sure that somebody can be asked to do the work, without asking.

    Args:
        executor, slurm: As for `opened`.
        planned: The work is only planned; where it is started, SLURM will be.

    Raises:
        WrongUseError: If there is no such executor, or what it needs is not installed.
        WorkerError: If there is no SLURM here.
    """
    if executor != LOCAL and os.environ.get("WORLD_SIZE", "1") != "1":
        raise WrongUseError("--executor is for one process, which shares out the work; start it without torchrun")
    name, _, address = executor.partition(":") if isinstance(executor, str) else ("", "", "")
    if slurm and not name.startswith("slurm"):
        raise WrongUseError("--slurm is for --executor slurm")
    if not isinstance(executor, str) or executor == LOCAL:
        return
    if executor not in ("slurm", _ON_THIS_MACHINE) and not (name == "dask" and address):
        raise WrongUseError(f"'{executor}' is no executor; take {CHOICES}, as in dask:tcp://host:8786")
    if address and not_installed("distributed"):
        raise WrongUseError("--executor dask needs dask, which is not installed; run: pip install 'seg[dask]'")
    if not address and not_installed("submitit"):
        raise WrongUseError(
            f"--executor {executor} needs submitit, which is not installed; run: pip install 'seg[slurm]'"
        )
    for text in slurm:
        _option(text)
    if executor == "slurm" and not planned and not (shutil.which("sbatch") and shutil.which("srun")):
        raise WorkerError("there is no SLURM here, neither sbatch nor srun; start it where you would start these")


@contextmanager
def opened(executor: Executor | str, slurm: Sequence[str] = (), folder: Path = Path()) -> Iterator[Executor]:
    """An executor, from how somebody chose it.

    Args:
        executor: ``local``: calls are made here, one after the other; ``dask:ADDRESS``: by the workers of the cluster
            that has its scheduler there; ``slurm``: a job for each; or an executor, which is left open.
        slurm: Options of sbatch, as ``gpus_per_node=1``.
        folder: Where SLURM jobs keep what they are given and what they say.

    Raises:
        WrongUseError: If there is no such executor, or what it needs is not installed.
        WorkerError: If nobody answers there, or, within, if workers have died again and again.
    """
    require_executor(executor, slurm)
    if not isinstance(executor, str):
        yield executor
    elif executor == LOCAL:
        yield _Here()
    elif address := executor.partition(":")[2]:
        with _dask(address) as pool:
            yield pool
    else:
        with _slurm(executor, slurm, folder) as pool:
            yield pool


def results(
    pool: Executor, function: Callable[[Piece], Result], pieces: Sequence[Piece], *, leave: bool = False
) -> Iterator[tuple[Piece, Future[Result]]]:
    """Call a function for each piece; gives every piece when it is done, in whatever order that is.

    Args:
        pool: Who calls.
        function: Of a module.
        pieces: What it is called with.
        leave: Let calls go on that are under way when nobody waits for them any more; else they are called off.
    """
    futures: dict[Future[Result], Piece] = {}
    try:
        for piece in pieces:
            futures[pool.submit(function, piece)] = piece
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        for future in () if leave else futures:
            future.cancel()


class _Here(Executor):
    """Makes each call at once, in this thread: only the main one hears of signals."""

    def submit(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            # As with any executor, whoever asks for the result gets what was raised.
            future.set_exception(error)
        return future


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    from distributed import Client, KilledWorker, Security
    from distributed.comm import resolve_address

    if address.startswith(("tls:", "wss:")) and not Security().get_connection_args("client").get("ssl_context"):
        raise WorkerError(
            f"{address} is encrypted; name the certificates in dask's configuration, distributed.comm.tls"
        )
    try:
        resolve_address(address)  # a client that has been given no address takes ten seconds to go, and a traceback
        client = Client(address, timeout=_PATIENCE_SECONDS, set_as_default=False)
    except (OSError, ValueError):
        raise WorkerError(
            f"no dask scheduler answers at {address}; start one with 'dask scheduler', and name its address"
        ) from None
    except FutureWarning:  # which dask raises for a protocol that has moved to another package
        raise WorkerError(f"dask as installed here does not speak to {address}; start its scheduler on tcp") from None
    with client:
        try:
            yield client.get_executor(pure=False)
        except KilledWorker as error:
            raise WorkerError(
                f"{error.allowed_failures + 1} dask workers died over one piece of work, mostly for want of memory; "
                "see their logs, and give them more"
            ) from None


@contextmanager
def _slurm(cluster: str, options: Sequence[str], folder: Path) -> Iterator[Executor]:
    import submitit

    chosen = dict(_option(text) for text in options)
    minutes = _minutes(chosen.pop("time", str(_DAY)))
    where = folder.absolute()
    if cluster == _ON_THIS_MACHINE:
        submitter: Any = submitit.LocalExecutor(where, max_num_timeout=_REQUEUES)
        submitter.update_parameters(timeout_min=minutes)
    else:
        submitter = submitit.SlurmExecutor(where, max_num_timeout=_REQUEUES)
        # Never two jobs of one name, which is one piece, at a time.
        more = {"dependency": "singleton"} | chosen
        submitter.update_parameters(time=minutes, additional_parameters=more)
    with _Jobs(submitter) as pool:
        yield pool


class _Jobs(Executor):
    """A SLURM job for each call.

    Args:
        submitter: submitit's executor, whose jobs are not the futures of the standard library.
    """

    def __init__(self, submitter: Any) -> None:
        self._submitter = submitter
        self._under_way: list[tuple[Any, Future[Any]]] = []
        self._closed = Event()
        Thread(target=self._watch, daemon=True).start()

    def submit(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        future: Future[Result] = Future()
        self._submitter.update_parameters(job_name=self._name(function, args))
        try:
            job = self._submitter.submit(_Call(function, args, kwargs))
        except (FailedJobError, FailedSubmissionError) as error:
            raise WorkerError(f"sbatch took no job: {' '.join(str(error).split())}") from None
        future.add_done_callback(lambda done: job.cancel(check=False) if done.cancelled() else None)
        self._under_way.append((job, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._closed.set()

    def _name(self, function: Callable[..., Any], args: tuple[Any, ...]) -> str:
        """The name of a job: always the same for the same piece of the same work, and for no other."""
        piece = getattr(args[0], "name", "") if args else ""
        work = f"{self._submitter.folder} {getattr(function, '__qualname__', '')} {piece}"
        digest = hashlib.blake2b(work.encode(), digest_size=4).hexdigest()
        return "-".join(filter(None, ("seg", re.sub(r"[^\w.+-]+", "_", piece), digest)))

    def _watch(self) -> None:
        while not self._closed.wait(_POLL_SECONDS):
            for job, future in list(self._under_way):
                if job.done():
                    self._under_way.remove((job, future))
                    _settle(future, job)


def _settle(future: Future[Any], job: Any) -> None:
    """Tell a future what came of its job, unless nobody wants to know."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    if not future.set_running_or_notify_cancel():
        return
    try:
        failed, result = job.result()
    except FailedJobError as error:
        failed, result = True, error
    except UncompletedJobError:
        failed = True
        result = WorkerError(f"job {job.job_id} ended without a result; what it said is in {job.paths.stderr}")
    if failed:
        future.set_exception(result)
    else:
        future.set_result(result)


@dataclass(frozen=True)
class _Call:
    """What a SLURM job does: a call, which is repeated in the same job when that was queued again."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> tuple[bool, Any]:
        """Whether it failed, and the result or what was raised: submitit would keep no more than its text."""
        try:
            with _saved_before_requeue():
                return False, self.function(*self.args, **self.kwargs)
        except (SegError, OSError, MemoryError) as error:
            return True, error

    def checkpoint(self) -> Any:
        """What the job does when it was queued again: the same; what is finished is there."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@contextmanager
def _saved_before_requeue() -> Iterator[None]:
    """Around a call in a SLURM job whose time ends, or which has to make room: first it is stopped as by SIGTERM.

    So that a training saves its state, and submitit has the job queued again after that.
    """
    requeue = signal.getsignal(signal.SIGUSR2)
    asked: list[tuple[int, Any]] = []

    def ask(number: int, frame: Any) -> None:
        if not asked:
            asked.append((number, frame))
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR2, ask)
    try:
        yield
    except KeyboardInterrupt:
        if not asked:
            raise
        assert callable(requeue), "submitit has set it"
        requeue(*asked[0])


def _option(text: str) -> tuple[str, str | bool]:
    """``gpus-per-node=1`` as sbatch takes it; an option without a value is a switch."""
    key, equals, value = text.strip().removeprefix("--").partition("=")
    if not re.fullmatch(r"[A-Za-z][\w-]*", key):
        raise WrongUseError(f"'--slurm {text}' is no option of sbatch; write it as --slurm gpus_per_node=1")
    return key.replace("-", "_"), value if equals else True


def _minutes(text: str | bool) -> int:
    """A time as SLURM takes it, ``90``, ``24:00:00`` or ``2-00``, in minutes."""
    days, dash, clock = str(text).rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in (*parts, *([days] if dash else []))) or len(parts) > 3:
        raise WrongUseError(f"'--slurm time={text}' is no time; write it as --slurm time=24:00:00")
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *numbers, 0], 2: [0, *numbers], 3: numbers}[len(numbers)]
    return max(1, int(days or 0) * _DAY + hours * 60 + minutes + -(-seconds // 60))
