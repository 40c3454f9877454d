"""What long work tells meanwhile: its progress to a `Track`, its notices to a `Notify`. The library never prints."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")

Notify = Callable[[str], None]
"""Is told what the user must not miss, a sentence at a time."""


class Track(Protocol):
    """Yields the items of an iterable and may show how far it has come."""

    def __call__(self, items: Iterable[T], description: str, total: int) -> Iterable[T]:
        """Pass the items on.

        Args:
            items: What is worked through.
            description: What the work is, a few words.
            total: Number of items.
        """


def silent(items: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The `Track` that shows nothing."""
    return items


def ignore(_message: str) -> None:
    """The `Notify` that says nothing."""
