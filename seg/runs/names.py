"""Names of runs and of configurations that fit into a table."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seg.runs.entry import Entry

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


def configuration_names(
    entries: Sequence[Entry], experiments: Sequence[dict[str, str]], folders: Sequence[str]
) -> list[str]:
    """Names of configurations: what they are called, and where these are equal, what differs.

    Args:
        entries: A run of each configuration.
        experiments: What each of them is, by setting; of those that are called the same, common settings are compared.
        folders: Name of the folder of each run, for what cannot be told otherwise.
    """
    names = [entry.name for entry in entries]
    for name in {name for name, number in Counter(names).items() if number > 1}:
        alike = [position for position, other in enumerate(names) if other == name]
        shared = [key for key in experiments[alike[0]] if all(key in experiments[position] for position in alike)]
        differing = [key for key in shared if len({experiments[position][key] for position in alike}) > 1]
        for position in alike:
            values = {key: experiments[position][key] for key in differing}
            told = [f"{key}={value}" for key, value in values.items() if len(value) <= _LONGEST]
            names[position] = " ".join([name, *told])
    numbers = Counter(names)
    return [name if numbers[name] == 1 else f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)]
