"""Texts of a configuration that stand for more: bands, names, classes, weighted sums, and devices."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from seg.config.wording import clipped
from seg.errors import WrongUseError
from seg.reben.bands import CIRRUS, band_names, selection_name
from seg.reben.classes import class_index

_TERM = re.compile(r"(?:(?P<weight>[-+.\w]+)\s*\*\s*)?(?P<name>[A-Za-z_]\w*)")


def _bands(value: Any) -> tuple[str, ...]:
    return band_names(value if isinstance(value, str) else ",".join(map(str, value)))


def _weights_bands(value: Any) -> tuple[str, ...]:
    return band_names(value if isinstance(value, str) else ",".join(map(str, value)), beyond=(CIRRUS,))


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _classes(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        class_index(name)
    return names


Bands = Annotated[tuple[str, ...], BeforeValidator(_bands), PlainSerializer(selection_name)]
WeightsBands = Annotated[tuple[str, ...], BeforeValidator(_weights_bands), PlainSerializer(selection_name)]
ShortName = Annotated[str, Field(max_length=100)]
NetworkName = Annotated[str, Field(max_length=1000)]
"""A name, or ``FILE.py:NAME`` with the path of a file."""
NO_ENCODER = "none"
"""The encoder of a network that is not put together of an encoder and a decoder by seg."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]  # more is a slip of the finger, and much more no float
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
ClassNames = Annotated[tuple[str, ...], BeforeValidator(_classes)]


def _weights(value: Any) -> str | None:
    if value is None or value == "none":
        return None
    text = str(value)
    if not text or text.startswith("imagenet:"):
        raise ValueError(
            f"'{text}' names no weights; give imagenet, reben, ssl4eo, none, a file or the folder of a run"
        )
    return text


Weights = Annotated[str | None, BeforeValidator(_weights)]


def _loggers(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else [str(name) for name in value or ()]
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip() != "none"))


Loggers = Annotated[tuple[Literal["wandb", "mlflow"], ...], BeforeValidator(_loggers)]


def network_name(arch: str, encoder: str) -> str:
    """What a network is called where there is room for a few words."""
    return arch if encoder == NO_ENCODER else f"{arch} {encoder}"


def read_terms(value: Any) -> dict[str, float]:
    """The terms of a sum.

    Args:
        value: A name, a sum such as ``cross_entropy+0.5*dice``, or weights by name.

    Returns:
        Weights by name, in the order given.

    Raises:
        WrongUseError: If it is no sum, a weight is no number above 0, or a name occurs twice.
    """
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, str):
        pairs = [_pair(text.strip(), value) for text in re.split(r"(?<!\d[eE])\+", value)]
    else:
        raise WrongUseError(f"{value!r} names nothing; write a name, or a sum such as cross_entropy+0.5*dice")
    if not pairs:
        raise WrongUseError("the sum is empty; name at least one loss")
    terms: dict[str, float] = {}
    for name, weight in pairs:
        if name in terms:
            raise WrongUseError(f"'{name}' occurs twice in the sum; add its weights up")
        terms[str(name)] = _weight(name, weight)
    return terms


def plain_terms(terms: Mapping[str, float]) -> str | dict[str, float]:
    """The terms as a configuration file shows them: the bare name where there is one of weight 1."""
    return next(iter(terms)) if list(terms.values()) == [1.0] else dict(terms)


Terms = Annotated[dict[str, float], BeforeValidator(read_terms), PlainSerializer(plain_terms)]
"""A weighted sum: a name, ``cross_entropy+0.5*dice``, or ``{cross_entropy: 1.0, dice: 0.5}``."""


def device_name(value: Any) -> str:
    """A name of a device, ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:<number>``, whether it is there or not.

    Raises:
        WrongUseError: If it is none.
    """
    if not (isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value)):
        raise WrongUseError(f"'{clipped(str(value))}' is no device; use auto, cpu, cuda, cuda:<number> or mps")
    return value


def _pair(text: str, whole: str) -> tuple[str, Any]:
    match = _TERM.fullmatch(text)
    if match is None:
        raise WrongUseError(f"'{whole}' is no sum of losses; write it as cross_entropy+0.5*dice")
    return match["name"], 1.0 if match["weight"] is None else match["weight"]


def _weight(name: Any, weight: Any) -> float:
    try:
        number = float(weight) if not isinstance(weight, bool) else -1.0
    except (TypeError, ValueError):
        number = -1.0
    if not 0 < number < float("inf"):
        raise WrongUseError(
            f"'{name}' has the weight {weight}, but weights are numbers above 0; leave out what weighs 0"
        )
    return number
