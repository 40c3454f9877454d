"""Whether Sentinel-2 values are DN of surface reflectance: reflectance times 10,000, without the offset of 1000.

Water is dark in all bands, and darker the longer the wave; everything else is bright somewhere. On 85 real reBEN
patches the brightest band has its 99 % quantile above 1,170 unless the near infrared is darker than the visible (at
most 0.65 of it, but for one of water that is cut off at DN 1). Snow and clouds end at 20,000. The offset is looked at
in `seg.scenes.offset`.
"""

from collections.abc import Callable

import numpy as np

from seg.reben.bands import S2_BANDS
from seg.scenes.atmosphere import judge_atmosphere
from seg.scenes.findings import Expected, Finding, Spread, cure, named, tags_of
from seg.scenes.histograms import judge_combs, judge_pictures
from seg.scenes.order import judge_exchanged
from seg.scenes.scale import (
    CUT,
    INFRARED,
    PERCENT,
    VISIBLE,
    judge_infrared,
    judge_leaves,
    judge_parts,
    judge_plants,
    judge_scale,
)

_UNITY = 2.0
"""Hardly any reflectance is above it, and hardly a DN below."""
_NO_DN, _NEGATIVE = 20.0, 0.1
"""What 99 % of no scene in DN are below in every band, and the share of it that lies below zero in no other unit."""
_PILED = 0.005
"""The share of a band that a stretched picture has at either end."""
_BRIGHTEST = 20_000.0
"""DN at which snow and clouds saturate."""
_WRAPPED = (60_000.0, 65_535.0)
"""Where DN below the offset end in unsigned integers of 16 bits; the last one is a common fill value."""
_LANDSAT, _LANDSAT_DARK = (0.275, 2000.0), (7_000.0, 12_000.0)
"""DN of a number of Landsat's Collection 2, Level 2: times the first, less the second; and where its numbers of what is
dark lie, as 7,273 is a reflectance of zero (USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide)."""
_SEVERAL = 2e-4
_BELOW_ZERO, _FILL = -400.0, -2_000.0
"""Corrections err by 200 DN at most in shadow and over water; values below the last one are no measurements."""
_MANY = 0.01
_SHADE = 300.0
"""Water and shadow are below it in the near infrared."""
_CUT_WRONG, _CUT_DOUBTFUL = 0.4, 0.3
"""Shares of the visible that are cut off without being dark in the infrared; the most on real patches is 0.15."""
_LIT = 500.0
_DIP, _DIP_DARK = (2.6, 2.0), (5.0, 3.8)
"""Factors by which a band is darker, or brighter, than both of its neighbours in the spectrum: certainly in another
unit, and perhaps. The second ones hold beside dark neighbours. The most on 184 scenes that are right is 1.8."""
_END = (5.5, 4.5)
"""The same at the ends of a group, where there is one neighbour."""
_ENDS = {("B06", "darker"): (3.0, 2.2), ("B06", "brighter"): (3.0, 2.2), ("B09", "darker"): (4.0, 3.0),
         ("B09", "brighter"): (4.0, 3.0), ("B11", "darker"): (2.5, 1.8), ("B12", "brighter"): (2.5, 1.8)}  # fmt: skip
"""The same of bands that are hardly ever so far apart: at most by 1.25 on these scenes."""
_GROUPS = (("B01", "B02", "B03", "B04", "B05"), ("B06", "B07", "B08", "B8A", "B09"), ("B11", "B12"))
"""Bands that are alike; from one group to the next plants, snow and water differ twentyfold."""
_QUANTILES = (0.5, 0.75, 0.9)
_LEVEL, _LEVEL_DARK, _DARK = 20.0, 60.0, 150.0
"""DN added to both before they are compared, and the same where a neighbour has its median below the last one."""
_UNSEEN = 0.3
"""Part of the mean of what the model was trained on that some band should reach."""


def judge_reflectance(spreads: list[Spread], expected: Expected) -> list[Finding]:
    """Look at the Sentinel-2 bands of a scene, each for itself and all together.

    Args:
        spreads: Of Sentinel-2, with data.
        expected: What the model was trained on, DN.
    """
    looks: tuple[Callable[[list[Spread]], list[Finding]], ...] = (
        _unity,
        _constants,
        judge_pictures,
        _extremes,
        judge_scale,
        judge_plants,
        _neighbours,
        judge_infrared,
        judge_parts,
        judge_combs,
        judge_leaves,
        judge_atmosphere,
        judge_exchanged,
    )
    for look in looks:
        # What is in another unit makes the rest look odd too.
        if certain := [finding for finding in look(spreads) if finding.certain]:
            return certain
    found = [finding for look in looks for finding in look(spreads)]
    return found or _unseen(spreads, expected)


