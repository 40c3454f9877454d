"""Which settings make a run what it is, and which only say where and on what it is computed."""

from typing import Any

from seg.config.sections import Config

_PLACES: dict[str, Any] = {"eval": True, "data": {"store", "metadata", "workers"}}
_TOLD = {"loggers"}
_SEED_AND_MACHINE = {"seed", "device", "channels_last"}


def settings_of_run(config: Config) -> dict[str, Any]:
    """What must not change between the sittings of a run; where data lie, who reads them and who is told may.

    Returns:
        Sections of settings that JSON takes.
    """
    return config.model_dump(mode="json", exclude=_PLACES | {"train": _TOLD})


def settings_of_experiment(config: Config) -> dict[str, Any]:
    """What runs share that repeat one experiment with other seeds, be it on another machine.

    Returns:
        Sections of settings that JSON takes.
    """
    return config.model_dump(mode="json", exclude=_PLACES | {"train": _SEED_AND_MACHINE | _TOLD})
