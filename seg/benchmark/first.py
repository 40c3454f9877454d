"""Which of the entries that hold the same predictions was there first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from seg.benchmark.verify import Verified, share_predictions
from seg.config.wording import clipped
from seg.metrics.evidence_file import FILE_NAME
from seg.report.record import git

_MARK = "\x01"
"""Begins the line of a commit: paths are relative to the folder, and begin with its name."""


def held_twice(paths: Mapping[Path, Verified]) -> dict[Path, str]:
    """Entries that are not ranked since others hold their predictions too, with the sentence that says so.

    Names and dates of files are as anybody likes, so a folder does not tell who copied: none of them is ranked then. A
    git repository tells it, by the order in which evidence came to its main line: the first one stays.

    Args:
        paths: The entries of one folder, by path.
    """
    shared: dict[Path, list[Path]] = {path: [] for path in paths}
    for one, other in combinations(paths, 2):
        if share_predictions(paths[one], paths[other]):
            shared[one].append(other)
            shared[other].append(one)
    shared = {path: others for path, others in shared.items() if others}
    history = _history(list(shared))

    def is_earlier(one: Path, other: Path) -> bool:
        """Whether the evidence of one was there before that of another; that of a zip, before any of its versions."""
        return history[one].since < (history[other].since if other.is_dir() else history[other].first)

    why = {}
    for path, others in shared.items():
        earlier = [other for other in others if is_earlier(other, path)]
        alike = [other for other in others if not is_earlier(path, other)]
        if earlier:
            why[path] = f"it holds predictions of {_named(earlier)}, there before it; an entry is submitted once"
        elif alike:
            why[path] = (
                f"it and {_named(alike)} hold the same predictions, and which was there first is not known here; "
                "leave one in, or commit them one after the other to a git repository, where the first one stays"
            )
    return why


def _named(paths: list[Path]) -> str:
    return clipped(" and ".join(sorted(path.name for path in paths)), 200)


@dataclass
class _Lasting:
    """How long evidence is there, in places of the history: later ones are larger, infinity is uncommitted or unknown.

    Attributes:
        since: Since when it is as it is, whatever it was called and whoever may run it.
        first: When there was anything of its name.
    """

    since: float = math.inf
    first: float = math.inf


def _history(paths: list[Path]) -> dict[Path, _Lasting]:
    """Since which place in the history of the repository the evidence of entries is there.

    Merges count when they came to the line that is checked out, whatever the dates of their commits say.
    """
    if not paths:
        return {}
    folder = paths[0].parent
    files = {path: list(path.rglob(FILE_NAME)) if path.is_dir() else [path] for path in paths}
    names = {file.relative_to(folder).as_posix() for held in files.values() for file in held}
    safe = ("-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "-c", "core.fileMode=false")
    options = ("--first-parent", "-m", "-M100%", "--no-ext-diff", "--relative", "--raw", "--no-abbrev", "-z")
    log = git(folder, *safe, "log", *options, f"--format={_MARK}%H", "--", ".")
    now = ("--no-renames", "--no-ext-diff", "--relative", "--name-only", "-z")
    changed = set((git(folder, *safe, "diff", *now, "HEAD", "--", ".") or "").split("\0"))
    found = {name: _Lasting() for name in names}
    # What each was called at the place that is looked at, of those that are as they are now since before.
    called = {name: name for name in names - changed}
    place = 0
    tokens = iter((log or "").replace("\n", "\0").split("\0"))
    for token in tokens:
        if token.startswith(_MARK):
            place -= 1
        elif token.startswith(":"):
            *_, old, new, status = token.split()
            before = next(tokens)
            after = next(tokens) if status[0] in "RC" else before
            for name in {before, after} & names:
                found[name].first = place
            if (meant := called.pop(after, None)) is not None:
                if old == new:
                    called[before] = meant
                else:
                    found[meant].since = place
    lasting = {}
    for path, held in files.items():
        of = [found[file.relative_to(folder).as_posix()] for file in held]
        since = max((one.since for one in of), default=math.inf)
        lasting[path] = _Lasting(since, min((one.first for one in of), default=math.inf))
    return lasting
