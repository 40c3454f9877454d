"""Fill values that files do not declare: what they are told by, and what becomes of them.

A fill is one exact value over whole blocks of pixels or along a line, mostly at the edge of the raster. What is
measured is never constant from pixel to pixel, but what is clipped or saturated may be, and such data must not be lost.
So a constant block stands for no data only if its value

- cannot be measured: reflectance below -0.04 or above 3, backscatter below -80 or above 60 dB;
- is the only one below zero of Sentinel-2, and one that tools fill with;
- lies apart from all others, farther than they lie from each other, and is one that tools fill with;
- or is one that tools fill with and stands amid floating-point dB of Sentinel-1, or beyond them with a gap between.

- or all bands have such a block in the same places: no surface has that. Three bands of Sentinel-2 or more can tell;
  what may have been clipped in all of them stays, unless they reach from the visible to 2 um, where nothing is as dark
  or as bright in all;
- or, without blocks, is 3 and more or known and below zero, and by far more frequent than what lies near it.

It is then no data, and that is said. If tools are not known to fill with such a value, it might be either: then the
user has to say, unless the file does by a nodata value or a mask. What cannot be measured is no data wherever it
stands, in blocks or not; what only windows show that are read later is counted in `seg.scenes.left_out`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from seg.errors import SceneError
from seg.rasters.header import editing, shown
from seg.rasters.layer import MEASURED, REFLECTANCE_SCALE, Layer
from seg.rasters.sample import Floats, Seen, at_same_places
from seg.reben.bands import BANDS

_KNOWN = frozenset(
    {-1, -9, -99, -999, -9999, -99999, -10_000, -32_767, -32_768, -2_147_483_648, -128, 99, 127, 255, 999, 9999}
    | {32_767, 32_768, 55_536, 55_537, 65_534, 65_535, 99_999, 2_147_483_647, 4_294_967_295}
)
"""What tools fill with. -10000 is that of MAJA; 55536 and 55537 are -10000 and -9999 that were stored as uint16."""
_HUGE = 1e30
"""Beyond it lie the fills of NetCDF (9.97e36) and of those that take the largest number that there is."""
_EXACT = 1e15
"""Up to it whole numbers are written as such."""
_VALUES = 16
"""Different values that the others must have, to say that one lies apart from them."""
_MUCH = 0.01
"""Share of the pixels from which on a block need not touch the edge of the raster."""
_STRAY = 0.001
"""Share of the others that may lie anywhere."""
_NEAR, _OFTEN, _SELDOM = 1.0, 0.2, 0.1
"""Decibels up to which a value is near one that others were clipped to, the share of its neighbours that are, and of
those that may lie beyond it: at the edge of what was clipped."""
_DECLARED_APART = 10
"""Times the spread of the others that a value must lie apart from them where the file declares another nodata value."""
_UNIT = 0.5
"""Share of a band's values that cannot be measured from which on they are in another unit, and no fills."""
_REPEATED, _FAR_MORE = 5e-4, 10
"""Share of a band that a value without blocks must have to be a fill, and times that of what lies near it."""
_TAIL = 0.7
"""The part of a value of 3 and more from which on others lie near it."""
_VISIBLE, _SHORTWAVE = {"B01", "B02", "B03", "B04"}, {"B11", "B12"}


@dataclass(frozen=True, slots=True)
class _Fill:
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


def without_fills(seen: Sequence[Seen], *, product: bool = False) -> tuple[list[Layer], list[str]]:
    """The bands, knowing which of their values stand for no data though it is not declared.

    Args:
        seen: What was seen of them.
        product: Whether they are those of a product, of which nobody has to say what its values are.

    Returns:
        The bands in the same order, and a sentence for each such value.

    Raises:
        SceneError: If a value might stand for no data or might not.
    """
    found: list[_Fill] = []
    scattered: list[_Fill] = []
    layers = []
    common, inner = _common_constants(seen)
    for one in seen:
        fills = _fills(one, product)
        layers.append(replace(one.layer, fills=tuple(fill.value for fill in fills)))
        certain = [fill for fill in fills if fill.known or one.blocks[fill.value]]
        found += certain
        if few := [fill for fill in fills if fill not in certain]:
            told = sum(fill.share for fill in certain if not one.layer.possible(np.array(fill.number)))
            scattered.append(replace(few[0], share=max(one.impossible / one.total - told, few[0].share)))
    layers, common = _with_constants(layers, common)
    found += [fill for fills in common for fill in fills]
    zeros = [fill for one in seen for fill in _zeros(one)]
    inner = [] if zeros else inner
    remarks = [_remark(fills) for fills in _by_value(found)]
    remarks += [_remark_on_scattered(scattered)] if scattered else []
    return layers, remarks + [_remark_on_zeros(fills) for fills in _by_value(zeros + inner)]


