"""Whether the bands of a raster are named in the wrong order, by how bright they are.

A list of names that is given backwards, such as B12 to B01, makes the visible as bright as the infrared. Some of that
looks like another unit.
"""

from collections.abc import Sequence

import numpy as np

from seg.reben.bands import BANDS
from seg.scenes.findings import Expected, Finding, Spread, named

_BANDS = 4
"""So many bands tell; green of blue, green and red is the same in either order."""
_BETTER = 0.45
"""How far brightness in reverse order is from what is expected, as a part of how far it is as named. On all scenes in
the right order that `scripts/check_units.py` knows, the least is 0.52, of turbid water."""
_NOISE = 20.0
"""DN added, so that dark water does not count for more than anything else."""
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
