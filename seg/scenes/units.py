"""Whether the values of a scene are in the units that models see: DN of reflectance and dB.

A file does not say its unit, or says a wrong one. Bands are judged by quantiles of a sample of their pixels with data,
so that a few hot or broken ones count for nothing, each for itself and together. What must be another unit is refused;
what may be is said. `scripts/check_units.py` measures how often either is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg.errors import SceneError
from seg.reben.bands import BANDS
from seg.scenes.decibels import judge_decibels
from seg.scenes.findings import Expected, spreads_of
from seg.scenes.layer import Layer
from seg.scenes.offset import OFFSET_REMOVED, judge_offset
from seg.scenes.reflectance import judge_reflectance
from seg.scenes.sample import Sample

REBEN: Expected = {band.name: (band.mean, band.std) for band in BANDS.values()}


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found out about the values of a scene.

    Attributes:
        remarks: What the user must not miss, a sentence each.
        decisions: What was decided, by the name of a tag.
    """

    remarks: tuple[str, ...]
    decisions: dict[str, str]


def require_units(
    layers: Sequence[Layer],
    samples: Mapping[str, Sample],
    path: Path,
    *,
    asked: int | None = None,
    stated: bool = False,
    expected: Expected | None = None,
) -> Judged:
    """Make sure that Sentinel-2 values are DN and Sentinel-1 values dB.

    Args:
        layers: The bands of a scene.
        samples: What they hold.
        path: The scene.
        asked: The offset that the user said Sentinel-2 values have, already taken off; None if nothing was said.
        stated: Whether the scene itself says which offset it has.
        expected: What the model was trained on; None, and bands that are not in it: reBEN.

    Raises:
        SceneError: If they are not.
    """
    spreads = spreads_of(layers, samples)
    by_sensor = {s: [one for one in spreads if BANDS[one.band].sensor == s] for s in ("s1", "s2")}
    known = {**REBEN, **(expected or {})}
    found = judge_decibels(by_sensor["s1"], known)
    if by_sensor["s2"]:
        found += judge_reflectance(by_sensor["s2"], known)
    if certain := [finding for finding in found if finding.certain]:
        raise SceneError(certain[0].text)
    offset = judge_offset(by_sensor["s2"], asked, path, stated=stated)
    said = [f"{finding.text[0].upper()}{finding.text[1:]}." for finding in found]
    return Judged((*said, *offset.remarks), {OFFSET_REMOVED: offset.decision} if offset.decision else {})