def _fills(seen: Seen, product: bool) -> list[_Fill]:
    """Values that stand for no data.

    Raises:
        SceneError: If one might, or might not.
    """
    found, layer = [], seen.layer
    kept = np.concatenate(seen.kept)
    for value in sorted(seen.counts):
        fill = _Fill(layer, value, seen.counts[value] / seen.total)
        if value == 0 or not _stands_apart(fill, seen, np.sort(layer.in_units(kept[kept != value]))):
            continue
        if fill.known or fill.number >= _highest(layer) or not layer.possible(np.array(fill.number)):
            found.append(fill)
        elif layer.nodata is None and not layer.masked and not product:
            raise SceneError(_question(fill))
    return found


def _highest(layer: Layer) -> float:
    return MEASURED[BANDS[layer.band].sensor][1]


def _stands_apart(fill: _Fill, seen: Seen, others: Floats) -> bool:
    """Whether a value differs from what is measured, as fills do.

    Args:
        fill: The value.
        seen: Of its band.
        others: What else was seen of the band, in reBEN's unit, sorted.
    """
    layer, number, block = fill.layer, fill.number, seen.blocks[fill.value] > 0
    low, high = MEASURED[BANDS[layer.band].sensor]
    if not block and _repeated(fill, others):
        return True
    below = others < low
    others = others[~below & (others <= high)]
    # A band of one value alone is in another unit, not empty.
    alone = not others.size
    if not layer.possible(np.array(number)):
        return fill.known or (not alone and seen.impossible < _UNIT * seen.found)
    if number > high:
        return block and (fill.known or not alone)
    if number < low and fill.known and not alone and below.mean() < _STRAY:
        return True
    return block and np.unique(others).size >= _VALUES and _amid(fill, seen, others)


def _repeated(fill: _Fill, others: Floats) -> bool:
    """Whether a reflectance is scattered over a band, and by far more frequent than what lies near it."""
    number = fill.number
    if BANDS[fill.layer.band].sensor != "s2" or fill.share < _REPEATED or not others.size:
        return False
    if number >= _highest(fill.layer):
        # What was clipped has a tail that leads up to it.
        return bool((others > number * _TAIL).mean() * _FAR_MORE < fill.share)
    if number >= 0 or not fill.known:
        return False
    # As many values above zero tell what one of them alone would have.
    above = ((others > 0) & (others <= _FAR_MORE)).mean()
    return bool((others < 0).mean() * _FAR_MORE < fill.share and above < fill.share)


def _with_constants(layers: Sequence[Layer], common: Sequence[list[_Fill]]) -> tuple[list[Layer], list[list[_Fill]]]:
    """The bands with their common constants, and those of these that their own fills do not tell already."""
    known = {layer.band: layer.fills for layer in layers}
    new = [fills for fills in common if not any(fill.value in known[fill.layer.band] for fill in fills)]
    values: dict[str, list[float]] = {}
    for fill in (fill for fills in new for fill in fills):
        values.setdefault(fill.layer.band, []).append(fill.value)
    return [replace(layer, constants=tuple(values.get(layer.band, ()))) for layer in layers], new


def _common_constants(seen: Sequence[Seen]) -> tuple[list[list[_Fill]], list[_Fill]]:
    """Constants that all bands of a sensor hold in the same places, and blocks of 0 in all, where it is a value."""
    found: list[list[_Fill]] = []
    zeros: list[_Fill] = []
    for sensor, fewest in (("s2", 3), ("s1", 2)):
        same = [one for one in seen if BANDS[one.layer.band].sensor == sensor]
        if len(same) < fewest or not all(+one.blocks for one in same):
            continue
        pairs = list(zip(same, at_same_places(one.lattice() for one in same), strict=True))
        together = np.logical_and.reduce([has & np.isin(held, list(+one.blocks)) for one, (held, has) in pairs])
        constants = np.stack([held[together].astype(np.float64) for _, (held, _) in pairs])
        lines = _common_lines(same)
        sets = np.unique(np.concatenate([constants, lines], axis=1), axis=1)
        for values in sets.T.tolist():
            fills = [
                _Fill(one.layer, value, one.counts[value] / one.total) for one, value in zip(same, values, strict=True)
            ]
            if not any(values):
                zeros += fills
            elif sensor == "s2" and not _may_be_measured(fills, same):
                found.append([replace(fill, share=min(each.share for each in fills)) for fill in fills])
    return found, zeros


def _common_lines(seen: Sequence[Seen]) -> Floats:
    """Values by band of whole rows and columns that are constant in all bands: the places looked at may miss these."""
    alike = len({one.layer.factor for one in seen}) == 1
    places = set.intersection(*(set(one.lines) for one in seen)) if alike else set()
    return np.array([[one.lines[place] for place in sorted(places)] for one in seen], np.float64)


def _may_be_measured(fills: Sequence[_Fill], seen: Sequence[Seen]) -> bool:
    """Whether constants of all bands may be land without texture, or what was clipped in each of them."""
    bands = {fill.layer.band for fill in fills}
    sides = set()
    for fill, one in zip(fills, seen, strict=True):
        kept = np.concatenate(one.kept)
        others = fill.layer.in_units(kept[kept != fill.value])
        if np.unique(others).size < _VALUES:
            return True
        lowest, highest = np.quantile(others, (_STRAY, 1 - _STRAY))
        sides.add(-1 if fill.number <= lowest else 1 if fill.number >= highest else 0)
    return 0 not in sides and not (bands & _VISIBLE and bands & _SHORTWAVE)


