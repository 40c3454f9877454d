"""Whether Sentinel-2 values still have the offset of 1000 that products have since 2022 (baseline 04.00).

A product says so itself. Files that were taken out of one do not, and then only the darkest pixels tell: water, shadow
and forest are below 500 in the visible, and hardly a pixel is below 1000 with the offset. Over desert, snow and clouds
the darkest pixels of most bands are far above that, with it or without.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from seg.errors import SceneError
from seg.rasters.grid import FACTORS, PIXEL_METRES
from seg.rasters.header import shown
from seg.rasters.layer import Layer
from seg.rasters.sample import Floats
from seg.reben.bands import BANDS
from seg.scenes.findings import Spread, cure, tags_of, values_at_same_places
from seg.scenes.grid import SceneUseError
from seg.scenes.scale import INFRARED, VISIBLE
from seg.scenes.seam import find_seam

PRODUCT = "product"
"""Says itself which offset it has."""

OFFSETS = (0, 1000)
"""What a scene may have."""
OFFSET_REMOVED = "OFFSET_REMOVED"
"""Under which it is kept what was done."""
_DARK = ("B01", "B02", "B03", "B04", "B05", "B12")
"""Bands in which something is dark in nearly every scene."""
_FLOOR, _BRIGHT_FLOOR = 950.0, 1_500.0
"""DN that noise hardly reaches with the offset, and what the darkest pixels of land, water and forest have with it."""
_NEAR = 650.0
"""A band with values between it and the floor has no offset; what is darker, apart from all others, may be an error."""
_FEW, _SOME = 0.001, 0.1
"""Shares of pixels that may be near the floor, and below."""
_MOST, _MANY = 0.7, 0.5
"""Shares of the dark bands that stand on the floor: with it clearly, and perhaps."""
_BESIDE = {
    "B01": (("B02",),), "B02": (("B01",), ("B03",)), "B03": (("B02",), ("B04",)), "B04": (("B03",),),
    "B05": (("B04", "B06"),), "B06": (("B07",),), "B07": (("B06",), ("B08",)), "B08": (("B07",), ("B8A",)),
    "B8A": (("B08",), ("B09",)), "B09": (("B8A",),), "B11": (("B12",), ("B8A",)), "B12": (("B11",), ("B8A",)),
}  # fmt: skip
"""Bands beside one in the spectrum; of several the brighter one counts. Where it is dark, so is the band."""
_TIMES, _PLUS = {"B03": {"B04": 5.0}, "B05": {"B04": 1.3}}, 150.0
"""How much brighter than what is beside it a band can be there: 3 times and so many DN; green over turquoise water is
further from red, and the red edge lies between its neighbours."""
_DARKEST, _DARKEST_COARSE = 0.02, 0.1
"""The part of the places that are dark. Pixels of 60 m have no part in a brook."""
_PLACES = 50
"""Places that it takes to tell anything."""
_LOWEST, _DIM = 850.0, 450.0
"""DN that a band with the offset hardly goes below, and that one beside it has to go below to tell."""
_ALIKE, _ALIKE_SLOPE, _ALIKE_APART = ("B07", "B08", "B8A"), (0.75, 1.33), (600.0, 1_400.0)
"""Bands between 0.78 and 0.87 um, how one can change with another, and by how much it is then above the other at 0 with
an offset that the other has not. Without it, the most on 206 scenes that are right is 421."""
_ALIKE_CORRELATED = 0.9
_WATER_FLAT, _WATER_BRIGHT = 250.0, 1_250.0
"""DN that infrared bands lie apart over water at most, and that they hardly reach there with the offset."""


def without_offset(layers: Sequence[Layer], asked: int | None, path: object, *, stated: bool = False) -> list[Layer]:
    """Take off the offset that the user says the files have, of bands whose files do not say it.

    Args:
        layers: Of a scene.
        asked: 0 or 1000 DN; None: the user said nothing.
        path: The scene.
        stated: Whether the scene itself says which offset it has, even if that is none: a product does.

    Raises:
        SceneError: If the tags of a file have one of the wrong sign.
        SceneUseError: If what the user says contradicts the files, or there is nothing to take it off.
    """
    for layer in layers:
        # Another one may only pack the values into integers.
        if abs(layer.offset - max(OFFSETS)) < 1 and BANDS[layer.band].sensor == "s2":
            raise SceneError(
                f"the tags of {shown(layer.header.path)} add {layer.offset:g} to its values: the wrong sign, as that "
                f"of Sentinel-2 is taken off, not added: {cure(layer, '')}"
            )
    if asked is None:
        return list(layers)
    if asked not in OFFSETS:
        raise SceneUseError(f"the offset of Sentinel-2 values is 0 or 1000, not {asked}; give --offset 0 or 1000")
    sentinel2 = [layer for layer in layers if BANDS[layer.band].sensor == "s2"]
    if not sentinel2:
        raise SceneUseError(f"no band of Sentinel-2 is read from {path}; leave out --offset")
    for layer in sentinel2:
        if layer.offset != -asked and (stated or layer.offset):
            raise SceneUseError(
                f"{shown(layer.header.path)} itself says that {layer.band} has an offset of {abs(layer.offset):g}, so "
                f"--offset {asked} contradicts it; leave out --offset"
            )
    return [replace(layer, offset=-float(asked)) if layer in sentinel2 else layer for layer in layers]


def judge_offset(
    spreads: Sequence[Spread], asked: int | None, path: object, teller: str | None = None
) -> tuple[str | None, tuple[str, ...]]:
    """What is taken off the values, and whether something seems to be left.

    Args:
        spreads: Of Sentinel-2, with data.
        asked: What the user said.
        path: The scene.
        teller: Who says which offset the scene has; None: nobody but the tags of its files.

    Returns:
        What was taken off, DN, and why; None if the scene has no Sentinel-2. And what the user must not miss.

    Raises:
        SceneError: If the values look as if they still had the offset, and nobody said that they do not.
    """
    if not spreads:
        return None, ()
    offsets: Mapping[float, None] = dict.fromkeys(0.0 - spread.layer.offset for spread in spreads)
    _require_dn(spreads, path)
    alone = asked is None and not teller
    certain = alone and (len(offsets) > 1 or not any(offsets))
    doubts = _uneven(spreads, path, certain=certain) + _in_parts(spreads, path, certain=certain)
    removed = " and ".join(f"{offset:g}" for offset in offsets)
    if asked is not None:
        return f"{removed} (asked for)", doubts
    # Of bands that have different tags, those without tell whether they need one.
    left = [spread for spread in spreads if not spread.layer.offset]
    held = [spread for spread in left if spread.band in _DARK]
    standing = [spread for spread in held if _on_floor(spread)]
    share = len(standing) / max(len(held), 1)
    clearly = share > _MOST and any(spread.band in VISIBLE for spread in standing)
    which = ", ".join(spread.band for spread in standing)
    floor = min((spread.at(0.01) for spread in standing), default=0)
    if any(offsets):
        if clearly and alone:
            tagged = next(spread.layer for spread in spreads if spread.layer.offset)
            raise SceneError(
                f"{which} of {path} look as if they still had the offset of 1000 that the tags of {tagged.band} alone "
                f"take off; {_without_tags(tagged)}"
            )
        if left and len(offsets) > 1:
            rest = ", ".join(spread.band for spread in left)
            doubts += (
                f"The tags of {path} take an offset off some bands and none off {rest}, though all bands of a product "
                "have the same; make sure that it is off in these.",
            )
        return f"{removed} (said by the {teller or 'file'})", doubts
    if teller:
        cured = (
            "get the product anew if its metadata was changed" if teller == PRODUCT else "say --offset 1000 if it is"
        )
        doubt = (
            f"The metadata of {path} says that there is no offset, but the darkest pixels of {which} are about "
            f"{floor:.0f}, as if the offset of 1000 were still there; {cured}."
        )
        return f"0 (said by the {teller})", (doubt,) if clearly else doubts
    if clearly:
        raise SceneError(
            f"{path} looks as if it still had the offset of 1000 that products have since 2022: the darkest pixels of "
            f"{which} are about {floor:.0f}; say --offset 1000 to have it taken off, or --offset 0 if it is off already"
        )
    if share >= _MANY:
        doubts = (
            f"The darkest pixels of {which} in {path} are about {floor:.0f}, as if the offset of 1000 were still "
            "there; say --offset 1000 if it is, --offset 0 if not.",
        )
    elif all(spread.at(_FEW) > _FLOOR for spread in spreads):
        doubts = (
            f"No pixel of {path} is dark enough to tell whether its values still have the offset of 1000 that "
            "products have since 2022; say --offset 1000 if they do, --offset 0 if not.",
        )
    return "0 (assumed)" if doubts else "0 (judged by the darkest pixels)", doubts


def _require_dn(spreads: Sequence[Spread], path: object) -> None:
    """Refuse an offset of less than a DN: it was meant for reflectance from 0 to 1, and what it stands for is open."""
    for layer in (spread.layer for spread in spreads if 0 < abs(spread.layer.offset) < 1):
        raise SceneError(
            f"{path} gives {layer.band} an offset of {layer.offset:g}, as of reflectance from 0 to 1, but holds DN; "
            f"{_without_tags(layer)}"
        )


def _without_tags(layer: Layer) -> str:
    """What to do about an offset that is wrong."""
    return cure(layer, "") if tags_of(layer) else "say --offset 1000 if it is there, --offset 0 if not"


def _on_floor(spread: Spread) -> bool:
    """Whether a band has its darkest pixels a little above 1000, but for some that lie far from all others."""
    values = spread.sample.values
    if spread.share(_NEAR, _FLOOR) > _FEW or spread.share(-np.inf, _NEAR) > _SOME:
        return False
    bright = values[values >= _FLOOR]
    return bool(bright.size and np.quantile(bright, 0.01) < _BRIGHT_FLOOR)


def _uneven(spreads: Sequence[Spread], path: object, *, certain: bool) -> tuple[str, ...]:
    """What is to be said of bands that still have the offset where those beside them have not.

    Args:
        spreads: Of Sentinel-2, with data.
        path: The scene.
        certain: Whether that is an error, because neither the user nor a file said which offset there is.

    Raises:
        SceneError: If it is an error.
    """
    values = values_at_same_places(spreads)
    if values[spreads[0].band].size < _PLACES:
        return ()
    # What is dark in bands that stand on the floor is none of the land.
    told = {one.band: values[one.band] for one in spreads if not (one.band in _DARK and _on_floor(one))}
    found = {
        spread.band: beside
        for spread in spreads
        if spread.at(0.01) > _LOWEST and (beside := _without(spread.band, values[spread.band], told))
    }
    if not found:
        return _all_infrared(spreads, values, path)
    others = list(dict.fromkeys(band for beside in found.values() for band in beside))
    text = (
        f"{', '.join(found)} of {path} look as if they still had the offset of 1000 that {', '.join(others)}, beside "
        "them in the spectrum, have not"
    )
    tagged = next((spread.layer for spread in spreads if spread.layer.offset and tags_of(spread.layer)), None)
    if certain and tagged is not None:
        raise SceneError(f"{text}; {_without_tags(tagged)}")
    return _settled(f"{text}; give bands of one product, all alike", "they are", certain=certain)


def _in_parts(spreads: Sequence[Spread], path: object, *, certain: bool) -> tuple[str, ...]:
    """The same of a mosaic one part of which still has the offset."""
    if (seam := find_seam(spreads)) is None:
        return ()
    metres = (seam.line + 1) * PIXEL_METRES * FACTORS[-1]
    side = ("above", "below", "left of", "right of")[2 * seam.axis + (seam.jump > 0)]
    edge = ("upper", "left")[seam.axis]
    text = (
        f"{path} looks like a mosaic that has the offset of 1000 in one part only: {side} a line {metres:,.0f} m from "
        f"its {edge} edge all bands are brighter by about {abs(seam.jump):,.0f}; take the offset off before parts are "
        "put together"
    )
    return _settled(text, "it is off in all", certain=certain)


def _settled(text: str, unless: str, *, certain: bool) -> tuple[str, ...]:
    """What is to be said, or an error with the way out that the user has if it is not so."""
    if certain:
        raise SceneError(f"{text} (or say --offset 0 if {unless})")
    return (f"{text}.",)


def _all_infrared(spreads: Sequence[Spread], values: Mapping[str, Floats], path: object) -> tuple[str, ...]:
    """What is to be said if all of the infrared still has the offset and red has not, by what is as dark as water.

    Water is below 50 in all of the infrared: with the offset that is 1000 and a little more in all bands, and nothing
    else that is as dark in green and red is so even.

    Args:
        spreads: Of Sentinel-2, with data.
        values: Their DN at the same places.
        path: The scene.
    """
    infrared = [spread for spread in spreads if spread.band in INFRARED]
    bands = [spread.band for spread in infrared]
    if not {"B03", "B04"} <= values.keys() or not {"B11", "B12"} & set(bands) or not {"B08", "B8A"} & set(bands):
        return ()
    if min(spread.at(0.01) for spread in infrared) < _LOWEST:
        return ()
    brightest = np.max([values[band] for band in bands], axis=0)
    dark = brightest <= np.quantile(brightest, _DARKEST)
    green, red, *levels = (float(np.median(values[band][dark])) for band in ("B03", "B04", *bands))
    even = max(levels) - min(levels) < _WATER_FLAT and min(levels) > _FLOOR and max(levels) < _WATER_BRIGHT
    if not even or red > green or green > _DIM:
        return ()
    return (
        f"{', '.join(bands)} of {path} look as if they still had the offset of 1000 that B03 and B04 have not: where "
        f"all are darkest, as over water, they are about {np.median(levels):,.0f} and B04 {red:,.0f}; give bands of "
        "one product, all alike.",
    )


def _without(band: str, own: Floats, values: Mapping[str, Floats]) -> tuple[str, ...]:
    """Bands beside one that do not have the offset where it has it; none if it has not, too.

    Args:
        band: The band, no pixel of which is dark.
        own: Its DN.
        values: DN of other bands at the same places.
    """
    part = _DARKEST_COARSE if BANDS[band].pixel_size > PIXEL_METRES * FACTORS[1] else _DARKEST
    for beside in _BESIDE[band]:
        if not all(other in values for other in beside):
            continue
        others = np.max([values[other] for other in beside], axis=0)
        dark = others <= np.quantile(others, part)
        below = float(np.median(others[dark]))
        most = _TIMES.get(band, {}).get(beside[0], 3.0) * below + _PLUS
        if below < _DIM and max(most, _LOWEST) < np.median(own[dark]) < 1000 + most:
            return beside
    for other in _ALIKE:
        if band not in _ALIKE or other not in values or other == band:
            continue
        deviation = float(values[other].std())
        slope = float(own.std()) / max(deviation, 1.0)
        if deviation and own.std() and _ALIKE_SLOPE[0] < slope < _ALIKE_SLOPE[1]:
            correlated = np.corrcoef(own, values[other])[0, 1] > _ALIKE_CORRELATED
            above = float(own.mean() - slope * values[other].mean())
            if correlated and _ALIKE_APART[0] < above < _ALIKE_APART[1]:
                return (other,)
    return ()
