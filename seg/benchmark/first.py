"""Which of the entries that hold the same predictions was there first."""

import math
from collections.abc import Mapping
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
    since = _since(list(shared))
    why = {}
    for path, others in shared.items():
        earlier = [other for other in others if since[other] < since[path]]
        alike = [other for other in others if since[other] == since[path]]
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


def _since(paths: list[Path]) -> dict[Path, float]:
    """Since which place in the history of the repository the evidence of entries is as it is; infinity: it is in none.

    Merges count when they came to the line that is checked out, whatever the dates of their commits say.
    """
    if not paths:
        return {}
    folder = paths[0].parent
    options = ("--first-parent", "-m", "--no-renames", "--no-ext-diff", "--relative", "--name-only", "-z")
    safe = ("-c", "core.fsmonitor=false", "-c", "log.showSignature=false")
    log = git(folder, *safe, "log", *options, f"--format={_MARK}%H", "--", ".")
    changed = git(folder, *safe, "diff", *options[2:], "HEAD", "--", ".")
    last: dict[str, float] = dict.fromkeys((changed or "").split("\0"), math.inf)
    place = 0
    for line in (log or "").replace("\n", "\0").split("\0"):
        if line.startswith(_MARK):
            place -= 1
        elif line:
            last.setdefault(line, place)
    since = {}
    for path in paths:
        files = list(path.rglob(FILE_NAME)) if path.is_dir() else [path]
        since[path] = max(last.get(file.relative_to(folder).as_posix(), math.inf) for file in files)
    return since