def _amid(fill: _Fill, seen: Seen, others: Floats) -> bool:
    """The same of a block whose value can be measured."""
    layer, number, sensor = fill.layer, fill.number, BANDS[fill.layer.band].sensor
    if sensor == "s1" and layer.floating:
        return not (
            _clipped(number, others, _STRAY, _STRAY)
            or _clipped(number, layer.in_units(seen.beside(fill.value)), _SELDOM, _OFTEN)
        )
    if not (seen.edges[fill.value] or fill.share > _MUCH):
        return False
    if sensor == "s2" and number < 0 and fill.known and (others < 0).mean() < _STRAY:
        return True
    lowest, highest = np.quantile(others, (_STRAY, 1 - _STRAY))
    declared = layer.nodata is not None or layer.masked
    gap = max(lowest - number, number - highest)
    # Reflectance of 1 is that of clouds, by tools that clip to it.
    cloud = sensor == "s2" and number == REFLECTANCE_SCALE
    return not cloud and bool(gap > (highest - lowest) * (_DECLARED_APART if declared else 1))


def _clipped(number: float, others: Floats, seldom: float, often: float) -> bool:
    """Whether others go up to a value and hardly any beyond, as where what is less or more was set to it."""
    if not others.size:
        return False
    beyond = min((others < number).mean(), (others > number).mean())
    return bool(beyond < seldom and (np.abs(others - number) < _NEAR).mean() >= often)


def _zeros(seen: Seen) -> list[_Fill]:
    """Zeros that somebody has to know of.

    Blocks at the edge of a raster that declares another value, and so makes 0 a measurement (for those inside see
    `_common_constants`); and all of Sentinel-1
    where nothing is declared, as 0 dB can be measured.
    """
    if seen.zeros:
        return [_Fill(seen.layer, 0.0, seen.zeros / seen.total)]
    share = seen.counts[0] / seen.total
    block = seen.blocks[0] and seen.edges[0] and share > _MUCH
    return [_Fill(seen.layer, 0.0, share)] if block and not seen.layer.zero_is_empty else []


def _by_value(fills: Sequence[_Fill]) -> list[list[_Fill]]:
    """Fills of several bands that are of one value."""
    values = dict.fromkeys(fill.value for fill in fills)
    return [[fill for fill in fills if fill.value == value] for value in values]


def _remark(fills: Sequence[_Fill]) -> str:
    return (
        f"{_places(fills)}: {_written(fills[0].value)}, which is not declared as nodata, fills {_percent(fills)} of "
        "the pixels looked at; nothing measured has that value there, so they are taken as pixels without data."
    )


def _remark_on_scattered(fills: Sequence[_Fill]) -> str:
    return (
        f"{_places(fills)}: {_percent(fills)} of the pixels looked at hold values that cannot be measured, such as "
        f"{_written(fills[0].value)}; they are taken as pixels without data."
    )


def _remark_on_zeros(fills: Sequence[_Fill]) -> str:
    layer = fills[0].layer
    begin = f"{_places(fills)}: {_percent(fills)} of the pixels looked at are exactly 0"
    if layer.zero_is_empty:
        return f"{begin}, and taken as pixels without data, as no nodata value is declared."
    return (
        f"{begin}, in whole blocks; as the file declares {layer.nodata or 0:.10g} as nodata, they are taken as "
        f"measured. If they are not, say so: {declaring(0, layer)}"
    )


def _question(fill: _Fill) -> str:
    return (
        f"{shown(fill.layer.header.path)} holds {_written(fill.value)} in whole blocks or rows, {fill.share:.2%} of "
        f"{fill.layer.band}, and declares no nodata; if nothing was measured there, say so: "
        f"{declaring(fill.value, fill.layer)} (else declare a value that it does not hold)"
    )


def declaring(value: float, layer: Layer) -> str:
    """The command that makes a value the declared nodata of a band's file."""
    return editing(layer.header.path, f"--nodata {_written(value)}")


def _places(fills: Sequence[_Fill]) -> str:
    files = list(dict.fromkeys(shown(fill.layer.header.path) for fill in fills))
    bands = ", ".join(dict.fromkeys(fill.layer.band for fill in fills))
    return f"{files[0]}{' and its like' if len(files) > 1 else ''} ({bands})"


def _percent(fills: Sequence[_Fill]) -> str:
    least, most = (f"{100 * pick(fill.share for fill in fills):.2g}" for pick in (min, max))
    return f"{least} %" if least == most else f"{least} to {most} %"


def _written(value: float) -> str:
    """A value as options take it."""
    return str(int(value)) if float(value).is_integer() and abs(value) < _EXACT else repr(float(value))
