"""What every command shares: the console, progress bars and one-sentence failures."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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


@contextmanager
def stoppable() -> Iterator[None]:
    """Around work that the same command continues: Ctrl-C says so."""
    try:
        yield
    except KeyboardInterrupt as error:
        notify(" ".join(["Stopped.", *getattr(error, "__notes__", ())]))
        raise SystemExit(1) from None


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
