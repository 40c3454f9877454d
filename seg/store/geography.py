"""Where the patches of an index lie on the ground."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seg.reben.bands import PATCH_METRES
from seg.reben.patch import tile_corner
from seg.store.index import Index

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_PRODUCT_LENGTH = 44
"""Characters of a product's name, with which every patch id begins."""
_GEOCENTRIC = 4978
"""EPSG code of x, y, z on WGS 84, metres from the centre of the earth."""


@dataclass(frozen=True, eq=False)
class Geography:
    """Positions of patches; one entry per row of the index.

    Attributes:
        tile_names: MGRS tiles, such as ``33UUP``, in alphabetical order.
        tile_N: Position in `tile_names`.
        product_N: Number of the Sentinel-2 product, in alphabetical order.
        column_N, row_N: Position in the tile's grid of 1200 m cells, 0 to 90.
    """

    tile_names: tuple[str, ...]
    tile_N: Integers
    product_N: Integers
    column_N: Integers
    row_N: Integers

    def __len__(self) -> int:
        return len(self.tile_N)

    def take(self, rows: npt.NDArray[Any]) -> "Geography":
        """The positions of some rows, in that order."""
        parts = (self.tile_N, self.product_N, self.column_N, self.row_N)
        return Geography(self.tile_names, *(part[rows] for part in parts))

    def corner(self, tile: int) -> tuple[int, int, int]:
        """EPSG code, easting and northing (metres) of the upper-left corner of a tile, by its position."""
        return tile_corner(self.tile_names[tile])

    def centres(self) -> Floats:
        """Centres of the patches, metres from the centre of the earth, (N, 3), ellipsoid WGS 84.

        Straight distances between them are those on the ground but for a millionth within 30 km, in any UTM zone.
        """
        earth_N3 = np.empty((len(self), 3))
        for tile in np.unique(self.tile_N):
            here = self.tile_N == tile
            epsg, west, north = self.corner(tile)
            x = west + (self.column_N[here] + 0.5) * PATCH_METRES
            y = north - (self.row_N[here] + 0.5) * PATCH_METRES
            earth_N3[here] = np.stack(transformer(epsg, _GEOCENTRIC).transform(x, y, np.zeros(len(x))), axis=1)
        return earth_N3


@cache
def transformer(source: int, target: int) -> Any:
    """A `pyproj.Transformer` from one EPSG code to another, x before y."""
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True)


def geography(index: Index) -> Geography:
    """The positions of all patches of an index, from their ids alone."""
    ids = index.patch_ids
    tile_names, tile_N = _numbered(index.tiles)
    _, product_N = _numbered(pc.utf8_slice_codeunits(ids, 0, _PRODUCT_LENGTH))

    def number(begin: int) -> Integers:
        digits = pc.utf8_slice_codeunits(ids, _PRODUCT_LENGTH + begin, _PRODUCT_LENGTH + begin + 2)
        return digits.cast("int64").to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    return Geography(tile_names, tile_N, product_N, number(1), number(4))


def _numbered(names: pa.StringArray) -> tuple[tuple[str, ...], Integers]:
    """The different names in alphabetical order, and the position of each row's name among them."""
    encoded = names.dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    order = sorted(range(len(distinct)), key=distinct.__getitem__)
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    return tuple(distinct[i] for i in order), position[encoded.indices.to_numpy(zero_copy_only=False)]
