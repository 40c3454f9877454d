"""The polygons of a class map, some rows at a time: what goes on below is kept until it ends, and then dissolved.

Borders are simplified piece by piece: all polygons of a rectangle, cut at its edges, and its areas without data are one
coverage, so neighbours keep the same border, and nothing crosses another. Only vertices in the cuts stay in place.
Source of the simplification: Visvalingam and Whyatt (1993), as GEOS applies it to coverages.
"""

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace

import numpy as np
from rasterio.io import DatasetReader
from rasterio.windows import Window
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from seg.config.scope import unit_text
from seg.errors import WrongUseError
from seg.generalise.objects import NO_OBJECT, Bytes, Ints, number_objects
from seg.reben.classes import IGNORE_INDEX, SHARE_SCALE
from seg.reben.ground import BLOCK, Floats, blocks, pixel_hectares
from seg.reben.patch import GeoRef
from seg.vectors.outlines import Bools, Polygons, outlines

SIZE = (2 * BLOCK, 4 * BLOCK)
"""Rows and columns of the pieces that polygons are put together from. Whole blocks, so that areas are those of the
whole map."""


@dataclass(frozen=True)
class PolygonOptions:
    """How polygons are made.

    Attributes:
        min_area: Hectares that each has at least, but for islands that only what has no data surrounds; smaller areas
            are merged as by a minimum mapping unit of the map, which itself stays.
        simplify: As of `land_cover`.

    Raises:
        WrongUseError: If a value makes no sense.
    """

    min_area: float = 0.0
    simplify: float = 0.0

    def __post_init__(self) -> None:
        for value, option, unit in (
            (self.min_area, "--min-area 25", "hectares"),
            (self.simplify, "--simplify 20", "metres"),
        ):
            if not 0 <= value < math.inf:
                raise WrongUseError(f"{value} {unit} make no sense; name a number of {unit}, such as {option}")

    def unit(self, mmu: float) -> float:
        """The unit that the classes of a map are to be brought to for its polygons alone; 0: they are those of the map.

        Args:
            mmu: Minimum mapping unit of the map, hectares.
        """
        return self.min_area if self.min_area > mmu else 0.0

    def tags(self, mmu: float) -> dict[str, str]:
        """Metadata of the polygons of a map with a minimum mapping unit of so many hectares."""
        unit = max(self.min_area, mmu)
        tags = {"MINIMUM_MAPPING_UNIT_HA": unit_text(unit)} if unit else {}
        return tags | ({"SIMPLIFIED_BY_METRES": f"{self.simplify:g}"} if self.simplify else {})


def polygon_options(polygons: bool, min_area: float, simplify: float) -> PolygonOptions | None:
    """How polygons are made, if they are asked for.

    Raises:
        WrongUseError: If a value makes no sense, or there are no polygons that it could be of.
    """
    options = PolygonOptions(min_area, simplify)
    if polygons:
        return options
    for value, option in ((min_area, "--min-area"), (simplify, "--simplify")):
        if value:
            raise WrongUseError(f"{option} is of polygons, and none are asked for; add --polygons")
    return None


@dataclass(frozen=True, eq=False)
class LandCover:
    """Some polygons.

    Attributes:
        polygons_N: As shapely's.
        class_N: Their classes, int64.
        hectares_N: Their area on the ground, before anything was simplified.
        confidence_N: Mean of the confidence of their pixels, 0 to 1.
    """

    polygons_N: Polygons
    class_N: Ints
    hectares_N: Floats
    confidence_N: Floats


