"""Where the files of a scene say that they have data: masks and alpha bands, read beside the bands themselves.

GDAL knows masks in a file, in a ``.msk`` beside it and in VRTs, of a whole file or of each band, and bands whose colour
is alpha. Where a nodata value is declared too, both hold here, though GDAL lets the one or the other go. Files also
have alpha bands that do not say so, because what wrote them called them "unspecified" or nothing at all: a band without
a name that is 0 here and as bright as can be there, and nothing else.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import rasterio.windows
from rasterio.io import DatasetReader

from seg.errors import SceneError
from seg.reben.bands import BANDS
from seg.scenes.blocks import AT_EDGES, EVERYWHERE, blocks_over
from seg.scenes.header import Header, editing, open_raster, readable, shown
from seg.scenes.layer import Array, Layer, Mask

_ALPHA_NAMES = ("alpha", "datamask", "validmask", "valid", "validity")
"""What alpha bands are called, without spaces and the like; ``dataMask`` is Sentinel Hub's."""
_OPAQUE = (255.0, 65535.0)
"""Values of an alpha band of 8 or 16 bits where there is data, whatever the type of the others in the file is."""
_FEATHERED = 0.05
"""The share of pixels of an alpha band that may be neither 0 nor opaque: at the edges of what was resampled."""


def read_bands(
    raster: DatasetReader, layers: Sequence[Layer], window: rasterio.windows.Window
) -> list[tuple[Array, Mask | None]]:
    """Stored values of bands of one file, and where its masks and alpha bands say that they are data.

    Masks are read only where there are any.

    Args:
        raster: The file of all of the bands, opened.
        layers: The bands.
        window: In pixels of the file.

    Returns:
        Per band its values (rows, columns) and its mask of the same shape; None if it has none.
    """
    held: dict[str, Array] = {}
    for dtype, same in itertools.groupby(sorted(layers, key=lambda layer: layer.dtype), lambda layer: layer.dtype):
        alike = list(same)
        stored = raster.read([layer.index for layer in alike], window=window)
        held |= {layer.band: array for layer, array in zip(alike, stored, strict=True)}
        assert stored.dtype == dtype
    masks: dict[tuple[str, int], Mask] = {}
    return [(held[layer.band], _mask(raster, layer, window, masks)) for layer in layers]


def _mask(
    raster: DatasetReader, layer: Layer, window: rasterio.windows.Window, known: dict[tuple[str, int], Mask]
) -> Mask | None:
    """The mask of a band; masks that bands share are read once."""
    mask: Mask | None = None
    if layer.index in layer.header.masked:
        index = min(layer.header.masked) if layer.header.one_mask else layer.index
        if ("mask", index) not in known:
            known["mask", index] = raster.read_masks(index, window=window) != 0
        mask = known["mask", index]
    if layer.alpha is not None:
        if ("alpha", layer.alpha) not in known:
            known["alpha", layer.alpha] = np.nan_to_num(raster.read(layer.alpha, window=window)) != 0
        opaque = known["alpha", layer.alpha]
        mask = opaque if mask is None else mask & opaque
    return mask


def alpha_band(header: Header, names: Sequence[str | None]) -> int | None:
    """The band of a file that says where the others have data, from 1; None if there is none.

    Args:
        header: Of the file.
        names: What its bands are, in their order; None for one that nothing is known of, else no band of reBEN.

    Raises:
        SceneError: If a band without a name might be one, or might be something else.
    """
    others = [index for index, name in enumerate(names, 1) if name not in BANDS]
    for index in reversed(others):
        described = "".join(c for c in header.descriptions[index - 1].lower() if c.isalnum())
        said = index in header.alphas or described in _ALPHA_NAMES
        unnamed = not described and index == len(names)
        if not said and not unnamed:
            continue
        zero, opaque, ones = _shares(header, index)
        if said and zero + opaque + ones > 0:
            return index
        if opaque and zero + opaque > 1 - _FEATHERED:
            return index
        # A band that the user has called unused is one.
        if zero and ones and zero + ones == 1 and names[index - 1] is None:
            raise SceneError(
                f"band {index} of {shown(header.path)} has no name and holds 0 and 1 alone; if it is 1 where the "
                f"others have data, say so: {editing(header.path, f'--bidx {index} --description dataMask')} "
                "(if not, name all bands with --bands, this one as -)"
            )
    return None


def _shares(header: Header, index: int) -> tuple[float, float, float]:
    """The shares of 0, of the opaque value and of 1 among what is looked at of a band.

    All 0 if it holds what no alpha band does.
    """
    dtype = np.dtype(header.dtypes[index - 1])
    if dtype.kind == "c":
        return 0, 0, 0
    brightest = {*_OPAQUE, *([float(np.iinfo(dtype).max)] if dtype.kind in "iu" else [])}
    seen = dict.fromkeys((0.0, 1.0, *sorted(brightest)), 0)
    total = 0
    with open_raster(header.path) as raster, readable(header.path):
        for window in blocks_over(header):
            if total >= AT_EDGES + EVERYWHERE:
                break
            values = raster.read(index, window=window)
            total += values.size
            for value in seen:
                seen[value] += int(np.count_nonzero(values == value))
            if not (values >= 0).all() or sum(seen.values()) < total / 2:
                return 0, 0, 0
    return seen[0.0] / total, max(seen[value] for value in brightest) / total, seen[1.0] / total


def alpha_remarks(layers: Sequence[Layer]) -> list[str]:
    """A sentence for every file whose alpha band is told by its name or its values, not by its colour."""
    told = {
        layer.header.path: layer.alpha
        for layer in layers
        if layer.alpha is not None and layer.alpha not in layer.header.alphas
    }
    return [
        f"Band {alpha} of {shown(path)} is taken for its mask: where it is 0, the others have no data."
        for path, alpha in told.items()
    ]
