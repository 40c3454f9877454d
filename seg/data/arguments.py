"""What other people's loops ask our reader for, looked at before anything is read."""

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from seg.config.load import load_config
from seg.config.sections import DataConfig
from seg.config.wording import clipped
from seg.errors import StoreError, WrongUseError

Augment = bool | Sequence[Mapping[str, Any]]
"""Whether to augment, or with what, as in ``data.augment``."""
_OTHER_NAMES = {
    "dataset": ("store",),
    "modality": ("bands",),
    "num_replicas": ("ranks",),
    "num_workers": ("workers",),
    "pin_memory": ("device",),
    "root": ("store",),
    "shuffle": ("seed",),
    "transform": ("augment",),
    "transforms": ("augment",),
    "world_size": ("ranks",),
}
"""What torch, torchgeo and others call parameters."""
_OF_ANY_LOADER = ("batch_size", "num_workers", "pin_memory", "seed", "shuffle")
_OF_A_LOADER = ("workers", "order", "sampling", "rare_share", "preprocess")
"""Settings that single samples do not depend on."""


def check_names(asked: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Make sure that every setting is one that the function heeds.

    Args:
        asked: A function of `seg` with parameters of its own, which takes other settings of the section ``data`` too.
        settings: What it was given beside its parameters.

    Raises:
        WrongUseError: Naming the first other one, and what was probably meant.
    """
    name_of_it = f"seg.{asked.__name__}"
    own = [
        name
        for name, parameter in inspect.signature(asked).parameters.items()
        if parameter.kind != parameter.VAR_KEYWORD
    ]
    single = "workers" not in own
    known = [
        *own,
        *(name for name in DataConfig.model_fields if name not in own and not (single and name in _OF_A_LOADER)),
    ]
    for name in settings:
        if name in known:
            continue
        if single and (name in _OF_A_LOADER or name in _OF_ANY_LOADER):
            raise WrongUseError(
                f"{name_of_it} takes no '{name}': that is for the loader which you give it to, torch's DataLoader; "
                "seg.loader is one of seg's own"
            )
        meant = [other for other in _OTHER_NAMES.get(name.lower(), ()) if other in own]
        near = meant or get_close_matches(name.lower(), known, n=1, cutoff=0.7)
        note = " seed=None keeps the order of the store" if near == ["seed"] else ""
        cure = f"did you mean {near[0]}?{note}" if near else f"it takes {', '.join(known)}"
        raise WrongUseError(f"{name_of_it} takes no '{clipped(name)}'; {cure}")


def check_numbers(batch_size: int, workers: int, seed: int | None = None, rank: int = 0, ranks: int = 1) -> None:
    """Make sure that batches can be dealt out.

    Raises:
        StoreError: If one is no whole number, or out of its range.
    """
    given = {
        "batch_size": batch_size,
        "workers": workers,
        "seed": 0 if seed is None else seed,
        "rank": rank,
        "ranks": ranks,
    }
    for name, number in given.items():
        try:
            operator.index(number)
        except TypeError:
            raise WrongUseError(f"{name}={clipped(repr(number))} is no whole number") from None
    if batch_size < 1 or workers < 0 or not 0 <= rank < ranks:
        raise StoreError(
            f"batch_size={batch_size}, workers={workers}, rank={rank} of ranks={ranks} make no sense; batches have at "
            "least one patch, and ranks count from 0"
        )
    if given["seed"] < 0:
        raise WrongUseError(
            f"seed={seed} is below 0; seeds are whole numbers from 0, and None keeps the order of the store"
        )


def data_config(bands: Any, settings: Mapping[str, Any], augment: Augment | None = None) -> DataConfig:
    """The section ``data`` of what a loop asks for.

    Args:
        bands: A modality, or bands in an order.
        settings: Others of the section by name.
        augment: If they are transforms, they are those of the section.

    Raises:
        WrongUseError: If a value is none that the setting can have.
    """
    if bands is None or isinstance(bands, set | frozenset) or not isinstance(bands, Iterable):
        raise WrongUseError(
            f"bands={clipped(repr(bands))} say of no channel which band it is; name a modality, such as 's1s2', or a "
            "list of bands"
        )
    if not (augment is None or isinstance(augment, bool | np.bool_)):
        settings = {**settings, "augment": augment}
    section = {name: value for name, value in settings.items() if name != "metadata"}
    return load_config(data__bands=bands, **{f"data__{name}": value for name, value in section.items()}).data


def is_augmented(augment: object) -> bool:
    """Whether there is to be augmentation: of our own kind, or by transforms.

    Raises:
        WrongUseError: If it is something else.
    """
    if isinstance(augment, str) or not isinstance(augment, bool | np.bool_ | Sequence):
        raise WrongUseError(
            f"augment={clipped(repr(augment))} is neither True nor False, nor a list of transforms such as "
            "[{'HorizontalFlip': {'p': 0.5}}]; other transforms are for your own loop"
        )
    return isinstance(augment, Sequence) or bool(augment)