def land_cover(
    classes: DatasetReader,
    confidence: DatasetReader,
    grid: GeoRef,
    simplify: float = 0.0,
    size: tuple[int, int] = SIZE,
) -> Iterator[LandCover]:
    """The polygons of a class map, in the coordinates of its CRS, as soon as each is complete.

    Args:
        classes: The class map, 255 without data.
        confidence: In its first band the confidence of each pixel times 250.
        grid: Where both lie.
        simplify: How far borders may be moved, roughly: the edge of the largest square that is cut off or filled,
            metres; 0: they follow the pixels.
        size: Rows and columns of the pieces that polygons are put together from.
    """
    import shapely

    corner = np.array([grid.x_min, grid.y_max])
    steps = np.array([grid.pixel_size, -grid.pixel_size])
    whole, (rows, columns) = _Growing(), size
    for top in range(0, grid.height, rows):
        height = min(rows, grid.height - top)
        strip = _Strip(classes, grid, top, height)
        found = strip.measured(confidence.read(1, window=strip.window))
        pieces = strip.pieces(columns, simplify / grid.pixel_size)
        done, polygons_N = whole.add(found, pieces, strip.numbers_HW, top + height == grid.height)
        placed_N = shapely.transform(polygons_N, lambda places_V2: corner + places_V2 * steps)
        yield LandCover(placed_N, done.class_N, done.hectares_N, done.confidence_N / done.pixels_N)


class _Strip:
    """The objects of some rows."""

    def __init__(self, classes: DatasetReader, grid: GeoRef, top: int, height: int) -> None:
        first, end = max(0, top - 1), min(grid.height, top + height + 1)
        read_HW: Bytes = classes.read(1, window=Window(0, first, grid.width, end - first))
        missing = (first - top + 1, top + height + 1 - end)
        self._around_HW = np.pad(read_HW, (missing, (1, 1)), constant_values=IGNORE_INDEX)
        self.window = Window(0, top, grid.width, height)
        self._grid = replace(grid, y_max=grid.y_max - top * grid.pixel_size, height=height)
        self.numbers_HW, self._class_N = number_objects(self._around_HW[1:-1, 1:-1])

    def pieces(self, columns: int, tolerance: float) -> tuple[Polygons, Ints]:
        """The polygons of the objects in pixels from the corner of the map, cut, and the object that each is of.

        Args:
            columns: How wide the pieces are at most: to simplify takes longer than in proportion to the width.
            tolerance: Of the simplification, pixels.
        """
        found = [self._pieces(left, columns, tolerance) for left in range(0, self._grid.width, columns)]
        polygons, objects = zip(*found, strict=True)
        return np.concatenate(polygons), np.concatenate(objects)

    def _pieces(self, left: int, columns: int, tolerance: float) -> tuple[Polygons, Ints]:
        import shapely

        around_HW = self._around_HW[:, left : left + columns + 2]
        numbers_HW, class_P = number_objects(around_HW[1:-1, 1:-1], nodata=True)
        polygons_P = outlines(numbers_HW, around_HW)
        if tolerance:
            polygons_P = shapely.coverage_simplify(polygons_P, tolerance, simplify_boundary=False)
        object_P = np.empty(len(class_P), np.int64)
        object_P[numbers_HW] = self.numbers_HW[:, left : left + columns]
        corner, with_data_P = np.array([left, self.window.row_off], np.float64), class_P != IGNORE_INDEX
        placed_P: Polygons = shapely.transform(polygons_P[with_data_P], lambda places_V2: places_V2 + corner)
        return placed_P, object_P[with_data_P]

    def measured(self, confidence_HW: Bytes) -> "_Measured":
        """What is counted of the objects."""
        inside_HW = self.numbers_HW != NO_OBJECT
        numbers, count = self.numbers_HW[inside_HW], len(self._class_N)
        height, width = self.numbers_HW.shape
        hectares_HW = np.empty((height, width))
        for block, hectares in zip(blocks(height, width), pixel_hectares(self._grid), strict=True):
            hectares_HW[block] = hectares
        return _Measured(
            self._class_N,
            np.bincount(numbers, minlength=count).astype(np.float64),
            _sums(numbers, hectares_HW[inside_HW], count),
            _sums(numbers, confidence_HW[inside_HW] / SHARE_SCALE, count),
        )


def _sums(number_N: Ints, values_N: Floats, count: int) -> Floats:
    """Sum of the values of each number below ``count``."""
    sums: Floats = np.bincount(number_N, values_N, minlength=count).astype(np.float64)
    return sums


