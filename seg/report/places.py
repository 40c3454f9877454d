"""Where patches lie: longitude and latitude from their ids alone."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rasterio.warp import transform

from seg.errors import UnknownNameError
from seg.metrics.ratio import Floats
from seg.reben.bands import PATCH_METRES
from seg.reben.patch import tile_corner

_PLACE = r"_T(?P<tile>\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])_(?P<column>\d{2})_(?P<row>\d{2})$"


def patch_centres(patch_ids: pa.StringArray) -> tuple[Floats, Floats]:
    """Centres of patches.

    Args:
        patch_ids: Ids (N,), see `PatchId`.

    Returns:
        Longitude and latitude, degrees on WGS 84, float64 (N,); NaN for an id that names no place.
    """
    longitude, latitude = np.full((2, len(patch_ids)), np.nan)
    found = pc.extract_regex(patch_ids, _PLACE)
    rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
    placed = found.drop_null()
    tile, column, row = (placed.field(name) for name in ("tile", "column", "row"))
    encoded = tile.dictionary_encode()
    tile_N = encoded.indices.to_numpy()
    column_N, row_N = (values.cast(pa.int64()).to_numpy() for values in (column, row))
    for number, name in enumerate(encoded.dictionary.to_pylist()):
        try:
            epsg, x_min, y_max = tile_corner(name)
        except UnknownNameError:
            continue
        inside = np.flatnonzero(tile_N == number)
        x_M = x_min + PATCH_METRES * (column_N[inside] + 0.5)
        y_M = y_max - PATCH_METRES * (row_N[inside] + 0.5)
        chosen = rows[inside]
        longitude[chosen], latitude[chosen] = transform(f"EPSG:{epsg}", "EPSG:4326", x_M, y_M)
    return longitude, latitude
