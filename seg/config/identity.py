"""Which settings make a run what it is, and which only say where and on what it is computed."""

from collections.abc import Mapping
from typing import Any

from seg.config.sections import Config

_PLACES: dict[str, Any] = {"eval": True, "data": {"store", "metadata", "workers"}, "model": {"code_folder"}}
_TOLD_AND_SAVED = {"loggers", "save_every", "save_every_steps", "cache_features"}
_SEED_AND_MACHINE = {"seed", "device", "channels_last", "compile"}
ALLOWABLE = (
    "train.epochs",
    "train.patience",
    "train.max_steps",
    "train.device",
    "train.precision",
    "train.channels_last",
    "train.compile",
    "data.preprocess",
)
"""Settings that a resumed run may change if it is told to: the numbers then differ, but mean what they did."""


def settings_of_run(config: Config) -> dict[str, Any]:
    """What must not change between the sittings of a run.

    Where data lie, who reads them, how often the state is saved, what else is kept and who is told may.

    Returns:
        Settings that JSON takes by their full names, such as ``train.lr``.
    """
    return _flat(config.model_dump(mode="json", exclude=_PLACES | {"train": _TOLD_AND_SAVED}))


def settings_of_experiment(config: Config) -> dict[str, Any]:
    """What runs share that repeat one experiment with other seeds, be it on another machine.

    Returns:
        Sections of settings that JSON takes.
    """
    places = _PLACES | {"data": _PLACES["data"] | {"preprocess"}}
    return config.model_dump(mode="json", exclude=places | {"train": _SEED_AND_MACHINE | _TOLD_AND_SAVED})


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return flat