@dataclass(frozen=True, eq=False)
class _Measured:
    """What is counted of some objects, as in `LandCover`, the confidence summed over the pixels."""

    class_N: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    pixels_N: Floats = field(default_factory=lambda: np.empty(0))
    hectares_N: Floats = field(default_factory=lambda: np.empty(0))
    confidence_N: Floats = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.class_N)

    def of(self, chosen_N: Bools) -> "_Measured":
        """Some of them."""
        return _Measured(*(values[chosen_N] for values in astuple(self)))


class _Growing:
    """Objects that go on below the rows that have been read."""

    def __init__(self) -> None:
        self._pieces, self._object_P = np.empty(0, np.object_), np.empty(0, np.int64)
        self._objects, self._bottom_W = _Measured(), np.empty(0, np.int64)

    def add(
        self, found: _Measured, pieces: tuple[Polygons, Ints], numbers_HW: Ints, last: bool
    ) -> tuple[_Measured, Polygons]:
        """Take the objects of the next rows; gives those that are complete, and their polygons.

        Args:
            found: The objects, as far as they are in these rows.
            pieces: Their polygons, and the object that each is a piece of.
            numbers_HW: Which object each pixel belongs to, `NO_OBJECT` for none.
            last: No rows follow.
        """
        known = len(self._objects)
        count, became_N = self._joined(found, numbers_HW[0])
        polygons_P = np.concatenate([self._pieces, pieces[0]])
        object_P = became_N[np.concatenate([self._object_P, known + pieces[1]])]
        class_N = np.empty(count, np.int64)
        class_N[became_N] = np.concatenate([self._objects.class_N, found.class_N])
        sums = (np.concatenate(pair) for pair in list(zip(astuple(self._objects), astuple(found), strict=True))[1:])
        objects = _Measured(class_N, *(_sums(became_N, values, count) for values in sums))
        bottom_W, growing_N = numbers_HW[-1].copy(), np.zeros(count, np.bool_)
        inside_W = bottom_W != NO_OBJECT
        bottom_W[inside_W] = became_N[known + bottom_W[inside_W]]
        growing_N[bottom_W[inside_W]] = not last
        numbers_N, stays_P = np.cumsum(growing_N) - 1, growing_N[object_P]
        bottom_W[inside_W] = numbers_N[bottom_W[inside_W]]
        self._pieces, self._object_P = polygons_P[stays_P], numbers_N[object_P[stays_P]]
        self._objects, self._bottom_W = objects.of(growing_N), bottom_W
        return objects.of(~growing_N), _dissolved(polygons_P[~stays_P], object_P[~stays_P])

    def _joined(self, found: _Measured, top_W: Ints) -> tuple[int, Ints]:
        """How many objects there are, and which one each known and each new one is of, those in this order."""
        known = len(self._objects)
        if not known or not len(found):
            return known + len(found), np.arange(known + len(found))
        touch_W = (self._bottom_W != NO_OBJECT) & (top_W != NO_OBJECT)
        above_T, below_T = self._bottom_W[touch_W], top_W[touch_W]
        same_T = self._objects.class_N[above_T] == found.class_N[below_T]
        one, other = above_T[same_T], below_T[same_T] + known
        links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(known + len(found),) * 2)
        count, became_N = connected_components(links, directed=False)
        return count, became_N.astype(np.int64)


def _dissolved(pieces: Polygons, object_P: Ints) -> Polygons:
    """One polygon for each object, in the order of their numbers."""
    import shapely

    order_P = np.argsort(object_P, kind="stable")
    pieces = pieces[order_P]
    _, first_N, pieces_N = np.unique(object_P[order_P], return_index=True, return_counts=True)
    polygons_N: Polygons = pieces[first_N]
    for n in np.flatnonzero(pieces_N > 1):
        polygons_N[n] = shapely.union_all(pieces[first_N[n] : first_N[n] + pieces_N[n]])
    return polygons_N
