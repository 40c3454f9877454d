"""Being asked to stop from outside: Ctrl-C, and the signal by which schedulers end a job."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Training was stopped from outside after its state was saved."""


@contextmanager
def stop_signals(alone: bool = True) -> Iterator[list[int]]:
    """A list that fills when the run is asked to stop; a second Ctrl-C stops at once.

    Where signals cannot be caught, outside of the main thread, they keep their effect.

    Args:
        alone: Whether this process is the only one of the run. One of several may be told twice, by the terminal or
            the scheduler and by torchrun, and torchrun ends it if it takes too long.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received and alone:
            raise KeyboardInterrupt
        received.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
