"""Work in other processes, with a bounded amount under way.

Each process hangs on a pipe of its own, whose other end only the calling one holds. Whichever of the two ends, in
whatever way, the other learns of it: queues that all share, as those of the standard library's pool, stay locked or
half written for good when a process is killed at the wrong moment, and what they leave behind outlives the caller.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

_AHEAD = 2
"""Calls under way for each process."""
_MOST = 8
"""More processes than one writer can take the values of."""
_PATIENCE_SECONDS = 10.0
"""How long a process may take to end after its last call, before it is killed."""

Item = TypeVar("Item")
Result = TypeVar("Result")
InOrder = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


class ProcessEndedError(Exception):
    """A process that was to work has ended."""


def process_count(workers: int | None) -> int:
    """The number of processes to use; None: one per core that this process may use, up to 8."""
    if workers is not None:
        return workers
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST)


@contextmanager
def processes(workers: int) -> Iterator[InOrder]:
    """A map function that calls in other processes and keeps the order.

    If the items end in an error, the results of those before it still come. The processes end with the calling one,
    however it ends.

    Args:
        workers: Number of processes.

    Raises:
        ProcessEndedError: If a process ends unexpectedly.
    """
    pool: list[_Worker] = []
    try:
        for _ in range(workers):
            pool.append(_Worker())  # noqa: PERF401
        yield lambda function, items: _in_order(pool, function, iter(items))
    finally:
        for worker in pool:
            worker.stop()
        for worker in pool:
            worker.join()


def _in_order(pool: list["_Worker"], function: Callable[[Item], Result], items: Iterator[Item]) -> Iterator[Result]:
    under_way: deque[Future[Result]] = deque()
    failure = None
    while failure is None:
        try:
            item = next(items)
        except StopIteration:
            break
        except (ValueError, OSError) as error:
            failure = error
            break
        idlest = min(pool, key=lambda worker: worker.under_way)
        under_way.append(idlest.submit(function, item))
        if len(under_way) > len(pool) * _AHEAD:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
    if failure is not None:
        raise failure


class _Worker:
    """A process that makes one call after the other.

    One thread sends and another receives, so that the next call is there when the one before is done, and neither of
    the two processes waits to write while the other does.

    Attributes:
        under_way: Calls whose results have not come yet.
    """

    def __init__(self) -> None:
        # Spawned, not forked: the caller may run threads, and a fork would copy their locks.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        # The first process that is started starts the tracker too, and that lets the signals through again.
        resource_tracker.ensure_running()
        with _signals_held_back():
            self._process.start()
        theirs.close()
        self.under_way = 0
        self._stopping = False
        self._waiting: SimpleQueue[tuple[Callable[[Any], Any], Any, Future[Any]] | None] = SimpleQueue()
        self._sent: SimpleQueue[Future[Any] | None] = SimpleQueue()
        self._threads = [Thread(target=target, daemon=True) for target in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Call a function as soon as the calls before are done."""
        future: Future[Result] = Future()
        self.under_way += 1
        self._waiting.put((function, item, future))
        return future

    def stop(self) -> None:
        """End the process after the calls that it has been sent."""
        self._stopping = True
        self._waiting.put(None)

    def join(self) -> None:
        """Wait until the process has ended."""
        self._process.join(_PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        for thread in self._threads:
            thread.join()
        self._connection.close()
        self._process.close()

    def _send(self) -> None:
        while (call := self._waiting.get()) is not None:
            function, item, future = call
            if self._stopping:
                continue
            try:
                self._connection.send((function, item))
            except OSError:
                future.set_exception(ProcessEndedError())
            except Exception as error:
                # What cannot be sent is the caller's mistake, and his to hear of.
                future.set_exception(error)
            else:
                self._sent.put(future)
        with suppress(OSError):
            self._connection.send(None)
        self._sent.put(None)

    def _receive(self) -> None:
        while (future := self._sent.get()) is not None:
            try:
                failed, result = self._connection.recv()
            except (EOFError, OSError):
                failed, result = True, ProcessEndedError()
            except Exception as error:
                failed, result = True, error
            self.under_way -= 1
            if failed:
                future.set_exception(result)
            else:
                future.set_result(result)


def _serve(connection: Connection) -> None:
    """What a process does: it answers calls until it is told to end or nobody is left to answer to."""
    with suppress(EOFError, OSError):
        while (call := connection.recv()) is not None:
            function, item = call
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
