"""What only the values of a scene show: that there are any, and that bands have them in the same places."""

from collections.abc import Mapping, Sequence
from functools import partial, reduce

import numpy as np

from seg.errors import SceneError
from seg.scenes.header import shown
from seg.scenes.layer import Layer
from seg.scenes.sample import Sample

_FEW_PLACES = 20
"""So many places looked at should have data in the band with least, to say that none has in all bands."""
_SHARED = 0.9
"""The part of the data of the band with most that all bands should share; those of a product end together."""


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
    places = reduce(partial(np.intersect1d, assume_unique=True), [samples[layer.band].places for layer in layers])
    held = {layer.band: (one := samples[layer.band]).present[np.searchsorted(one.places, places)] for layer in layers}
    common = float(np.logical_and.reduce(list(held.values())).mean()) if places.size else 1.0
    shares = {band: float(there.mean()) for band, there in held.items()} if places.size else {}
    if not shares or common >= _SHARED * max(shares.values()):
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


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "all of it"