def _unity(spreads: list[Spread]) -> list[Finding]:
    """Reflectance from 0 to 1, and 8-bit pictures."""
    for spread in spreads:
        if spread.layer.dtype in ("uint8", "int8") and spread.layer.gain == 1:
            how = "holds 8-bit values, but models see DN of reflectance times 10000; give the product's own values"
            return [Finding(f"{named([spread])} {how}, not a picture", True)]
    if all(spread.fractional and spread.at(0.99) < _NO_DN for spread in spreads):
        lowest = min(spreads, key=lambda spread: spread.at(0.05))
        if np.unique(lowest.sample.values[lowest.sample.values < 0]).size > 2 and lowest.share(-np.inf, 0) > _NEGATIVE:
            text = (
                f"{named(spreads)} hold {lowest.at(0.05):.2g} to {lowest.at(0.95):.2g} in {lowest.band}, as "
                "standardised values or logarithms do, and no DN; give the product's own values"
            )
            return [Finding(text, True)]
        piled = all(min(spread.share(-np.inf, 1e-9), spread.share(1, _UNITY)) > _PILED for spread in spreads)
        # No clouds saturate at 1 in every band of a scene that is 0 somewhere in each.
        fitted = len(spreads) > 1 and all((spread.at(0), spread.at(1)) == (0, 1) for spread in spreads)
        if piled or fitted:
            how = f"{'are pictures that were' if len(spreads) > 1 else 'is a picture that was'} stretched from 0 to 1"
            return [Finding(f"{named(spreads)} {how}; give the product's own values", True)]
    if torn := [spread for spread in spreads if _holds_two(spread)]:
        part = 100 * torn[0].share(1e-9, _UNITY)
        text = (
            f"{named(torn)} {'holds' if len(torn) == 1 else 'hold'} two units: {part:.0f} % of {torn[0].band} are "
            "reflectance from 0 to 1, and nothing lies between these and DN; give all parts as DN of reflectance "
            "times 10000"
        )
        return [Finding(text, True)]
    low = [spread for spread in spreads if spread.fractional and spread.share(-_UNITY, _UNITY) > 0.5]
    # Dark bands of percent are as low, beside bright ones.
    percent = _UNITY < max(spread.at(0.9) for spread in spreads) < PERCENT and len(low) < len(spreads)
    if low and not percent:
        right = [spread.layer for spread in spreads if spread not in low]
        formula = cure(low[0].layer, "(* 10000 (read 1))", right)
        verb = "holds" if len(low) == 1 else "hold"
        return [Finding(f"{named(low)} {verb} reflectance from 0 to 1, but models see DN; {formula}", True)]
    return []


def _constants(spreads: list[Spread]) -> list[Finding]:
    """Bands that are the same everywhere, beside others that are not."""
    same = [spread for spread in spreads if spread.at(0) == spread.at(1)]
    if 2 * len(same) > len(spreads):
        return []
    return [
        Finding(
            f"{named([one])} is {one.at(0):,.6g} everywhere, which is no image; make sure that it is the band", False
        )
        for one in same
        if one.sample.values.size > 1
    ]


def _holds_two(spread: Spread) -> bool:
    """Whether some pixels of a band are reflectance, others DN, as of images of two sources side by side."""
    if not spread.layer.floating or min(spread.share(1e-9, _UNITY), spread.share(_NO_DN, np.inf)) < _MANY:
        return False
    if spread.at(0.99) < 2 * PERCENT:
        # Water and land in percent.
        return False
    stored = spread.sample.stored
    low = stored[(spread.sample.values > 0) & (spread.sample.values < _UNITY)]
    return spread.share(_UNITY, _NO_DN) < _SEVERAL and bool((low != np.rint(low)).mean() > 0.5)


def _extremes(spreads: list[Spread]) -> list[Finding]:
    """Values that DN cannot have: wrapped, too bright, and below zero."""
    if landsat := _landsat(spreads):
        return [Finding(landsat, True)]
    return [Finding(text, True) for spread in spreads if (text := _extreme(spread))] or _cut_off(spreads)


def _landsat(spreads: list[Spread]) -> str:
    """Numbers that are brighter than snow, and dark nowhere: zero is far above zero."""
    darkest = min(spread.at(0.01) for spread in spreads)
    glaring = max(spread.at(0.95) for spread in spreads) > _BRIGHTEST
    if not glaring or not _LANDSAT_DARK[0] < darkest < _LANDSAT_DARK[1]:
        return ""
    layer, (factor, less) = spreads[0].layer, _LANDSAT
    return (
        f"{named(spreads)} are brighter than snow and nowhere below {darkest:,.0f}, as Landsat's numbers are, which "
        f"times 0.0000275 less 0.2 are reflectance; {cure(layer, f'(- (* {factor} (read 1)) {less:g})')}"
    )


