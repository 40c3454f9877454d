"""Where the files of a scene say that they have data: masks and alpha bands, read beside the bands themselves.

GDAL knows masks in a file, in a ``.msk`` beside it and in VRTs, of a whole file or of each band, and bands whose colour
is alpha. Where a nodata value is declared too, both hold here, though GDAL lets the one or the other go. Files also
have alpha bands that do not say so, because what wrote them called them "unspecified" or nothing at all: a band without
a name that is 0 here and as bright as can be there, and nothing else. Of any other band of two values that is not used,
it is said that it might be one.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import rasterio.windows
from rasterio.io import DatasetReader

from seg.errors import SceneError
from seg.rasters.blocks import AT_EDGES, EVERYWHERE, blocks_over
from seg.rasters.header import Header, editing, open_raster, patiently, readable, shown
from seg.rasters.layer import Array, Layer, Mask
from seg.reben.bands import BANDS
from seg.reben.names import band_in

_ALPHA_NAMES = ("alpha", "datamask", "validmask", "valid", "validity")
"""What alpha bands are called, without spaces and the like; ``dataMask`` is Sentinel Hub's."""
_MASK_NAMES = ("mask", "nodatamask")
"""What bands of two values are called that are alpha bands, unless they count what is to be left out."""
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
            stored = raster.read(layer.alpha, window=window)
            known["alpha", layer.alpha] = _alpha(layer.header, layer.alpha, stored) != 0
        opaque = known["alpha", layer.alpha]
        mask = opaque if mask is None else mask & opaque
    return mask


def _alpha(header: Header, index: int, stored: Array) -> Array:
    """An alpha band, 0 where it has no data itself: what brings a raster to another grid fills it as the others."""
    nodata = header.nodata[index - 1]
    # A value that is not below zero may be that of where there are data.
    empty = (stored == nodata) & (nodata is not None and nodata < 0)
    return np.where(empty | np.isnan(stored), 0, stored)


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
        mask = described in _MASK_NAMES
        if not said and not unnamed and not mask:
            continue
        held = _held(header, index)
        if said and held.total:
            return index
        bright = held.value in _bright(header, index)
        if unnamed and bright and held.zeros + held.others > (1 - _FEATHERED) * held.total:
            return index
        # A band that the user has called unused is one.
        if names[index - 1] is not None or not held.two:
            continue
        # More often 0 than not, it may as well say where there are no data.
        if mask and held.zeros < held.others:
            return index
        if mask or held.value == 1:
            called = "is called a mask" if mask else "has no name"
            raise SceneError(
                f"band {index} of {shown(header.path)} {called} and holds 0 and {held.value:g} alone; if it is "
                f"{held.value:g} where the others have data, say so: {_declaring(header, index)} "
                "(if not, name all bands with --bands, this one as -)"
            )
    return None


def _declaring(header: Header, index: int) -> str:
    """What to type so that a band is an alpha band."""
    return editing(header.path, f"--bidx {index} --description dataMask")


@dataclass(frozen=True, slots=True)
class _Held:
    """What is looked at of a band that may be an alpha band: pixels of 0 and of the most common other value, in all."""

    zeros: int = 0
    value: float = 0.0
    others: int = 0
    total: int = 0

    @property
    def two(self) -> bool:
        """Whether it holds 0 and one other value alone."""
        return bool(self.zeros and self.others) and self.zeros + self.others == self.total


def _held(header: Header, index: int) -> _Held:
    """Look at a band; nothing is held by what no alpha band can be: mostly other values, or some below zero."""
    if header.dtypes[index - 1].startswith("complex"):
        return _Held()
    counted: Counter[float] = Counter()
    held = _Held()
    with open_raster(header.path) as raster, readable(header.path):
        for window in blocks_over(header):
            if held.total >= AT_EDGES + EVERYWHERE:
                break
            band_HW = patiently(header.path, partial(raster.read, index, window=window))
            values, numbers = np.unique(_alpha(header, index, band_HW), return_counts=True)
            counted.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
            zeros = counted.get(0, 0)
            value, others = max(((v, n) for v, n in counted.items() if v), key=lambda each: each[1], default=(0, 0))
            held = _Held(zeros, value, others, counted.total())
            if not (values >= 0).all() or zeros + others < held.total / 2:
                return _Held()
    return held


def _bright(header: Header, index: int) -> tuple[float, ...]:
    """Values of an alpha band where there are data."""
    dtype = np.dtype(header.dtypes[index - 1])
    return (*_OPAQUE, *([float(np.iinfo(dtype).max)] if dtype.kind in "iu" else []))


def alpha_remarks(layers: Sequence[Layer], *, named: bool = False) -> list[str]:
    """A sentence for every file whose alpha band its colour does not tell, and for bands that might be one.

    Args:
        layers: Of a scene.
        named: Whether the user said which bands there are, so that those that are not used are meant not to be.
    """
    files = {layer.header.path: layer for layer in layers}
    said = [
        f"Band {layer.alpha} of {shown(path)} is taken for its mask: where it is 0, the others have no data."
        for path, layer in files.items()
        if layer.alpha is not None and layer.alpha not in layer.header.alphas
    ]
    for layer in () if named else files.values():
        header = layer.header
        used = {layer.alpha, *(one.index for one in layers if one.header.path == header.path)}
        for index, text in enumerate(header.descriptions, 1):
            if index not in used and not band_in(text) and (held := _held(header, index)).two:
                said.append(
                    f"Band {index} of {shown(header.path)} holds 0 and {held.value:g} alone and is not used; if the "
                    f"others have no data where it is 0, say so: {_declaring(header, index)}"
                )
    return said
