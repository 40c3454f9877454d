"""Whether the values of a scene are in the units that models see: DN of reflectance and dB.

A file does not say its unit, or says a wrong one. Bands are judged by quantiles of a sample of their pixels with data,
so that a few hot or broken ones count for nothing, each for itself and together. What must be another unit is refused;
what may be is said. `scripts/check_units.py` measures how often either is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from seg.errors import SceneError
from seg.rasters.fill import without_fills
from seg.rasters.header import editing, shown
from seg.rasters.layer import Layer
from seg.rasters.sample import look
from seg.rasters.validity import alpha_remarks
from seg.reben.bands import BANDS, S1_BANDS
from seg.scenes.check import require_common_data, require_data, require_different
from seg.scenes.decibels import judge_decibels
from seg.scenes.findings import Expected, Spread
from seg.scenes.offset import OFFSET_REMOVED, PRODUCT, judge_offset
from seg.scenes.order import IN_REVERSE, fits_in_reverse, judge_order
from seg.scenes.reflectance import judge_reflectance
from seg.scenes.stack import numbered_by_place, renamed, unnamed_pair

REBEN: Expected = {band.name: (band.mean, band.std) for band in BANDS.values()}


POLARISATIONS = "POLARISATIONS"
"""Under which it is kept which polarisations were assumed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found out about the values of a scene.

    Attributes:
        layers: Its bands, with what stands for no data.
        remarks: What the user must not miss, a sentence each.
        decisions: What was decided, by the name of a tag.
    """

    layers: tuple[Layer, ...]
    remarks: tuple[str, ...]
    decisions: dict[str, str]


def judge_values(
    own: Sequence[Layer],
    warped: Sequence[Layer],
    path: object,
    *,
    asked: int | None = None,
    teller: str | None = None,
    named: bool = False,
    expected: Expected | None = None,
) -> Judged:
    """Make sure that there are data, that Sentinel-2 values are DN and Sentinel-1 values dB.

    Args:
        own: The bands of a scene that lie on its grid.
        warped: Those that do not.
        path: The scene.
        asked: The offset that the user said Sentinel-2 values have, already taken off; None if nothing was said.
        teller: Who says which offset the scene has, even if that is none: `PRODUCT` or the item of a catalogue; None:
            nobody but the tags of its files.
        named: Whether the user said which bands there are.
        expected: What the model was trained on; None, and bands that are not in it: reBEN.

    Raises:
        SceneError: If they are not.
    """
    stated = teller == PRODUCT
    # The blocks of a product are slow to read, and seldom filled along its edges.
    seen = [*look(own, edges=not stated), *look(warped)]
    layers, filled = without_fills(seen[: len(own)], product=stated)
    others, too = without_fills(seen[len(own) :])
    layers += others
    samples = {one.layer.band: one.sample(layer) for one, layer in zip(seen, layers, strict=True)}
    require_data(layers, samples)
    alike = [
        said for same in (layers[: len(own)], layers[len(own) :]) if same for said in require_different(same, samples)
    ]
    spreads = [Spread(layer, samples[layer.band], stated) for layer in layers if samples[layer.band].values.size]
    sentinel2 = [one for one in spreads if BANDS[one.band].sensor == "s2"]
    known = {**REBEN, **(expected or {})}
    found = judge_decibels([one for one in spreads if one not in sentinel2], known)
    found += judge_order(sentinel2, known, judge_reflectance(sentinel2, known)) if sentinel2 else []
    if certain := [finding for finding in found if finding.certain]:
        raise SceneError(certain[0].text)
    try:
        offset, doubts = judge_offset(sentinel2, asked, path, teller)
    except SceneError as error:
        if fits_in_reverse(sentinel2, known):
            raise SceneError(f"{error}; {IN_REVERSE}") from None
        raise
    decisions = {OFFSET_REMOVED: offset} if offset else {}
    remarks = [
        *(renamed(own) if named else ()),
        *filled,
        *too,
        *require_common_data(layers[: len(own)], samples),
        *alike,
        *alpha_remarks(layers, named=named),
        *(f"{finding.text[0].upper()}{finding.text[1:]}." for finding in found),
        *doubts,
    ]
    numbered = {} if named else {one.header.path: one.header for one in layers if numbered_by_place(one.header)}
    remarks += [
        f"The bands of {shown(path)} are called B1 to B{len(header.dtypes)} and taken for those of Sentinel-2; if that "
        "is their place in the file, name them with --bands in their order"
        for path, header in numbered.items()
    ]
    if assumed := [] if named else [layer for layer in layers if unnamed_pair(layer)]:
        held = assumed[0].header.path
        commands = [editing(held, f"--bidx {place} --description {band}") for place, band in enumerate(S1_BANDS, 1)]
        remarks.append(
            f"The two bands of {shown(held)} have no names and are taken for VV and VH, in that order; name what they "
            f"are: {' && '.join(commands)}"
        )
        decisions[POLARISATIONS] = "VV,VH (assumed of two bands without names)"
    return Judged(tuple(layers), tuple(remarks), decisions)
