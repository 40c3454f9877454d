"""Work in other processes, with a bounded amount under way."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

_AHEAD = 2
"""Calls under way for each process."""
_MOST = 8
"""More processes than one writer can take the values of."""

Item = TypeVar("Item")
Result = TypeVar("Result")
InOrder = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


def process_count(workers: int | None) -> int:
    """The number of processes to use; None: one per core that this process may use, up to 8."""
    if workers is not None:
        return workers
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST)


@contextmanager
def processes(workers: int) -> Iterator[InOrder]:
    """A map function that calls in other processes and keeps the order.

    If the items end in an error, the results of those before it still come. If the calling process ends in whatever
    way, so do the others.

    Args:
        workers: Number of processes.

    Raises:
        BrokenProcessPool: If a process ends unexpectedly.
    """
    # Spawned, not forked: the caller may run threads, and a fork would copy their locks.
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_the_parent) as pool:
        try:
            yield lambda function, items: _in_order(pool, function, iter(items), workers * _AHEAD)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_the_parent() -> None:
    """Ends this process when the one that started it is gone, even by SIGKILL: nobody is left to tell it to."""
    parent = parent_process()
    assert parent is not None, "called in a process of the pool"

    def follow() -> None:
        # Waits for a pipe whose other end only the parent holds.
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()


def _in_order(
    pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Iterator[Item], ahead: int
) -> Iterator[Result]:
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
        with _interrupts_held_back():
            under_way.append(pool.submit(function, item))
        if len(under_way) > ahead:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
    if failure is not None:
        raise failure


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C: only the main one decides what becomes of the work."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
