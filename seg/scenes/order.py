"""Whether the bands of a raster are named in the wrong order, by how bright they are.

A list of names that is given backwards, such as B12 to B01, makes the visible as bright as the infrared. Some of that
looks like another unit.
"""

from collections.abc import Sequence

import numpy as np

from seg.rasters.sample import Floats
from seg.reben.bands import BANDS
from seg.scenes.findings import Expected, Finding, Spread, named, values_at_same_places

_BANDS = 4
"""So many bands tell; green of blue, green and red is the same in either order."""
_BETTER = 0.45
"""How far brightness in reverse order is from what is expected, as a part of how far it is as named. On all scenes in
the right order that `scripts/check_units.py` knows, the least is 0.52, of turbid water."""
_NOISE = 20.0
"""DN added, so that dark water does not count for more than anything else."""
_PLACES, _PART = 50, 0.02
"""Places that it takes to tell, and the part of all that they must be."""
_LEAVES, _DAMP = (2.0, 1.4, 600.0), 1.15
"""Times that near infrared is above red and green over plants, and its DN; times that B12 is never above B11 there,
where water in the leaves takes more from it."""
_DRY, _BLUE, _OFTEN = 1_500.0, 1.3, 5.0
"""DN of B11 over dry ground; times that B02 is hardly above B04 there, and times as many such places as of the other
kind."""
IN_REVERSE = "or its bands are in another order: reversed, they are about as bright as those the model was trained on"
"""What is said besides of bands that `fits_in_reverse` is true of."""


def judge_order(spreads: Sequence[Spread], expected: Expected, found: Sequence[Finding]) -> list[Finding]:
    """Say of what was found in bands of one file that their order would explain it better, if it does.

    Args:
        spreads: Bands with data, of Sentinel-2 or not.
        expected: What the model was trained on, DN.
        found: What else was found.

    Returns:
        The same, with a word more in the text of each; that word alone where there is nothing else.
    """
    if not fits_in_reverse(spreads, expected):
        return list(found)
    if found:
        return [Finding(f"{one.text}; {IN_REVERSE}", one.certain) for one in found]
    text = f"{named(spreads)} are as bright as those the model was trained on only if they are reversed; make sure of"
    return [Finding(f"{text} their order", False)]


def fits_in_reverse(spreads: Sequence[Spread], expected: Expected) -> bool:
    """Whether Sentinel-2 bands of one file are nearer to what is expected if their names are reversed."""
    held = sorted((one for one in spreads if BANDS[one.band].sensor == "s2"), key=lambda one: one.layer.index)
    if len(held) < _BANDS or len({one.layer.header.path for one in held}) > 1:
        return False
    found_B = np.log([max(one.at(0.5), 0.0) + _NOISE for one in held])
    expected_B = np.log([expected[one.band][0] for one in held])
    as_named, in_reverse = (float(np.square(found_B - other).mean()) ** 0.5 for other in (expected_B, expected_B[::-1]))
    return bool(in_reverse < _BETTER * as_named)


def judge_exchanged(spreads: Sequence[Spread]) -> list[Finding]:
    """Two bands that hold what belongs to each other: B11 and B12 over plants, B02 and B04 over dry ground."""
    held = {spread.band: spread for spread in spreads}
    found = []
    near = next((band for band in ("B08", "B8A") if band in held), "")
    if held.keys() >= {near, "B03", "B04", "B11", "B12"}:
        values = values_at_same_places([held[band] for band in (near, "B03", "B04", "B11", "B12")])
        above_red, above_green, bright = _LEAVES
        plants = (values[near] > above_red * values["B04"]) & (values[near] > above_green * values["B03"])
        plants &= values[near] > bright
        longer, shorter = (values[band][plants] for band in ("B12", "B11"))
        if longer.size >= max(_PLACES, _PART * plants.size) and np.median(longer) > _DAMP * np.median(shorter) + _NOISE:
            found.append(_exchanged(held["B12"], longer, "B11", shorter, "plants"))
    if held.keys() >= {near, "B02", "B04", "B11"}:
        values = values_at_same_places([held[band] for band in (near, "B02", "B04", "B11")])
        dry = (values["B11"] > _DRY) & (values[near] < _LEAVES[0] * np.maximum(values["B02"], values["B04"]))
        blue, red = dry & (values["B02"] > _BLUE * values["B04"]), dry & (values["B04"] > _BLUE * values["B02"])
        if np.count_nonzero(blue) >= max(_PLACES, _PART * dry.size, _OFTEN * np.count_nonzero(red)):
            found.append(_exchanged(held["B02"], values["B02"][blue], "B04", values["B04"][blue], "dry ground"))
    return found


def _exchanged(spread: Spread, high: Floats, other: str, low: Floats, ground: str) -> Finding:
    levels = f"{np.median(high):,.0f} and {np.median(low):,.0f}"
    text = f"{named([spread])} is brighter than {other} over {ground} ({levels}), as if the two were exchanged"
    return Finding(f"{text}; make sure of their order", False)
