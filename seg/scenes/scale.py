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
_WATER, _LAND, _GREY = 0.9, 1.3, 1.7
"""Infrared as a part of the visible: water is below the first, land above the second, and coal, basalt and asphalt,
which are as dark as land in another unit, below the last."""
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
_PLANTS_BRIGHT = (7_500.0, 10_000.0)
"""DN of the near infrared that a tenth of plants hardly reaches, and that none has; the most on 150 scenes is 6,205."""
_PARTS = {
    "B03": ((0.04, 4.0), (0.055, 2.5)),
    "B05": ((0.06, 4.0), (0.09, 2.5)),
    "B11": ((0.1, 4.0), (0.2, 2.5)),
    "B12": ((0.045, 4.0), (0.09, 2.5)),
}
"""Parts of near infrared that bands certainly cannot have over plants, below and above, and hardly can. On 77 scenes
that are right those of green begin at 0.09, of the red edge at 0.2; of the shortwave they lie from 0.4 to 1 and 0.18 to
0.6, over burnt land up to 2.1, over plants in water down to 0.12 and 0.05."""
_SOME = 0.01
_DULL = ((0.5, 115.0), (0.75, 180.0))
"""Quantiles of the brightest of visible bands alone, and DN that nothing but some water is below in both."""
_BLACK = 0.8
"""Near infrared as a part of the brighter of green and red, that half of what is no water is above, and bright snow."""
_PALE, _VARIED, _REDDISH, _BARELY = 250.0, 1.8, 0.55, 0.05
"""DN of green or red of what tells, times that the brightest twentieth of all is above the darkest, red as a part of
green, which is less over bright shoals, and the part of the places that it takes."""
_TOGETHER, _NONE_ABOVE = 0.5, 1.0
"""How much the infrared of water, haze and clouds goes with the visible at least, and what 99 % of water are below."""
_ICY, _ICE, _ICE_NEAR = {"B11": (0.004, 0.015), "B12": (0.003, 0.012)}, 3_000.0, 0.8
"""Parts of green that the shortwave certainly does not go below over snow and ice, and hardly does; their green, DN,
and near infrared as a part of it. Of snow of grains of 1 mm and of ice it is 0.02 to 0.04."""


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
    colourful = land and max(shapes) > _GREY
    near = [spread for spread in spreads if spread.band in ("B06", "B07", "B08", "B8A")]
    if alike := _white(spreads) if infrared else _dull(spreads):
        return [alike]
    if land and near and min(spread.at(0.5) for spread in near) > _GLARING:
        return [_bright(near)]
    # In the visible alone, forest and water are as dark as everything is in some other unit.
    if top > (_BYTES if water or not infrared else _DIM):
        return []
    cut = max(spread.share(-np.inf, CUT + 0.5) for spread in spreads) > 0.005
    fractional = all(spread.fractional for spread in spreads)
    if fractional:
        certain = top < (_THOUSANDS if colourful else _DEEPER if water else _BYTES if infrared else PERCENT)
    elif water:
        # Water is as dark as that, and what is no water in another unit can look like it.
        certain = False
        if top > _DEEP and cut:
            return []
    else:
        certain = top < (_THOUSANDS if colourful else _BYTES if infrared else PERCENT)
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


def _dull(spreads: list[Spread]) -> Finding | None:
    """Visible bands that are dark as no land is, whatever clouds there are in them."""
    visible = [spread for spread in spreads if spread.band in VISIBLE]
    if len(visible) < 2 or any(max(one.at(q) for one in visible) > most for q, most in _DULL):
        return None
    middle, top = (max(spread.at(q) for spread in visible) for q in (0.5, 0.99))
    # Water, whose red is dark, may be cut off at zero.
    water = (_shape(visible, 0.5) or 0.0) < _WATER
    if top < PERCENT or (water and max(spread.share(-np.inf, CUT + 0.5) for spread in visible) > _SOME):
        return None
    return _dark(visible, middle, False, "half of every band")


def _visible_top(spreads: Sequence[Spread]) -> float:
    return max((spread.at(0.99) for spread in spreads if spread.band in VISIBLE), default=np.inf)


