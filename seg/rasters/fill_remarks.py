"""What is said of values that may stand for no data, see `seg.rasters.fill`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg.rasters.header import editing, shown
from seg.rasters.layer import Layer

_KNOWN = frozenset(
    {-1, -9, -99, -999, -9999, -99999, -10_000, -32_767, -32_768, -2_147_483_648, -128, 99, 127, 255, 999, 9999}
    | {32_767, 32_768, 55_536, 55_537, 65_534, 65_535, 99_999, 2_147_483_647, 4_294_967_295}
)
"""What tools fill with. -10000 is that of MAJA; 55536 and 55537 are -10000 and -9999 that were stored as uint16."""
_HUGE = 1e30
"""Beyond it lie the fills of NetCDF (9.97e36) and of those that take the largest number that there is."""
_EXACT = 1e15
"""Up to it whole numbers are written as such."""


@dataclass(frozen=True, slots=True)
class Fill:
    """A value of a band that may stand for no data, and the share of the pixels looked at that has it."""

    layer: Layer
    value: float
    share: float

    @property
    def number(self) -> float:
        """The value in reBEN's unit."""
        return float(self.layer.in_units(np.array(self.value)))

    @property
    def known(self) -> bool:
        """Whether tools fill with it."""
        return self.value in _KNOWN or abs(self.value) > _HUGE


def by_value(fills: Sequence[Fill]) -> list[list[Fill]]:
    """Fills of several bands that are of one value."""
    values = dict.fromkeys(fill.value for fill in fills)
    return [[fill for fill in fills if fill.value == value] for value in values]


def remark_on(fills: Sequence[Fill]) -> str:
    """What is said of a value that is taken as no data."""
    return (
        f"{_places(fills)}: {_written(fills[0].value)}, which is not declared as nodata, fills {_percent(fills)} of "
        "the pixels looked at; nothing measured has that value there, so they are taken as pixels without data."
    )


def remark_on_scattered(fills: Sequence[Fill]) -> str:
    """The same of values that cannot be measured, here and there."""
    return (
        f"{_places(fills)}: {_percent(fills)} of the pixels looked at hold values that cannot be measured, such as "
        f"{_written(fills[0].value)}; they are taken as pixels without data."
    )


def remark_on_zeros(fills: Sequence[Fill]) -> str:
    """What is said of zeros."""
    layer = fills[0].layer
    begin = f"{_places(fills)}: {_percent(fills)} of the pixels looked at are exactly 0"
    if layer.zero_is_empty:
        return f"{begin}, and taken as pixels without data, as no nodata value is declared."
    return (
        f"{begin}, in whole blocks; as the file declares {layer.nodata or 0:.10g} as nodata, they are taken as "
        f"measured. If they are not, say so: {declaring(0, layer)}"
    )


def remark_on_either(fills: Sequence[Fill]) -> str:
    """What is said of a value that all bands have at once, and that was measured or stands for no data."""
    value = fills[0].value
    return (
        f"{_places(fills)}: {_percent(fills)} of the pixels looked at are {_written(value)} in all bands at once, and "
        "taken as measured, as what was cut off there is; if that is no data, say so: "
        f"{declaring(value, fills[0].layer)}"
    )


def question(fill: Fill) -> str:
    """What is asked about a value that may be either."""
    return (
        f"{shown(fill.layer.header.path)} holds {_written(fill.value)} in whole blocks or rows, {fill.share:.2%} of "
        f"{fill.layer.band}, and declares no nodata; if nothing was measured there, say so: "
        f"{declaring(fill.value, fill.layer)} (else declare a value that it does not hold)"
    )


def declaring(value: float, layer: Layer) -> str:
    """The command that makes a value the declared nodata of a band's file."""
    return editing(layer.header.path, f"--nodata {_written(value)}")


def _places(fills: Sequence[Fill]) -> str:
    files = list(dict.fromkeys(shown(fill.layer.header.path) for fill in fills))
    bands = ", ".join(dict.fromkeys(fill.layer.band for fill in fills))
    return f"{files[0]}{' and its like' if len(files) > 1 else ''} ({bands})"


def _percent(fills: Sequence[Fill]) -> str:
    least, most = (f"{100 * pick(fill.share for fill in fills):.2g}" for pick in (min, max))
    return f"{least} %" if least == most else f"{least} to {most} %"


def _written(value: float) -> str:
    """A value as options take it."""
    return str(int(value)) if float(value).is_integer() and abs(value) < _EXACT else repr(float(value))
