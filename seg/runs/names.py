"""What tells runs from each other, and names for it that fit into a table."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg.config.identity import settings_of_experiment
from seg.reben.bands import selection_name
from seg.runs.folder import RunFiles

_LONGEST = 40
"""A setting whose value takes more characters is left out of a name."""


def short_names(folders: Sequence[Path]) -> list[str]:
    """As many last parts of each path as tell all of them from each other."""
    places = [folder.resolve().parts for folder in folders]
    longest = max(map(len, places))
    for number in range(1, longest + 1):
        names = ["/".join(place[-number:]) for place in places]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def experiment(run: RunFiles) -> dict[str, str]:
    """What runs have in common that repeat one experiment: every setting by its full name, and ``trained_on``."""
    settings = {
        f"{section}.{name}": _text(value)
        for section, values in settings_of_experiment(run.config).items()
        for name, value in values.items()
    }
    return settings | {"trained_on": run.fingerprint}


def configuration_names(
    runs: Sequence[RunFiles], experiments: Sequence[dict[str, str]], folders: Sequence[str]
) -> list[str]:
    """Names of configurations: network, bands and scene head, and where these are equal, what differs.

    Args:
        runs: A run of each configuration.
        experiments: What each of them is, see `experiment`; all with the same keys.
        folders: Name of the folder of each run, for what cannot be told otherwise.
    """
    names = [_name(run) for run in runs]
    for name in {name for name, number in Counter(names).items() if number > 1}:
        alike = [position for position, other in enumerate(names) if other == name]
        differing = [key for key in experiments[0] if len({experiments[position][key] for position in alike}) > 1]
        for position in alike:
            values = {key: experiments[position][key] for key in differing}
            told = [f"{key}={value}" for key, value in values.items() if len(value) <= _LONGEST]
            names[position] = " ".join([name, *told])
    numbers = Counter(names)
    return [name if numbers[name] == 1 else f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)]


def _name(run: RunFiles) -> str:
    model, bands = run.config.model, selection_name(run.config.data.bands)
    head = "no scene head" if model.scene_head == "none" else model.scene_head
    return f"{model.arch} {model.encoder} {bands} {head}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
