"""Polygons as well-known binary, straight from their vertices: a hundred thousand at a time, and none by itself.

Source of the layout: OGC 06-103r4, Simple feature access, clause 8.2: of a polygon the order of its bytes, its type and
the number of its rings, of each ring the number of its points, and of each point x and y.
"""

import numpy as np
import pyarrow as pa

from seg.generalise.objects import Ints
from seg.reben.patch import GeoRef
from seg.vectors.outlines import Floats, Polygons, Rings

_LITTLE_ENDIAN, _POLYGON = 1, 3
_HEAD, _COUNT, _POINT = 9, 4, 16
"""Bytes of what stands before a polygon, before a ring, and of a point."""


def on_ground(x_V: Ints | Floats, y_V: Ints | Floats, grid: GeoRef) -> Floats:
    """Corners of pixels in the coordinates of the CRS of a grid, float64 (V, 2)."""
    return np.stack([grid.x_min + x_V * grid.pixel_size, grid.y_max - y_V * grid.pixel_size], 1)


def binary_rings(rings: Rings, grid: GeoRef) -> pa.Array:
    """The polygon of each object that there are rings of, in the order of their numbers.

    Args:
        rings: In pixels from the corner of the grid.
        grid: Where they lie.

    Returns:
        Binary; outer rings run counterclockwise, the others clockwise.
    """
    x_V, y_V, end_R = rings.closed()
    outer_R = rings.outer
    first_P = np.flatnonzero(outer_R)
    points_R = np.diff(end_R, prepend=0)
    sizes_R = _HEAD * outer_R + _COUNT + _POINT * points_R
    begin_R = np.cumsum(sizes_R) - sizes_R
    content, is_point = np.empty(sizes_R.sum(), np.uint8), np.ones(sizes_R.sum(), np.bool_)

    def put(values_NB: np.ndarray, begin_N: Ints) -> None:
        places_NB = begin_N[:, None] + np.arange(values_NB.shape[1])
        content[places_NB], is_point[places_NB] = values_NB, False

    heads_P = np.empty(len(first_P), [("order", "u1"), ("type", "<u4"), ("rings", "<u4")])
    heads_P["order"], heads_P["type"] = _LITTLE_ENDIAN, _POLYGON
    heads_P["rings"] = np.diff(first_P, append=len(outer_R))
    put(heads_P.view(np.uint8).reshape(-1, _HEAD), begin_R[first_P])
    put(points_R.astype("<u4").view(np.uint8).reshape(-1, _COUNT), begin_R + _HEAD * outer_R)
    content[is_point] = on_ground(x_V, y_V, grid).astype("<f8").view(np.uint8).ravel()
    offsets = np.append(begin_R[first_P], len(content)).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(first_P), [None, pa.py_buffer(offsets), pa.py_buffer(content)])


def binary_polygons(polygons_N: Polygons, grid: GeoRef) -> pa.Array:
    """The same of shapely's polygons, in pixels from the corner of the grid."""
    import shapely

    placed_N = shapely.transform(polygons_N, lambda places_V2: on_ground(places_V2[:, 0], places_V2[:, 1], grid))
    return pa.array(shapely.to_wkb(shapely.orient_polygons(placed_N)), pa.binary())
