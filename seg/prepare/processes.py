"""Work in other processes, with a bounded amount under way.

Each process hangs on a pipe of its own, whose other end only the calling one holds. Whichever of the two ends, in
whatever way, the other learns of it: the processes of the standard library's pool wait for good on the queue that they
share when their caller is killed. A process has one call at a time, so neither end waits to write while the other does.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from seg.errors import WorkerError

_AHEAD = 2
"""Results that may wait to be taken, for each process."""
_MOST = 8
"""More processes than one caller can take the results of."""
_PATIENCE_SECONDS = 10.0
"""How long a process may take to end after its last call, before it is killed."""

InOrder = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


def process_count(workers: int | None) -> int:
    """The number of processes to use; None: one per core that this process may use, up to 8."""
    if workers is not None:
        return workers
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST)


@contextmanager
def processes(workers: int, apart: bool = False) -> Iterator[InOrder]:
    """A map function that calls in other processes and keeps the order.

    If the items end in an error, the results of those before it still come. The processes end with the calling one,
    however it ends.

    Args:
        workers: Number of processes; with one, the calls are made in this process.
        apart: One process is another one, too.

    Raises:
        WorkerError: If a process ends unexpectedly.
    """
    if workers == 1 and not apart:
        yield map
        return
    pool: list[_Worker] = []
    try:
        for _ in range(workers):
            pool.append(_Worker())  # noqa: PERF401
        yield lambda function, items: _in_order(pool, function, iter(items))
    finally:
        for worker in pool:
            worker.connection.close()
        for worker in pool:
            worker.end()


def _in_order(pool: list["_Worker"], function: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
    for worker in pool:
        worker.drop()
    entries = _and_failure(items)
    answers: dict[int, tuple[bool, Any]] = {}
    sent = taken = 0
    entry = next(entries, None)
    while entry is not None or taken < sent:
        idle = [worker for worker in pool if worker.call is None and sent - taken < len(pool) * _AHEAD]
        if entry is not None and entry[0]:
            answers[sent], entry, sent = entry, None, sent + 1
        elif entry is not None and idle:
            idle[0].send(sent, function, entry[1])
            entry, sent = next(entries, None), sent + 1
        elif taken in answers:
            failed, result = answers.pop(taken)
            if failed:
                raise result
            yield result
            taken += 1
        else:
            ready = wait([worker.connection for worker in pool if worker.call is not None])
            answers |= dict(worker.receive() for worker in pool if worker.connection in ready)


def _and_failure(items: Iterator[Any]) -> Iterator[tuple[bool, Any]]:
    """Items, none of them a failure, and the error that they end in, if they do."""
    try:
        for item in items:
            yield False, item
    except (ValueError, OSError) as error:
        yield True, error


class _Worker:
    """A process that makes one call after the other.

    Attributes:
        connection: Where calls go and answers come from.
        call: Number of the call that is under way; None: there is none.
    """

    def __init__(self) -> None:
        # Spawned, not forked: the caller may run threads, and a fork would copy their locks.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.call: int | None = None
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        # The first process that is started starts the tracker too, and that lets the signals through again.
        resource_tracker.ensure_running()
        with _signals_held_back():
            self._process.start()
        theirs.close()

    def send(self, call: int, function: Callable[[Any], Any], item: Any) -> None:
        """Have a call made."""
        with _ending_explained():
            self.connection.send((function, item))
        self.call = call

    def receive(self) -> tuple[int, tuple[bool, Any]]:
        """Wait for the answer: number of the call, whether it failed, and its result or error."""
        assert self.call is not None
        with _ending_explained():
            answer = self.connection.recv()
        call, self.call = self.call, None
        return call, answer

    def drop(self) -> None:
        """Let go of the answer to a call that nobody waits for any more."""
        if self.call is not None:
            self.receive()

    def end(self) -> None:
        """Wait until the process has ended, as it does without its connection."""
        self._process.join(_PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


@contextmanager
def _ending_explained() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError):
        raise WorkerError(
            "a process ended unexpectedly, for want of memory or because the calling script has no "
            "'if __name__ == \"__main__\"'; work in this process with --workers 1"
        ) from None


def _serve(connection: Connection) -> None:
    """What a process does: it answers calls until nobody is left to answer to."""
    with suppress(EOFError, OSError):
        while True:
            function, item = connection.recv()
            try:
                answer = False, function(item)
            except Exception as error:
                answer = True, error
            connection.send(answer)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C or SIGTERM: the main one decides what becomes of them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
