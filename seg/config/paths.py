"""Paths as people give them to Python: strings and anything like a path; alone where several are taken."""

import os
from collections.abc import Iterable
from pathlib import Path

AnyPath = str | os.PathLike[str]
AnyPaths = AnyPath | Iterable[AnyPath]


def path_or_none(given: AnyPath | None) -> Path | None:
    """The path; None for None."""
    return None if given is None else Path(given)


def path_list(given: AnyPaths) -> list[Path]:
    """Paths; one alone is a list of one, since a string is also a sequence, of letters."""
    return [Path(given)] if isinstance(given, str | os.PathLike) else [Path(one) for one in given]