def judge_infrared(spreads: list[Spread]) -> list[Finding]:
    """Near infrared alone in another unit: all is as dark in it as water, and in the visible as varied as land."""
    held = {spread.band: spread for spread in spreads}
    near = next((band for band in ("B08", "B8A") if band in held), None)
    if near is None or not {"B03", "B04"} <= held.keys():
        return []
    values = values_at_same_places([held[band] for band in ("B03", "B04", near)])
    visible = np.maximum(values["B03"], values["B04"])
    tells = visible > _PALE
    if np.count_nonzero(tells) < max(_PLACES, _BARELY * visible.size):
        return []
    part, red = ((values[band] + _NOISE)[tells] / (visible + _NOISE)[tells] for band in (near, "B04"))
    low, high = np.quantile(visible, (0.05, 0.95))
    if np.median(part) > _BLACK or np.quantile(part, 0.99) > _LAND or np.median(red) < _REDDISH:
        return []
    if high < _VARIED * max(low, _NOISE):
        return []
    moves = values[near][tells].std() > 0
    together = float(np.corrcoef(visible[tells], values[near][tells])[0, 1]) if moves else 0.0
    certain = together < _TOGETHER and bool(np.quantile(part, 0.99) < _NONE_ABOVE)
    text = (
        f"{named([held[near]])} is {np.median(part):.2g} times as bright as green and red, as over water, but these "
        "vary as over land, as if it were in another unit; give all bands as DN of reflectance times 10000"
    )
    return [Finding(text, certain)]


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
    told = dict.fromkeys(("B03", "B04", near, *_PARTS))
    values = values_at_same_places([held[band] for band in told if band in held])
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


def judge_leaves(spreads: list[Spread]) -> list[Finding]:
    """Plants are not brighter than leaves in the near infrared."""
    if (found := _over_plants(spreads, _LUSH)) is None:
        return []
    near, values, part = found
    bright = float(np.quantile(values[near], 0.9))
    if part < _PLANTS_PART or bright < _PLANTS_BRIGHT[0]:
        return []
    held = [spread for spread in spreads if spread.band == near]
    text = (
        f"{named(held)} is {bright:,.0f} and more over a tenth of the plants, brighter than leaves are; make sure that "
        "all bands are DN of reflectance times 10000"
    )
    return [Finding(text, bright > _PLANTS_BRIGHT[1])]


def judge_parts(spreads: list[Spread]) -> list[Finding]:
    """All of the visible or of the shortwave in another unit than the near infrared, which they are a part of."""
    if (plants := _over_plants(spreads, _PLANTS)) is None:
        return _over_snow(spreads)
    near, values, _ = plants
    # Water is as much brighter in the infrared where the visible is too dark.
    bright = values[near] > _THOUSANDS
    if np.count_nonzero(bright) < _PLACES:
        return _over_snow(spreads)
    found = []
    for spread in (spread for spread in spreads if spread.band in _PARTS):
        part = float(np.median(values[spread.band][bright] / values[near][bright]))
        (certainly, also), (perhaps, too) = _PARTS[spread.band]
        if not perhaps <= part <= too:
            text = (
                f"{named([spread])} is {part:.2g} times as bright as {near} over plants, as if in another unit; give "
                "all bands as DN of reflectance times 10000"
            )
            found.append(Finding(text, not certainly <= part <= also))
    return found


def _over_snow(spreads: Sequence[Spread]) -> list[Finding]:
    """The same over snow and ice, which are darkest there."""
    held = {spread.band: spread for spread in spreads}
    near = next((band for band in ("B08", "B8A") if band in held), None)
    short = [band for band in _ICY if band in held]
    if near is None or "B03" not in held or not short:
        return []
    values = values_at_same_places([held[band] for band in ("B03", near, *short)])
    white = (values["B03"] > _ICE) & (values[near] > _ICE_NEAR * values["B03"])
    if np.count_nonzero(white) < _PLACES:
        return []
    found = []
    for band in short:
        part, (certainly, perhaps) = float(np.median(values[band][white] / values["B03"][white])), _ICY[band]
        if part < perhaps:
            text = (
                f"{named([held[band]])} is {part:.2g} times as bright as B03 over snow, darker than snow is, as if in "
                "another unit; give all bands as DN of reflectance times 10000"
            )
            found.append(Finding(text, part < certainly))
    return found
