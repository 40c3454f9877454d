"""Whether Sentinel-1 values are dB, and VV and VH are the right way round.

Backscatter of land and sea in dB: VV of a scene has its median between -28 (calm sea) and -4 (the middle of a city), VH
between -35 and -8; the noise of the instrument ends at about -50. On 83 real reBEN patches medians are -29 to -7.1 (VV)
and -31.7 to -14.1 (VH), and the 5 % to 95 % range of a band is wider than 4 dB because of speckle.
"""

import math
from pathlib import Path

import numpy as np

from seg.rasters.header import editing
from seg.rasters.layer import Layer
from seg.scenes.findings import Expected, Finding, Spread, cure, named, tags_of

_POSITIVE = -1.0
"""No half of a scene is above it in dB; power of land is, whatever noise removal does to its darkest pixels."""
_POWER = 1.5
"""Medians of power and amplitude are below it unless they are scaled."""
_SIGNLESS = 60.0
"""dB without their sign are below it, digital numbers of a GRD are above."""
_MULTIPLE = -50.0
"""The noise floor; a median below it is a multiple of dB."""
_FACTORS = (10, 100, 256, 1000)
"""What dB are multiplied by to store them in integers."""
_FAINT = {"VV": -30.0, "VH": -34.0}
_NARROW, _NARROW_ABOVE = 2.0, -5.0
"""Speckle alone spreads dB further than that, dB; together with a median above, it is a tenth of dB (bel)."""
_BRIGHT = {"VV": -4.0, "VH": -10.0}
"""Medians below and above are of no scene: half or twice the dB, or dB that were shifted."""
_LOUD = -7.0
"""dB that no half of a scene is above in VH: its volume scatters at most a sixth of what comes in."""
_FAR = 4.0
"""Standard deviations from the mean of what a model was trained on."""
_BEYOND, _FEW = -60.0, 0.01
"""Below the noise floor, and the share of pixels that may be."""
_SWAPPED = 1.5
"""dB that VH must be above VV to be called VV."""
_NOISE = -24.0
"""Medians below it are near the noise floor, where VV and VH are alike: on two real patches of the sea VH is above."""
_APART = 20.0
_ROUGH = 3.6
"""dB that half of all places differ by from those 60 m away; the most of a band on 159 scenes is 3.1, with its noise of
four looks and more."""
_DEEP = -0.5
"""Power is not below it, whatever is taken off as noise; what was brought to mean 0 and deviation 1 is."""
_CALIBRATE = "take off what was added, or calibrate the product to sigma nought in dB"


def judge_decibels(spreads: list[Spread], expected: Expected) -> list[Finding]:
    """Look at the polarisations of a scene.

    Args:
        spreads: Of Sentinel-1, with data.
        expected: What the model was trained on, dB.
    """
    right = [spread for spread in spreads if _MULTIPLE <= spread.at(0.5) <= _POSITIVE and not _in_bels(spread)]
    found = [finding for spread in spreads if (finding := _judge(spread, expected[spread.band], right, spreads))]
    pair = {spread.band: spread for spread in spreads}
    if not any(finding.certain for finding in found) and len(pair) == 2:
        found += _compared(pair["VV"], pair["VH"])
    if not found and spreads and min(map(_step, spreads)) > _ROUGH:
        text = (
            f"{named(spreads)} change by {min(map(_step, spreads)):.1f} dB from place to place, as single looks do, or "
            "dB that were doubled (20 times the logarithm of power); make sure that they are dB"
        )
        found.append(Finding(text, False))
    return found


def _step(spread: Spread) -> float:
    """The median of the change from a place of the lattice to the one on its right, dB; 0 where there are none."""
    places, stored, there = spread.sample.lattice
    following = np.searchsorted(places, places + 1)
    beside = np.minimum(following, places.size - 1)
    pairs = there & there[beside] & (places[beside] == places + 1)
    values = spread.layer.in_units(stored)
    pairs &= np.isfinite(values) & np.isfinite(values[beside])
    return float(np.median(np.abs(values[beside][pairs] - values[pairs]))) if pairs.any() else 0.0


def _in_bels(spread: Spread) -> bool:
    """Whether values are tenths of dB, as hardly anything but their narrow range tells."""
    return spread.at(0.5) > _NARROW_ABOVE and _range(spread) < _NARROW


def _range(spread: Spread) -> float:
    return spread.at(0.95) - spread.at(0.05)


def _judge(
    spread: Spread, expected: tuple[float, float], decibels: list[Spread], spreads: list[Spread]
) -> Finding | None:
    """What is found of one of some bands, of which these look like dB."""
    middle, what, right = spread.at(0.5), named([spread]), [one.layer for one in decibels]
    if middle > _POSITIVE:
        return _not_logarithmic(spread, what, right, spreads)
    if middle < _MULTIPLE:
        if tags_of(spread.layer):
            return Finding(f"{what}: half of the values are below {middle:.0f} dB; {cure(spread.layer, '')}", True)
        factor, *others = _factors(middle, _FAINT[spread.band], expected)
        if _range(spread) < _NARROW * factor:
            how = f"half of it is below {middle:.0f}, and nearly all within {_range(spread):.0f} dB"
            return Finding(f"{what} looks like dB that were shifted: {how}; {_CALIBRATE}", True)
        like = " or ".join(map(str, (factor, *others)))
        instead = f" (if it is times {others[0]}, {others[0]} instead)" if others else ""
        formula = cure(spread.layer, f"(/ (read 1) {factor}.0)", right)
        text = f"{what} looks like dB times {like}: half of it is below {middle:.0f}; {formula}{instead}"
        return Finding(text, True)
    if _in_bels(spread):
        formula = cure(spread.layer, "(* (read 1) 10.0)", right)
        text = f"{what} looks like dB divided by 10: nearly all of it is around {middle:.1f}; {formula}"
        return Finding(f"{text} (of a natural logarithm of amplitude, 8.686 instead of 10)", True)
    return _doubtful(spread, what, expected)


