"""Fill values that files do not declare: what they are told by, and what becomes of them.

A fill is one exact value over whole blocks of pixels, mostly at the edge of the raster. What is measured is never
constant from pixel to pixel, but what is clipped or saturated may be, and such data must not be lost. So a constant
block stands for no data only if its value

- cannot be measured: reflectance below -0.2 or above 3, backscatter below -80 or above 60 dB;
- is the only one below zero of Sentinel-2, and one that tools fill with;
- lies apart from all others, farther than they lie from each other, and is one that tools fill with;
- or is one that tools fill with and stands amid floating-point dB of Sentinel-1, or beyond them with a gap between.

It is then no data, and that is said. If tools are not known to fill with such a value, it might be either: then the
user has to say, unless the file does by a nodata value or a mask. Values that cannot be measured and are known from
tools are no data wherever they stand, in blocks or not.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from seg.errors import SceneError
from seg.reben.bands import BANDS
from seg.scenes.header import open_raster, readable, shown
from seg.scenes.layer import POSSIBLE, REFLECTANCE_SCALE, Array, Layer, Mask
from seg.scenes.validity import outline, read_bands

_KNOWN = frozenset(
    {-1, -9, -99, -999, -9999, -99999, -10_000, -32_767, -32_768, -2_147_483_648, -128, 99, 127, 255, 999, 9999}
    | {32_767, 32_768, 55_536, 55_537, 65_534, 65_535, 99_999, 2_147_483_647, 4_294_967_295}
)
"""What tools fill with. -10000 is that of MAJA; 55536 and 55537 are -10000 and -9999 that were stored as uint16."""
_HUGE = 1e30
"""Beyond it lie the fills of NetCDF (9.97e36) and of those that take the largest number that there is."""
_MEASURED: dict[str, tuple[float, float]] = {"s1": POSSIBLE["s1"], "s2": (POSSIBLE["s2"][0], 30_000.0)}
"""As `POSSIBLE`; in whole blocks not even clouds have a reflectance of 3."""
_STEP = 8
"""Pixels are part of a block if their neighbours at this distance are equal. At 1 every band of 20 or 60 m that was
brought to 10 m by repeating its pixels would be made of blocks."""
_BLOCK = 4
"""So many such pixels make a block."""
_RUN = 24
"""So many equal pixels side by side on the edge of the raster are as good as a block. More than bands of 60 m that were
brought to 10 m have by themselves."""
_AMID = 0.005
"""Share of the pixels from which on a constant amid the values of Sentinel-1 is suspicious."""
_VALUES = 16
"""Different values that the others must have, to say that one lies apart from them."""
_MUCH = 0.01
"""Share of the pixels from which on a block need not touch the edge of the raster."""
_STRAY = 0.001
"""Share of the others that may lie anywhere."""
_NEAR = 0.5
"""Decibels between a value that others were clipped to and the nearest of them."""
_DECLARED_APART = 10
"""Times the spread of the others that a value must lie apart from them where the file declares another nodata value."""
_KEPT, _TRACKED = 1 << 12, 8
"""Values that are kept of a window, and values of blocks that are looked into there."""


_Line = int | tuple[slice, int]
"""Index of a row or column of a window."""


@dataclass
class _Seen:
    """What was seen of a band. All counts are of pixels with data by all that the file declares.

    Attributes:
        total: Pixels looked at.
        blocks: By value, how many pixels are part of a block of it.
        edges: By value of blocks, how many lie on the edge of the raster.
        counts: By value of blocks, or one that is known from tools and cannot be measured, how many there are.
        kept: Some values of every window.
    """

    total: int = 0
    blocks: Counter[float] = field(default_factory=Counter)
    edges: Counter[float] = field(default_factory=Counter)
    counts: Counter[float] = field(default_factory=Counter)
    kept: list[Array] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Fill:
    """A value of a band that may stand for no data, and the share of the pixels looked at that has it."""

    layer: Layer
    value: float
    share: float


def without_fills(layers: Sequence[Layer]) -> tuple[list[Layer], list[str]]:
    """The same bands, knowing which of their values stand for no data though it is not declared.

    Reads what `seg.scenes.validity.outline` gives of every band.

    Returns:
        The bands in the same order, and a sentence for each such value.

    Raises:
        SceneError: If a value might stand for no data or might not, or a file is damaged.
    """
    found: list[_Fill] = []
    zeros: list[_Fill] = []
    for same in _by_file(layers):
        for layer, seen in zip(same, _look(same), strict=True):
            found += _fills(layer, seen)
            zeros += _zeros(layer, seen)
    own = [replace(layer, fills=tuple(sorted(fill.value for fill in found if fill.layer is layer))) for layer in layers]
    remarks = [_remark(fills) for fills in _by_value(found)]
    return own, remarks + [_remark_on_zeros(fills) for fills in _by_value(zeros)]


def _by_file(layers: Iterable[Layer]) -> list[list[Layer]]:
    """Bands that one read gives; in many files those of a pixel lie side by side."""
    files: dict[str, list[Layer]] = {}
    for layer in layers:
        files.setdefault(layer.header.path, []).append(layer)
    return list(files.values())


def _look(layers: list[Layer]) -> list[_Seen]:
    """Look at bands of one file."""
    header, seen = layers[0].header, [_Seen() for _ in layers]
    with open_raster(header.path) as raster, readable(header.path):
        for window in outline(header):
            rows, columns = window.toslices()
            at_edge: list[tuple[_Line, bool]] = [
                (0, rows.start == 0),
                (-1, rows.stop == header.height),
                (np.s_[:, 0], columns.start == 0),
                (np.s_[:, -1], columns.stop == header.width),
            ]
            lines = [line for line, there in at_edge if there]
            for one, layer, (stored, mask) in zip(seen, layers, read_bands(raster, layers, window), strict=True):
                _count(one, layer, stored, layer.present(stored, mask), lines)
    return seen


def _count(seen: _Seen, layer: Layer, stored_HW: Array, present_HW: Mask, lines: Sequence[_Line]) -> None:
    """Count what a window shows."""
    seen.total += stored_HW.size
    present = stored_HW[present_HW]
    if not present.size:
        return
    seen.kept.append(present[:: -(-present.size // _KEPT)])
    values, numbers = np.unique(stored_HW[_in_blocks(layer, stored_HW, present_HW)], return_counts=True)
    for i in np.argsort(numbers)[-_TRACKED:]:
        value = values[i].item()
        where_HW = present_HW & (stored_HW == value)
        seen.blocks[value] += int(numbers[i])
        seen.edges[value] += sum(int(np.count_nonzero(where_HW[line])) for line in lines)
        seen.counts[value] += int(np.count_nonzero(where_HW))
    for value, number in _along_edges(stored_HW, present_HW, lines).items():
        # A stripe that is narrower than a block: the edge of a swath that was cut off, or of a tile that was warped.
        if value not in values[np.argsort(numbers)[-_TRACKED:]]:
            seen.blocks[value] += number
            seen.edges[value] += number
            seen.counts[value] += int(np.count_nonzero(present_HW & (stored_HW == value)))
    if not (_possible(layer, present.min(), POSSIBLE) and _possible(layer, present.max(), POSSIBLE)):
        values, numbers = np.unique(present, return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            if _said_to_be_none(value) and not _possible(layer, value, POSSIBLE) and value not in seen.blocks:
                seen.counts[value] += number


def _in_blocks(layer: Layer, stored_HW: Array, present_HW: Mask) -> Mask:
    """Pixels that are equal to their neighbours on the right, below, and both."""
    inside_HW: Mask = np.zeros(stored_HW.shape, np.bool_)
    step, smallest = _STEP, min(stored_HW.shape)
    if smallest < 2 * _STEP:
        if min(layer.header.width, layer.header.height) >= 2 * _STEP:
            return inside_HW
        step = max(smallest // 4, 1)
    first_HW = stored_HW[:-step, :-step]
    inside_HW[:-step, :-step] = (
        present_HW[:-step, :-step]
        & (first_HW == stored_HW[step:, :-step])
        & (first_HW == stored_HW[:-step, step:])
        & (first_HW == stored_HW[step:, step:])
    )
    return inside_HW


def _along_edges(stored_HW: Array, present_HW: Mask, lines: Sequence[_Line]) -> dict[float, int]:
    """Values that stand on the edge of the raster in runs of `_RUN` pixels, and in how many such runs each pixel is."""
    found: Counter[float] = Counter()
    for line in lines:
        stored, present = stored_HW[line], present_HW[line]
        if stored.size <= _RUN:
            continue
        same = np.cumsum(np.r_[0, present[1:] & present[:-1] & (stored[1:] == stored[:-1])])
        runs = stored[: -_RUN + 1][same[_RUN - 1 :] - same[: -_RUN + 1] == _RUN - 1]
        values, numbers = np.unique(runs, return_counts=True)
        found.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return dict(found)


def _possible(layer: Layer, stored: float, measured: Mapping[str, tuple[float, float]]) -> bool:
    low, high = measured[BANDS[layer.band].sensor]
    return bool(low <= float(stored) * layer.gain + layer.offset <= high)


def _said_to_be_none(value: float) -> bool:
    """Whether tools fill with a value."""
    return value in _KNOWN or abs(value) > _HUGE


def _fills(layer: Layer, seen: _Seen) -> list[_Fill]:
    """Values that stand for no data.

    Raises:
        SceneError: If one might, or might not.
    """
    found = []
    for value in sorted(seen.counts):
        fill = _Fill(layer, value, seen.counts[value] / seen.total)
        others = np.concatenate(seen.kept).astype(np.float64)
        others = np.sort(others[others != value]) * layer.gain + layer.offset
        low, high = _MEASURED[BANDS[layer.band].sensor]
        others = others[(others >= low) & (others <= high)]
        if value == 0 or not _stands_apart(fill, seen, others):
            continue
        if _said_to_be_none(value) or not _possible(layer, value, _MEASURED):
            found.append(fill)
        elif layer.nodata is None and not layer.masked:
            raise SceneError(_question(fill))
    return found


def _stands_apart(fill: _Fill, seen: _Seen, others: npt.NDArray[np.float64]) -> bool:
    """Whether a value differs from what is measured, as fills do.

    Args:
        fill: The value.
        seen: Of its band.
        others: What else was seen of the band that can be measured, in reBEN's unit, sorted.
    """
    layer, value = fill.layer, fill.value
    sensor, block = BANDS[layer.band].sensor, seen.blocks[value] >= _BLOCK
    if not _possible(layer, value, POSSIBLE) and _said_to_be_none(value):
        return True
    if not _possible(layer, value, _MEASURED):
        # A band of one value alone is in another unit, not empty.
        return block and (others.size > 0 or _said_to_be_none(value))
    if not block or not (seen.edges[value] or fill.share > _MUCH) or np.unique(others).size < _VALUES:
        return False
    number = value * layer.gain + layer.offset
    if sensor == "s2" and number < 0 and _said_to_be_none(value) and (others < 0).mean() < _STRAY:
        return True
    if sensor == "s1" and layer.floating and fill.share > _AMID and not _clipped(number, others):
        return True
    lowest, highest = np.quantile(others, (_STRAY, 1 - _STRAY))
    declared = layer.nodata is not None or layer.masked
    gap = max(lowest - number, number - highest)
    # Reflectance of 1 is that of clouds, by tools that clip to it.
    cloud = sensor == "s2" and number == REFLECTANCE_SCALE
    return not cloud and bool(gap > (highest - lowest) * (_DECLARED_APART if declared else 1))


def _clipped(number: float, others: npt.NDArray[np.float64]) -> bool:
    """Whether others go up to a value and none beyond, as where what is less or more was set to it."""
    below, above = others[others < number], others[others > number]
    if below.size and above.size:
        return False
    return bool(np.abs(others - number).min() < _NEAR)


def _zeros(layer: Layer, seen: _Seen) -> list[_Fill]:
    """Blocks of 0 at the edge of a raster that declares another value, and so makes 0 a measurement."""
    share = seen.counts[0] / seen.total
    block = seen.blocks[0] >= _BLOCK and seen.edges[0] and share > _MUCH
    return [_Fill(layer, 0.0, share)] if block and not layer.zero_is_empty else []


def _by_value(fills: Sequence[_Fill]) -> list[list[_Fill]]:
    """Fills of several bands that are of one value."""
    values = dict.fromkeys(fill.value for fill in fills)
    return [[fill for fill in fills if fill.value == value] for value in values]


def _remark(fills: Sequence[_Fill]) -> str:
    return (
        f"{_places(fills)}: {_written(fills[0].value)}, which is not declared as nodata, fills {_percent(fills)} of "
        "the pixels looked at; nothing measured has that value there, so they are taken as pixels without data."
    )


def _remark_on_zeros(fills: Sequence[_Fill]) -> str:
    return (
        f"{_places(fills)}: {_percent(fills)} of the pixels looked at are exactly 0, up to the edge; as the file "
        f"declares {fills[0].layer.nodata or 0:.10g} as nodata, they are taken as measured. If they are not, say so: "
        f"{declaring(0, fills[0].layer)}"
    )


def _question(fill: _Fill) -> str:
    return (
        f"{shown(fill.layer.header.path)} holds {_written(fill.value)} in whole blocks, {fill.share:.0%} of "
        f"{fill.layer.band}, and declares no nodata; if nothing was measured there, say so: "
        f"{declaring(fill.value, fill.layer)} (else declare a value that it does not hold)"
    )


def declaring(value: float, layer: Layer) -> str:
    """The command that makes a value the declared nodata of a band's file."""
    return f"rio edit-info --nodata {_written(value)} {shlex.quote(shown(layer.header.path))}"


def _places(fills: Sequence[_Fill]) -> str:
    files = list(dict.fromkeys(shown(fill.layer.header.path) for fill in fills))
    bands = ", ".join(dict.fromkeys(fill.layer.band for fill in fills))
    return f"{files[0]}{' and its like' if len(files) > 1 else ''} ({bands})"


def _percent(fills: Sequence[_Fill]) -> str:
    least, most = (f"{100 * pick(fill.share for fill in fills):.2g}" for pick in (min, max))
    return f"{least} %" if least == most else f"{least} to {most} %"


def _written(value: float) -> str:
    """A value as options take it."""
    return str(int(value)) if float(value).is_integer() and abs(value) < _HUGE else repr(float(value))
