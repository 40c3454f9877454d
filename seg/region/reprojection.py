"""Shapes in another CRS: what lies near a place of it, straight edges, and areas on the ellipsoid."""

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Bounds = tuple[float, float, float, float]
"""West, south, east, north."""
Objects = npt.NDArray[np.object_]

_LONGEST_DEGREES, _LONGEST_METRES = 0.02, 2_000.0
"""An edge of that length in degrees or metres leaves the line between its ends by 5 cm at most when it is bent."""
_FAR = 100
"""Such edges are what lies around a place at least."""
_SQUARE_METRES = 10_000


def same_crs(crs: str, epsg: int) -> bool:
    """Whether a CRS is that of a code."""
    return bool(_crs(crs) == _crs(f"EPSG:{epsg}"))


def near(shapes_N: Objects, bounds: Bounds, crs: str) -> Objects:
    """Shapes as they are to be brought into the CRS of a place that they reach.

    Edges longer than the place get more vertices, so that they stay straight. Of shapes that go on far beyond it, what
    lies around it is taken: the far side of the Earth has no place in the CRS of a zone.

    Args:
        shapes_N: Valid shapes.
        bounds: Of the place in their CRS; of degrees, west may be more than east, with the antimeridian between them.
        crs: The CRS.
    """
    import shapely

    west, south, east, north = bounds
    spans = [(west, east)] if west <= east else [(west, east + 360), (west - 360, east)]
    width, height = spans[0][1] - spans[0][0], north - south
    margin = max(width, height, _FAR * _straight(crs))
    around = shapely.union_all(
        [shapely.box(low - margin, south - margin, high + margin, north + margin) for low, high in spans]
    )
    beyond_N = ~shapely.covers(around, shapely.box(*shapely.bounds(shapes_N).T))
    if not beyond_N.any():
        return shapes_N
    of_beyond = shapes_N[beyond_N]
    long_N = np.array([_longest_edge(shape) > width + height for shape in of_beyond])
    of_beyond[long_N] = shapely.segmentize(of_beyond[long_N], _straight(crs))
    nearer_N = shapes_N.copy()
    nearer_N[beyond_N] = shapely.intersection(of_beyond, around)
    return nearer_N


def moved(shapes: Any, crs: str, target: str) -> Any:
    """A shape, or an array of them, with its vertices in another CRS."""
    import pyproj
    import shapely

    transformer = pyproj.Transformer.from_crs(_crs(crs), _crs(target), always_xy=True)

    def placed(points_V2: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack(transformer.transform(points_V2[:, 0], points_V2[:, 1]), axis=1)

    return shapely.transform(shapes, placed)


def whole_hectares(shape: Any, crs: str) -> float:
    """Hectares on the ellipsoid of a shape whose edges are straight in its CRS; NaN where that cannot be told."""
    import shapely

    middle = moved(shapely.box(*shape.bounds).centroid, crs, "EPSG:4326")
    # Degrees beyond 180 are where they say; other CRS have none.
    over = " +over" if _crs(crs).is_geographic else ""
    equal_area = f"+proj=cea +lon_0={middle.x:.6f} +datum=WGS84{over}"
    area = float(moved(shapely.segmentize(shape, _straight(crs)), crs, equal_area).area) / _SQUARE_METRES
    return area if math.isfinite(area) else math.nan


def _straight(crs: str) -> float:
    """How long edges may be to be as good as straight in any CRS, in the units of their own."""
    if _crs(crs).is_geographic:
        return _LONGEST_DEGREES
    return _LONGEST_METRES / float(_crs(crs).axis_info[0].unit_conversion_factor or 1)


def _longest_edge(shape: Any) -> float:
    import shapely

    rings = shapely.get_rings(shape)
    points_V2, ring_V = shapely.get_coordinates(rings, return_index=True)
    steps_V = np.hypot(*np.diff(points_V2, axis=0).T)
    return float(steps_V[np.diff(ring_V) == 0].max(initial=0.0))


@cache
def _crs(text: str) -> Any:
    import pyproj

    return pyproj.CRS.from_user_input(text)
