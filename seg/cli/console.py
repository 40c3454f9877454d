"""What every command shares: the console, progress bars and one-sentence failures."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from seg.errors import WrongUseError

T = TypeVar("T")

_QUIET = os.environ.get("RANK", "0") != "0"
"""Of several processes that torchrun has started, the first one speaks for all."""

out = Console(highlight=False, quiet=_QUIET)
err = Console(stderr=True, highlight=False, quiet=_QUIET)


def notify(message: str) -> None:
    """Show something the user must not miss."""
    err.print(f"[bold yellow]{escape(message)}[/]", soft_wrap=True)


def done(message: str) -> None:
    """Show a result."""
    out.print(escape(message), soft_wrap=True)


def wrapped(message: str) -> None:
    """Show a long sentence, in lines that end between words."""
    out.print(escape(message), overflow="fold")


@contextmanager
def stoppable(otherwise: str) -> Iterator[None]:
    """Around work that the same command continues: Ctrl-C and SIGTERM end it in order, and a sentence says so.

    Args:
        otherwise: What becomes of the work, where the interrupted work itself does not say so.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt) if current_thread() is main_thread() else None
    try:
        yield
    except KeyboardInterrupt as error:
        notify(" ".join(["Stopped.", *(getattr(error, "__notes__", ()) or [otherwise])]))
        raise SystemExit(1) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def wrong_use() -> Iterator[None]:
    """Around what is made of options alone: what is wrong with them is wrong use of the command, exit code 2."""
    try:
        yield
    except ValueError as error:
        raise WrongUseError(str(error).removeprefix("Value error, ")) from None


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Pass items on and show a bar with count, time passed and time left; gone when the work is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield from progress.track(items, total=total, description=description)
