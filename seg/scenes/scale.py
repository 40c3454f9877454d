"""Whether Sentinel-2 values are of the scale that models see, by how bright land, water, snow and plants are.

In percent, stretched to 255 or times 1000 everything is darker than it can be; the infrared alone may be too.
"""

from collections.abc import Sequence

import numpy as np

from seg.rasters.sample import Floats
from seg.scenes.findings import Finding, Spread, cure, named, tags_of, values_at_same_places

VISIBLE = ("B01", "B02", "B03", "B04")
INFRARED = ("B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_GLARING = 8_000.0
"""Median DN of the near infrared of no land that is not white."""
CUT = 1.0
"""Where DN below zero are cut off."""
PERCENT, _BYTES, _THOUSANDS, _DIM = 100.0, 300.0, 600.0, 900.0
"""99 % quantiles of the brightest band: of percent, bytes, reflectance times 1000, and of what is seldom so dark."""
_WATER, _LAND = 0.9, 1.3
"""Infrared as a part of the visible: water is below the first, land above the second."""
_NOISE = 20.0
"""DN that keep ratios of dark values from meaning anything."""
_DEEP, _DEEPER = 40.0, 20.0
"""99 % quantiles of the visible of water that is cut off at zero, and what no water has where values have fractions."""
_WHITE, _EVEN, _SNOW = (300.0, 2_500.0), 1.3, 4.0
"""Visible DN of what would be snow if it were not so dark, times that near infrared differs, and green is above B11."""
_PLANTS, _PLANTS_GREEN, _PLACES = 2.0, 1.4, 50
"""Times that near infrared is above red and green where there are plants, and places that it takes to tell."""
_LUSH, _PLANTS_PART, _PLANTS_DIM, _PLANTS_DARK = 2.5, 0.1, 800.0, 100.0
"""Times above red of plants that tell the scale, the part of the places that they must be, DN that a tenth of them
reaches in the near infrared (878 and more on 162 scenes that are right), and those of dark water with as little red."""
_SHORT = {"B11": ((0.12, 4.0), (0.2, 2.5)), "B12": ((0.05, 4.0), (0.09, 2.5))}
"""Parts of near infrared that the shortwave certainly cannot have over plants, below and above, and hardly can. On 77
scenes that are right they lie from 0.4 to 1 and 0.18 to 0.6; over burnt land up to 2.1."""
_SOME = 0.01


def _shape(spreads: Sequence[Spread], quantile: float) -> float | None:
    """Infrared as a part of the visible at a quantile; without it, red as a part of the brightest. None: unknown."""
    visible = [spread.at(quantile) for spread in spreads if spread.band in VISIBLE]
    infrared = [spread.at(quantile) for spread in spreads if spread.band in INFRARED]
    if visible and infrared:
        return float((np.median(infrared) + _NOISE) / (np.median(visible) + _NOISE))
    red = [spread.at(quantile) for spread in spreads if spread.band == "B04"]
    if red and len(visible) > 1:
        # Of water, red is at most 0.6 of green and blue; counted like the infrared it is at most 0.9.
        return float(1.5 * red[0] / max(*visible, 1e-9))
    return None


def judge_scale(spreads: list[Spread]) -> list[Finding]:
    """Everything darker, or brighter, than land, water, snow and clouds are."""
    top = max(spread.at(0.99) for spread in spreads)
    shapes = [shape for quantile in (0.5, 0.95) if (shape := _shape(spreads, quantile)) is not None]
    infrared = any(spread.band in INFRARED for spread in spreads)
    water = not shapes or max(shapes) < _WATER
    land = infrared and bool(shapes) and max(shapes) > _LAND
    near = [spread for spread in spreads if spread.band in ("B06", "B07", "B08", "B8A")]
    if white := _white(spreads):
        return [white]
    if land and near and min(spread.at(0.5) for spread in near) > _GLARING:
        return [_bright(near)]
    # In the visible alone, forest and water are as dark as everything is in some other unit.
    if top > (_BYTES if water or not infrared else _DIM):
        return []
    cut = max(spread.share(-np.inf, CUT + 0.5) for spread in spreads) > 0.005
    fractional = all(spread.fractional for spread in spreads)
    if fractional:
        certain = top < (_THOUSANDS if land else _DEEPER if water else _BYTES if infrared else PERCENT)
    elif water:
        # Water is as dark as that, and what is no water in another unit can look like it.
        certain = False
        if top > _DEEP and cut:
            return []
    else:
        certain = top < (_THOUSANDS if land else _BYTES if infrared else PERCENT)
        certain &= not cut or (land and top < _BYTES / 2)
    if water and not fractional and _visible_top(spreads) > PERCENT:
        return []
    return [_dark(spreads, top, certain)]


def _white(spreads: list[Spread]) -> Finding | None:
    """What is white up to the near infrared and dark beyond it, as snow is, but far less bright."""
    middle = {spread.band: spread.at(0.5) for spread in spreads}
    visible = [middle[band] for band in ("B02", "B03", "B04") if band in middle]
    infrared = [middle[band] for band in ("B08", "B8A") if band in middle]
    if len(visible) < 2 or not infrared or "B11" not in middle:
        return None
    levels = [*visible, *infrared]
    if not _WHITE[0] < min(levels) <= max(levels) < _WHITE[1] or max(levels) > _EVEN * min(levels):
        return None
    if max(visible) < _SNOW * max(middle["B11"], 1) or max(spread.at(0.99) for spread in spreads) > 2 * _WHITE[1]:
        return None
    return Finding(
        f"{named(spreads)} are as white as snow, but dark (about {max(visible):,.0f}): if they are reflectance times "
        "1000, the map is wrong; make sure that they are DN of reflectance times 10000",
        False,
    )


def _visible_top(spreads: Sequence[Spread]) -> float:
    return max((spread.at(0.99) for spread in spreads if spread.band in VISIBLE), default=np.inf)


def _dark(spreads: list[Spread], top: float, certain: bool, what: str = "99 % of every band") -> Finding:
    if top < PERCENT and (top < PERCENT / 2 or all(spread.fractional for spread in spreads)):
        like, factor = "percent", 100.0
    elif top < 256:
        like, factor = "a picture of 0 to 255", 0.0
    else:
        like, factor = "reflectance times 1000", 10.0
    how = f"{what} are below {top:.4g}"
    if not certain:
        return Finding(
            f"{named(spreads)} are very dark ({how}): if they are {like}, the map is wrong; make sure that they are DN "
            "of reflectance times 10000",
            False,
        )
    formula = "give the product's own values"
    if factor or tags_of(spreads[0].layer):
        formula = cure(spreads[0].layer, f"(* {factor:g} (read 1))")
    return Finding(f"{named(spreads)} look like {like}, not reflectance times 10000 ({how}); {formula}", True)


def _bright(near: list[Spread]) -> Finding:
    return Finding(
        f"{named(near)} have a median of {min(spread.at(0.5) for spread in near):,.0f}, but are no snow or cloud; make "
        "sure that they are DN of reflectance times 10000",
        False,
    )


def _over_plants(spreads: Sequence[Spread], times: float) -> tuple[str, dict[str, Floats], float] | None:
    """A band of near infrared, values of bands where it is so many times red and above green, and the part of these.

    None where nothing is like that, or a band lacks that it takes.
    """
    held = {spread.band: spread for spread in spreads}
    near = next((band for band in ("B08", "B8A", "B07") if band in held), None)
    if near is None or not {"B03", "B04"} <= held.keys():
        return None
    values = values_at_same_places([held[band] for band in ("B03", "B04", near, *_SHORT) if band in held])
    plants = (values[near] > times * values["B04"]) & (values[near] > _PLANTS_GREEN * values["B03"])
    if np.count_nonzero(plants) < _PLACES:
        return None
    return near, {band: own[plants] for band, own in values.items()}, float(plants.mean())


def judge_plants(spreads: list[Spread]) -> list[Finding]:
    """Plants are brighter in the near infrared, whatever clouds there are beside them."""
    if (found := _over_plants(spreads, _LUSH)) is None:
        return []
    near, values, part = found
    bright = float(np.quantile(values[near], 0.9))
    if part < _PLANTS_PART or bright > _PLANTS_DIM or np.median(values[near]) < _PLANTS_DARK:
        return []
    cut = float((values["B04"] < CUT + 0.5).mean()) > _SOME
    return [_dark(spreads, bright, bright < _THOUSANDS and not cut, f"nine tenths of plants in {near}")]


def judge_shortwave(spreads: list[Spread]) -> list[Finding]:
    """Both bands of 1.6 and 2.2 um in another unit than the rest: over plants they are a part of the near infrared."""
    if (plants := _over_plants(spreads, _PLANTS)) is None or np.median(plants[1][plants[0]]) < _THOUSANDS:
        return []
    near, values, _ = plants
    found = []
    for spread in (spread for spread in spreads if spread.band in _SHORT):
        part = float(np.median(values[spread.band] / values[near]))
        (certainly, also), (perhaps, too) = _SHORT[spread.band]
        if not perhaps <= part <= too:
            text = (
                f"{named([spread])} is {part:.2g} times as bright as {near} over plants, as if in another unit; give "
                "all bands as DN of reflectance times 10000"
            )
            found.append(Finding(text, not certainly <= part <= also))
    return found
