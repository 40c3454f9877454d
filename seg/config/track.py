"""Progress reporting: long work hands its iterables to a `Track`, so that the library itself never prints."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


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