def _factors(middle: float, faintest: float, expected: tuple[float, float]) -> list[int]:
    """What makes dB of land or sea of a median, the likeliest first; at least one."""
    mean, deviation = expected
    likely = sorted(_FACTORS, key=lambda factor: abs(math.log(middle / factor / mean)))
    return [f for f in likely if faintest < middle / f < mean + deviation] or likely[:1]


def _doubtful(spread: Spread, what: str, expected: tuple[float, float]) -> Finding | None:
    middle, (mean, deviation) = spread.at(0.5), expected
    if spread.band == "VH" and middle > _LOUD:
        formula = cure(spread.layer, "(* 4.343 (read 1))")
        text = (
            f"{what} has a median of {middle:.1f} dB, which no land or sea has: if it is a natural logarithm, {formula}"
        )
        return Finding(text, True)
    if middle < _FAINT[spread.band] or middle > _BRIGHT[spread.band] or abs(middle - mean) > _FAR * deviation:
        return Finding(
            f"{what} has a median of {middle:.1f} dB, which no land or sea has, and the model has seen {mean:.1f} on "
            "average; make sure that it is in dB",
            False,
        )
    if (beyond := spread.share(-np.inf, _BEYOND)) > _FEW:
        return Finding(
            f"{100 * beyond:.0f} % of {what} are below {_BEYOND:g} dB, less than the instrument's noise; if they are "
            "no data, declare it as nodata",
            False,
        )
    return None


def _not_logarithmic(spread: Spread, what: str, right: list[Layer], spreads: list[Spread]) -> Finding:
    """Values that are above zero, more or less."""
    middle = spread.at(0.5)
    if tags_of(spread.layer):
        text = f"{what}: half of the values are above {middle:.2g} dB, as no land or sea is; {cure(spread.layer, '')}"
    elif middle < _POWER and spread.at(0.05) < _DEEP:
        text = (
            f"{what} lies around zero ({spread.at(0.05):.1f} to {spread.at(0.95):.1f}), as if it had been brought to "
            "mean 0 and deviation 1, or dB had been shifted; give the product's own dB"
        )
    elif middle < _POWER:
        formula = cure(spread.layer, "(* 10 (log10 (read 1)))", right)
        text = (
            f"{what} looks like linear power or amplitude, not dB: half of it is above {middle:.3g}; of power, "
            f"{formula} (of amplitude, 20 instead of 10)"
        )
    elif spread.at(0.95) < _SIGNLESS and spread.share(-np.inf, 0) > _FEW:
        how = f"half of it is above {middle:.1f}, and some is below zero"
        text = f"{what} looks like dB that were shifted: {how}; {_CALIBRATE}"
    elif spread.at(0.95) < _SIGNLESS and _vv_above_vh(spreads):
        how = f"half of it is above {middle:.1f}, and VV is above VH as in dB"
        text = f"{what} looks like dB that were shifted: {how}; {_CALIBRATE}"
    elif spread.at(0.95) < _SIGNLESS:
        formula = cure(spread.layer, "(* (read 1) -1.0)", right)
        text = f"{what} looks like dB without their sign: half of it is above {middle:.1f}; {formula}"
        if right:
            text = (
                f"{what} is above zero (half of it above {middle:.1f}) where {right[0].band} is dB, as an incidence "
                f"angle or a ratio is: give {spread.band} itself; if only its sign is lost, {formula}"
            )
    else:
        text = (
            f"{what} looks like digital numbers, not dB: half of it is above {middle:.0f}; calibrate the product to "
            "sigma nought in dB first"
        )
    return Finding(text, True)


def _vv_above_vh(spreads: list[Spread]) -> bool:
    """Whether half of VV is above half of VH, both above zero: without their sign it is the other way round."""
    middle = {spread.band: spread.at(0.5) for spread in spreads}
    return len(middle) == 2 and middle["VH"] > 0 and middle["VV"] > middle["VH"] + _SWAPPED


def _other_way_round(vv: Layer, vh: Layer) -> str:
    path = vv.header.path
    if vh.header.path != path or not Path(path).is_file():
        return "name them the other way round"
    names = [f"--bidx {layer.index} --description {name}" for layer, name in ((vv, "VH"), (vh, "VV"))]
    return f"name them the other way round: {' && '.join(editing(path, name) for name in names)}"


def _compared(vv: Spread, vh: Spread) -> list[Finding]:
    """VV is above VH by 3 to 15 dB nearly everywhere."""
    apart = float(np.median([vv.at(q) - vh.at(q) for q in (0.1, 0.25, 0.5, 0.75, 0.9)]))
    if max(vv.at(0.5), vh.at(0.5)) < _NOISE and apart > -2 * _SWAPPED:
        return []
    what = named([vv, vh])
    if apart < -_SWAPPED:
        how = (
            f"VH is {-apart:.1f} dB above VV, but it is below nearly everywhere; {_other_way_round(vv.layer, vh.layer)}"
        )
        return [Finding(f"{what} look swapped: {how}", True)]
    if apart < _SWAPPED or apart > _APART:
        return [Finding(f"VV is {apart:.1f} dB above VH in {what}, not 3 to 15; make sure which is which", False)]
    return []
