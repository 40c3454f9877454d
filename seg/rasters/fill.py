"""Fill values that files do not declare: what they are told by, and what becomes of them.

A fill is one exact value over whole blocks of pixels or along a line, mostly at the edge of the raster. What is
measured is never constant from pixel to pixel, but what is clipped or saturated may be, and such data must not be lost.
So a constant block stands for no data only if its value

- cannot be measured: reflectance below -0.04 or above 3, backscatter below -80 or above 60 dB;
- is the only one below zero of Sentinel-2, and one that tools fill with or that cannot be a reflectance;
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
from dataclasses import replace

import numpy as np

from seg.errors import SceneError
from seg.rasters.fill_remarks import (
    Fill,
    by_value,
    question,
    remark_on,
    remark_on_either,
    remark_on_scattered,
    remark_on_zeros,
)
from seg.rasters.layer import MEASURED, REFLECTANCE_SCALE, Array, Layer, Mask
from seg.rasters.sample import Floats, Seen, at_same_places
from seg.reben.bands import BANDS

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
    found: list[Fill] = []
    scattered: list[Fill] = []
    layers = []
    common, inner, either = _common_constants(seen)
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
    zeros = [fill for one, layer in zip(seen, layers, strict=True) if 0 not in layer.fills for fill in _zeros(one)]
    inner = [] if zeros or any(0 in layer.fills for layer in layers) else inner
    remarks = [remark_on(fills) for fills in by_value(found)]
    remarks += [remark_on_scattered(scattered)] if scattered else []
    said = {(layer.band, value) for layer in layers for value in (*layer.fills, *layer.constants)}
    said |= {(fill.layer.band, 0.0) for fill in zeros + inner}
    remarks += [remark_on_either(fills) for fills in either if (fills[0].layer.band, fills[0].value) not in said]
    return layers, remarks + [remark_on_zeros(fills) for fills in by_value(zeros + inner)]


def _fills(seen: Seen, product: bool) -> list[Fill]:
    """Values that stand for no data.

    Raises:
        SceneError: If one might, or might not.
    """
    found, layer = [], seen.layer
    sensor, kept = BANDS[layer.band].sensor, np.concatenate(seen.kept)
    low, _ = MEASURED[sensor]
    for value in sorted(seen.counts):
        fill = Fill(layer, value, seen.counts[value] / seen.total)
        # Where an offset is taken off it, 0 cannot be measured either.
        if value == 0 and fill.number >= low:
            continue
        if not _stands_apart(fill, seen, np.sort(layer.in_units(kept[kept != value]))):
            continue
        if fill.known or not low <= fill.number < _highest(layer):
            found.append(fill)
        elif layer.nodata is None and not layer.masked and not product:
            raise SceneError(question(fill))
        # Speckle makes no two neighbours alike, whatever else is declared.
        elif sensor == "s1" and layer.floating:
            found.append(fill)
    return found


def _highest(layer: Layer) -> float:
    return MEASURED[BANDS[layer.band].sensor][1]


def _stands_apart(fill: Fill, seen: Seen, others: Floats) -> bool:
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
    if number < low and (fill.known or block) and not alone and below.mean() < _STRAY:
        return True
    return block and np.unique(others).size >= _VALUES and _amid(fill, seen, others)


def _repeated(fill: Fill, others: Floats) -> bool:
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


def _with_constants(layers: Sequence[Layer], common: Sequence[list[Fill]]) -> tuple[list[Layer], list[list[Fill]]]:
    """The bands with their common constants, and those of these that their own fills do not tell already."""
    known = {layer.band: layer.fills for layer in layers}
    new = [fills for fills in common if not any(fill.value in known[fill.layer.band] for fill in fills)]
    values: dict[str, list[float]] = {}
    for fill in (fill for fills in new for fill in fills):
        values.setdefault(fill.layer.band, []).append(fill.value)
    return [replace(layer, constants=tuple(values.get(layer.band, ()))) for layer in layers], new


def _common_constants(seen: Sequence[Seen]) -> tuple[list[list[Fill]], list[Fill], list[list[Fill]]]:
    """What all bands of a sensor hold in the same places.

    Returns:
        Constants that stand for no data; blocks of 0, where it is a value; and values that may be either.
    """
    found: list[list[Fill]] = []
    zeros: list[Fill] = []
    either: list[list[Fill]] = []
    for sensor, fewest in (("s2", 3), ("s1", 2)):
        same = [one for one in seen if BANDS[one.layer.band].sensor == sensor]
        if len(same) < fewest:
            continue
        pairs = list(zip(same, at_same_places(one.lattice() for one in same)[1], strict=True))
        either += _shared(pairs)
        if not all(+one.blocks for one in same):
            continue
        together = np.logical_and.reduce([has & np.isin(held, list(+one.blocks)) for one, (held, has) in pairs])
        constants = np.stack([held[together].astype(np.float64) for _, (held, _) in pairs])
        lines = _common_lines(same)
        sets = np.unique(np.concatenate([constants, lines], axis=1), axis=1)
        for values in sets.T.tolist():
            fills = [
                Fill(one.layer, value, one.counts[value] / one.total) for one, value in zip(same, values, strict=True)
            ]
            if not any(values):
                zeros += fills
            elif sensor == "s2" and not _may_be_measured(fills, same):
                found.append([replace(fill, share=min(each.share for each in fills)) for fill in fills])
    return found, zeros, either


def _shared(pairs: Sequence[tuple[Seen, tuple[Array, Mask]]]) -> list[list[Fill]]:
    """The value that all bands have at once in most places, if these are many and nothing measured is cut off there.

    That is 0 and less of Sentinel-2, whose products are cut off at 1, and of Sentinel-1 what no other value is near.
    """
    (first, (values, _)), *_ = pairs
    alike = np.logical_and.reduce([has & (held == values) for _, (held, has) in pairs])
    if not alike.any():
        return []
    different, numbers = np.unique(values[alike], return_counts=True)
    share = float(numbers.max() / alike.size)
    fills = [Fill(one.layer, float(different[numbers.argmax()]), share) for one, _ in pairs]
    if BANDS[first.layer.band].sensor == "s2":
        apart = all(fill.number <= 0 for fill in fills)
    else:
        kept = [np.concatenate(one.kept) for one, _ in pairs]
        others = [fill.layer.in_units(own[own != fill.value]) for fill, own in zip(fills, kept, strict=True)]
        near = [(np.abs(own - fill.number) < _NEAR).mean() for fill, own in zip(fills, others, strict=True) if own.size]
        # Whole dB may be alike anywhere.
        apart = all(fill.layer.floating for fill in fills) and all(share < _STRAY for share in near)
    return [fills] if share > _MUCH and apart else []


def _common_lines(seen: Sequence[Seen]) -> Floats:
    """Values by band of whole rows and columns that are constant in all bands: the places looked at may miss these."""
    alike = len({one.layer.factor for one in seen}) == 1
    places = set.intersection(*(set(one.lines) for one in seen)) if alike else set()
    return np.array([[one.lines[place] for place in sorted(places)] for one in seen], np.float64)


def _may_be_measured(fills: Sequence[Fill], seen: Sequence[Seen]) -> bool:
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


def _amid(fill: Fill, seen: Seen, others: Floats) -> bool:
    """The same of a block whose value can be measured."""
    layer, number, sensor = fill.layer, fill.number, BANDS[fill.layer.band].sensor
    if sensor == "s1" and layer.floating:
        return not (
            _clipped(number, others, _STRAY, _STRAY)
            or _clipped(number, layer.in_units(seen.beside(fill.value)), _SELDOM, _OFTEN)
        )
    if not (seen.edges[fill.value] or fill.share > _MUCH):
        return False
    if sensor == "s2" and number < 0 and (others < 0).mean() < _STRAY:
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


def _zeros(seen: Seen) -> list[Fill]:
    """Zeros that somebody has to know of.

    Blocks at the edge of a raster that declares another value, and so makes 0 a measurement (for those inside see
    `_common_constants`); and all of Sentinel-1
    where nothing is declared, as 0 dB can be measured.
    """
    if seen.zeros:
        return [Fill(seen.layer, 0.0, seen.zeros / seen.total)]
    share = seen.counts[0] / seen.total
    block = seen.blocks[0] and seen.edges[0] and share > _MUCH
    return [Fill(seen.layer, 0.0, share)] if block and not seen.layer.zero_is_empty else []