def _extreme(spread: Spread) -> str:
    what, values = named([spread]), spread.sample.values
    if spread.at(0.5) < _FILL:
        return f"half of {what} are below {spread.at(0.5):,.0f}, as no DN is; {cure(spread.layer, '')}"
    if spread.share(*_WRAPPED) > _SEVERAL and np.unique(values[(values >= _WRAPPED[0])]).size > 2:
        return (
            f"{100 * spread.share(*_WRAPPED):.1f} % of {what} are just below 65536: an offset was taken off integers "
            "that cannot be negative; take it off anew in int16 or float32"
        )
    if spread.at(0.95) > _BRIGHTEST:
        told = f"; {cure(spread.layer, '')}"
        if not tags_of(spread.layer):
            told = f": give them so; of reflectance times 100000, {cure(spread.layer, '(/ (read 1) 10.0)')}"
        return (
            f"{what} is brighter than snow and clouds (5 % above {spread.at(0.95):,.0f}), so it is no reflectance "
            f"times 10000{told}"
        )
    if (below := spread.share(_FILL, _BELOW_ZERO)) > _MANY:
        return (
            f"{100 * below:.0f} % of {what} are far below zero (down to {spread.at(0.01):.0f}), as if the offset of "
            f"1000 had been taken off twice; {_once(spread)}"
        )
    return ""


def _once(spread: Spread) -> str:
    if spread.stated:
        return "its metadata and its values contradict each other: get the product anew"
    return cure(spread.layer, "") if tags_of(spread.layer) else "take it off once (--offset 0 where it is off already)"


def _cut_off(spreads: list[Spread]) -> list[Finding]:
    """Visible bands that are cut off at zero where the infrared is not dark: water and shadow are dark in both."""
    visible = [spread for spread in spreads if spread.band in VISIBLE]
    infrared = [spread for spread in spreads if spread.band in INFRARED[:5]]
    if not visible:
        return []
    cut = float(np.median([spread.share(-np.inf, CUT + 0.5) for spread in visible]))
    dark = min((spread.share(-np.inf, _SHADE) for spread in infrared), default=0.0)
    lit = max(spread.at(0.99) for spread in visible) > _LIT or bool(infrared)
    if not lit or cut - dark < _CUT_DOUBTFUL:
        return []
    # Without the infrared it may be water that was corrected too far.
    certain = bool(infrared) and cut - dark > _CUT_WRONG
    return [
        Finding(
            f"{100 * cut:.0f} % of {named(visible)} are cut off at zero, as if the offset of 1000 had been taken off "
            "twice; make sure that it was taken off once",
            certain,
        )
    ]


def _neighbours(spreads: list[Spread]) -> list[Finding]:
    """Bands that do not fit between their neighbours in the spectrum, so that one is in another unit."""
    # Of a band and its neighbours, the one that fits neither of two is meant.
    found: list[tuple[int, Finding]] = []
    for group in _GROUPS:
        held = sorted((spread for spread in spreads if spread.band in group), key=lambda one: S2_BANDS.index(one.band))
        for b, spread in enumerate(held):
            beside = [held[i] for i in (b - 1, b + 1) if 0 <= i < len(held)]
            if not beside:
                continue
            bright = min(one.at(0.5) for one in beside) > _DARK
            levels_QB = [
                [max(one.at(q), 0) + (_LEVEL if bright else _LEVEL_DARK) for one in (spread, *beside)]
                for q in _QUANTILES
            ]
            logs_QB = np.log(levels_QB)
            steps_QB = logs_QB[:, 1:] - logs_QB[:, :1]
            times, how = max((float(np.exp(steps_QB.min())), "darker"), (float(np.exp(-steps_QB.max())), "brighter"))
            certain, doubtful = _limits(spread.band, how, len(beside), bright)
            if times > doubtful:
                text = (
                    f"{named([spread])} is {times:.0f} times {how} than {' and '.join(one.band for one in beside)}, "
                    "beside it in the spectrum, as if in another unit or under another name; give all bands as DN of "
                    "reflectance times 10000, each under its own"
                )
                found.append((-len(beside), Finding(text, times > certain)))
    return [finding for _, finding in sorted(found, key=lambda one: one[0])]


def _limits(band: str, how: str, neighbours: int, bright: bool) -> tuple[float, float]:
    """Times darker or brighter from which on a band certainly is in another unit, and perhaps."""
    if neighbours == 2:
        return _DIP if bright else _DIP_DARK
    return _ENDS.get((band, how), _END) if bright else _END


def _unseen(spreads: list[Spread], expected: Expected) -> list[Finding]:
    """Nothing that the model has seen is so dark in every band."""
    if any(spread.at(0.99) > _UNSEEN * expected[spread.band][0] for spread in spreads):
        return []
    return [
        Finding(
            f"{named(spreads)} are darker than what the model was trained on, in every band; make sure that they are "
            "DN of reflectance times 10000",
            False,
        )
    ]
