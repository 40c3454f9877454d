"""What the histograms of Sentinel-2 bands tell of values that were stretched or multiplied."""

import math

import numpy as np

from seg.scenes.findings import Finding, Spread, named

_CLIP, _PILE = 255.0, 5.0
"""Where pictures are clipped, and times that values lie there more often than on the ten below."""
_PILED = 0.005
"""The share of a band that is piled up there."""
_COMB, _OFTEN, _LEVELS = 1.5, 8, 24
"""DN from values that are as frequent to the next ones from which on a histogram is a comb, and how many different ones
it takes to tell. Bands of some real patches have 2, because of how they were corrected; all bands together have 1."""
_ROUND = (5, 2)
"""Prime factors of steps that come of rounding to decimals or bits, not of another unit."""


def judge_pictures(spreads: list[Spread]) -> list[Finding]:
    """Pictures that were stretched to 255, in whatever type: what is brighter is piled up there in all bands."""
    if len(spreads) < 2 or any(spread.fractional for spread in spreads):
        return []
    for spread in spreads:
        pile, below = spread.share(_CLIP, _CLIP + 1), spread.share(_CLIP - 10, _CLIP) / 10
        if spread.at(1) != _CLIP or pile < _PILED or pile < _PILE * below:
            return []
    what = named(spreads)
    return [Finding(f"{what} is a picture that was stretched to 255; give the product's own values", True)]


def judge_combs(spreads: list[Spread]) -> list[Finding]:
    """Whole numbers that were multiplied: their histograms have gaps, in all bands."""
    factors, steps = map(list, zip(*map(_comb, spreads), strict=True))
    common = odd = math.gcd(*factors)
    for factor in _ROUND:
        while odd and odd % factor == 0:
            odd //= factor
    told = [step for step in steps if step]
    # Values that were rounded to some decimals are multiples of ten.
    rounded = odd == 1 and common % 5 == 0
    if len(spreads) < 2 or rounded or not (common > 1 or (len(told) > 1 and min(told) > _COMB)):
        return []
    how = f"are multiples of {common}" if common > 1 else f"lie {min(told):.2g} apart"
    text = f"all values of {named(spreads)} {how}, as if they had been multiplied; make sure that they are DN"
    return [Finding(f"{text} of reflectance times 10000", odd > 1)]


def _comb(spread: Spread) -> tuple[int, float]:
    """The greatest number that divides all values, and the DN from frequent ones to the next; 0 where it is unknown."""
    measured = spread.sample.values[spread.layer.possible(spread.sample.values)]
    values, numbers = np.unique(measured, return_counts=True)
    if values.size < _LEVELS:
        return 1, 0.0
    whole = bool((values == np.rint(values)).all())
    gaps = np.diff(values)[numbers[:-1] >= _OFTEN]
    return (
        int(np.gcd.reduce(values.astype(np.int64))) if whole else 1,
        float(gaps.mean()) if gaps.size > _LEVELS / 2 and gaps.min() > _COMB else 0.0,
    )
