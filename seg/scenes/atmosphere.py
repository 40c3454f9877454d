"""Whether Sentinel-2 values are those of the surface, or of the top of the atmosphere, as Level-1C has them.

Air scatters blue light most (Rayleigh), so what is dark on the ground, such as water and shadow, is the brighter at the
top of the atmosphere the shorter the wave: about 0.08 in B02, 0.05 in B03 and 0.03 in B04, and next to nothing beyond
1,500 nm.
"""

from collections.abc import Sequence

from seg.scenes.findings import Finding, Spread, named

_DARKEST = 0.01
"""The quantile that stands for what is dark in a band."""
_BLUE, _STEP, _BEYOND = 550.0, 1.3, 0.35
"""DN of the dark in B02, times that it falls to B03 and on to B04 at least, and the part of it that is left in B11 or
B12 at most."""


def judge_atmosphere(spreads: Sequence[Spread]) -> list[Finding]:
    """What is dark grows brighter from red to blue as air does."""
    dark = {spread.band: spread.at(_DARKEST) for spread in spreads}
    beyond = [dark[band] for band in ("B11", "B12") if band in dark]
    visible = ("B02", "B03", "B04")
    if not beyond or not dark.keys() >= {*visible}:
        return []
    blue, green, red = (dark[band] for band in visible)
    if blue < _BLUE or blue < _STEP * green or green < _STEP * red or min(beyond) > _BEYOND * blue:
        return []
    bands = named([spread for spread in spreads if spread.band in visible])
    text = (
        f"what is dark in {bands} grows brighter towards the blue ({red:,.0f} in B04, {green:,.0f} in B03, {blue:,.0f} "
        "in B02), as at the top of the atmosphere; if this is Level-1C, give the product of Level-2A"
    )
    return [Finding(text, False)]
