"""What only the values of a scene show: that there are any, in the same places of all bands, and others in each."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from seg.errors import SceneError
from seg.rasters.header import shown
from seg.rasters.layer import Array, Layer, Mask
from seg.rasters.sample import Sample, at_same_places

_FEW_PLACES = 20
"""So many places looked at should have data in the band with least, to say that none has in all bands."""
_SHARED = 0.9
"""The part of the data of the band with most that all bands should share; those of a product end together."""

_VALUES, _SAME = 16, 0.99
"""Different values that a band must have to tell whether another is a copy of it, and the part of its pixels that has
to be the same there. Of bands that are not, noise alone makes most pixels differ."""
_MIXED_UP = 3
"""Bands that may all be copies of one by mistake, as those of a grey picture are."""


def require_data(layers: Sequence[Layer], samples: Mapping[str, Sample]) -> None:
    """Make sure that some pixel of every band has data.

    Args:
        layers: The bands of a scene.
        samples: What they hold.

    Raises:
        SceneError: If a band has none.
    """
    empty = [layer for layer in layers if not samples[layer.band].valid]
    if not empty:
        return
    path = shown(empty[0].header.path)
    if len(empty) == len(layers):
        raise SceneError(f"{path} holds no data: every pixel is nodata; give another scene")
    names = ", ".join(layer.band for layer in empty)
    raise SceneError(
        f"{path} holds no data in {names}: every pixel is nodata, NaN or masked; give a scene that has data in all of "
        f"{', '.join(layer.band for layer in layers)}"
    )


def require_common_data(layers: Sequence[Layer], samples: Mapping[str, Sample]) -> tuple[str, ...]:
    """Make sure that some pixel has data in all bands of a scene.

    Args:
        layers: The bands, on one grid.
        samples: What they hold.

    Returns:
        What is to be said where it is a small part of them only.

    Raises:
        SceneError: If none has.
    """
    if len(layers) < 2:
        return ()
    places, same = at_same_places(samples[layer.band].lattice for layer in layers)
    held = {layer.band: there for layer, (_, there) in zip(layers, same, strict=True)}
    if not places.size:
        return ()
    common = float(np.logical_and.reduce(list(held.values())).mean())
    shares = {band: float(there.mean()) for band, there in held.items()}
    if common >= _SHARED * max(shares.values()):
        return ()
    least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    # Of several that hardly differ, those of which one lacks where the other has data.
    pairs = [(float((held[one] & held[other]).mean()), one, other) for one in shares for other in shares if one < other]
    both, *names = min(pairs, key=lambda pair: (pair[0], shares[pair[1]] + shares[pair[2]]))
    names = [most, least] if both > common * 1.5 else sorted(names, key=shares.__getitem__, reverse=True)
    together = float((held[names[0]] & held[names[1]]).mean())
    path = shown(layers[0].header.path)
    said = (
        f"{names[0]} of {path} has data on {_percent(shares[names[0]])}, {names[1]} on {_percent(shares[names[1]])}, "
        f"both on {_percent(together)} and all bands on {_percent(common)}"
    )
    if not common and min(shares.values()) * places.size >= _FEW_PLACES:
        raise SceneError(f"{said}, so nothing can be mapped; give bands that have data in the same places")
    return (f"{said}, and only there it is mapped; make sure that nodata values and offsets are as they should be.",)


def require_different(layers: Sequence[Layer], samples: Mapping[str, Sample]) -> tuple[str, ...]:
    """Make sure that no band is a copy of another.

    Args:
        layers: Bands on one grid.
        samples: What they hold.

    Returns:
        What is to be said where all of many bands are alike: a picture made for a trial, and nothing that was mixed up.

    Raises:
        SceneError: If two bands hold the same pixels, and others do not.
    """
    _, same = at_same_places(samples[layer.band].lattice for layer in layers)
    pairs = list(itertools.combinations(zip(layers, same, strict=True), 2))
    alike = [(one, other) for (one, held), (other, others) in pairs if _are_alike(*held, *others)]
    if not alike:
        return ()
    if len(layers) > _MIXED_UP and len(alike) == len(pairs):
        return (
            f"All {len(layers)} bands of {shown(layers[0].header.path)} hold the same pixels, as no sensor sees them; "
            "make sure that each band is its own.",
        )
    one, other = alike[0]
    files = " and ".join(dict.fromkeys(shown(layer.header.path) for layer in (one, other)))
    raise SceneError(
        f"{one.band} and {other.band} of {files} hold the same pixels: one was copied twice, or their names are wrong; "
        "give each band's own"
    )


def _are_alike(held: Array, there: Mask, others: Array, also: Mask) -> bool:
    """Whether two bands hold the same pixels, as far as what fills most of both, such as clipped water, leaves any."""
    first, second = held[there & also], others[there & also]
    if not first.size or (first == second).mean() <= _SAME:
        return False
    values, numbers = np.unique(first, return_counts=True)
    varied = first != values[numbers.argmax()]
    return bool(values.size >= _VALUES and (first == second)[varied].mean() > _SAME)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "all of it"
