"""Whether Sentinel-2 values still have the offset of 1000 that products have since 2022 (baseline 04.00).

A product says so itself. Files that were taken out of one do not, and then only the darkest pixels tell: water, shadow
and forest are below 500 in the visible, and hardly a pixel is below 1000 with the offset. Over desert, snow and clouds
the darkest pixels of most bands are far above that, with it or without.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg.errors import SceneError
from seg.reben.bands import BANDS
from seg.scenes.findings import Spread, cure
from seg.scenes.grid import SceneUseError
from seg.scenes.header import shown
from seg.scenes.layer import Layer
from seg.scenes.reflectance import VISIBLE

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


def without_offset(layers: Sequence[Layer], asked: int | None, path: Path, *, stated: bool = False) -> list[Layer]:
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
    spreads: Sequence[Spread], asked: int | None, path: Path, *, stated: bool = False
) -> tuple[str | None, tuple[str, ...]]:
    """What is taken off the values, and whether something seems to be left.

    Args:
        spreads: Of Sentinel-2, with data.
        asked: What the user said.
        path: The scene.
        stated: Whether the scene itself says which offset it has.

    Returns:
        What was taken off, DN, and why; None if the scene has no Sentinel-2. And what the user must not miss.

    Raises:
        SceneError: If the values look as if they still had the offset, and nobody said that they do not.
    """
    if not spreads:
        return None, ()
    offsets: Mapping[float, None] = dict.fromkeys(0.0 - spread.layer.offset for spread in spreads)
    removed = " and ".join(f"{offset:g}" for offset in offsets)
    if asked is not None:
        return f"{removed} (asked for)", ()
    if any(offsets):
        return f"{removed} (said by the {'product' if stated else 'file'})", ()
    standing = [spread for spread in spreads if spread.band in _DARK and _on_floor(spread)]
    held = [spread for spread in spreads if spread.band in _DARK]
    share = len(standing) / max(len(held), 1)
    clearly = share > _MOST and any(spread.band in VISIBLE for spread in standing)
    which = ", ".join(spread.band for spread in standing)
    floor = min((spread.at(0.01) for spread in standing), default=0)
    if stated:
        doubt = (
            f"The metadata of {path} says that there is no offset, but the darkest pixels of {which} are about "
            f"{floor:.0f}, as if the offset of 1000 were still there; get the product anew if its metadata was changed."
        )
        return "0 (said by the product)", (doubt,) if clearly else ()
    if clearly:
        raise SceneError(
            f"{path} looks as if it still had the offset of 1000 that products have since 2022: the darkest pixels of "
            f"{which} are about {floor:.0f}; say --offset 1000 to have it taken off, or --offset 0 if it is off already"
        )
    doubts: tuple[str, ...] = ()
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


def _on_floor(spread: Spread) -> bool:
    """Whether a band has its darkest pixels a little above 1000, but for some that lie far from all others."""
    values = spread.sample.values
    if spread.share(_NEAR, _FLOOR) > _FEW or spread.share(-np.inf, _NEAR) > _SOME:
        return False
    bright = values[values >= _FLOOR]
    return bool(bright.size and np.quantile(bright, 0.01) < _BRIGHT_FLOOR)
