"""The polygons of a class map, some rows at a time: what goes on below is kept until it ends, and then dissolved.

Borders are simplified piece by piece: all polygons of a rectangle, cut at its edges, and its areas without data are one
coverage, so neighbours keep the same border, and nothing crosses another. Only vertices in the cuts stay in place.
Source of the simplification: Visvalingam and Whyatt (1993), as GEOS applies it to coverages.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from rasterio.io import DatasetReader
from rasterio.windows import Window

from seg.config.scope import unit_text
from seg.errors import WrongUseError
from seg.generalise.objects import NO_OBJECT, Bytes, Ints, number_objects
from seg.reben.classes import IGNORE_INDEX, SHARE_SCALE
from seg.reben.ground import BLOCK, Floats, pixel_hectares
from seg.reben.patch import GeoRef
from seg.vectors.growing import Growing, Measured, sums_of
from seg.vectors.outlines import Bools, Polygons, Rings, outlines
from seg.vectors.wkb import binary_polygons, binary_rings

SIZE = (2 * BLOCK, 4 * BLOCK)
"""Rows and columns of the pieces that polygons are put together from. Whole blocks, so that areas are those of the
whole map."""
_AT_A_TIME = 1 << 16
"""Polygons that are handed on together."""


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
        polygons_N: As well-known binary, in the coordinates of the CRS; outer rings run counterclockwise.
        class_N: Their classes, int64.
        hectares_N: Their area on the ground, before anything was simplified.
        confidence_N: Mean of the confidence of their pixels, 0 to 1.
    """

    polygons_N: pa.Array
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
    """The polygons of a class map, some at a time, as soon as each is complete.

    Args:
        classes: The class map, 255 without data.
        confidence: In its first band the confidence of each pixel times 250.
        grid: Where both lie.
        simplify: How far borders may be moved, roughly: the edge of the largest square that is cut off or filled,
            metres; 0: they follow the pixels.
        size: Rows and columns of the pieces that polygons are put together from.
    """
    whole, (rows, columns) = Growing(size), size
    for top in range(0, grid.height, rows):
        height = min(rows, grid.height - top)
        strip = _Strip(classes, grid, top, height)
        found = strip.measured(confidence.read(1, window=strip.window))
        cut, goes_on_N = [_NOTHING], np.ones(len(found), np.bool_)
        for piece in strip.pieces(columns, simplify / grid.pixel_size):
            for polygons, number_N in piece.whole:
                goes_on_N[number_N] = False
                yield _told(polygons, found.of(number_N))
            cut.append((piece.cut_P, piece.number_P))
        # What lies within a piece needs no more of this.
        number_N = np.append(np.where(goes_on_N, np.cumsum(goes_on_N) - 1, NO_OBJECT), NO_OBJECT)
        cut_P, number_P = (np.concatenate(values) for values in zip(*cut, strict=True))
        edges_2W = number_N[strip.numbers_HW[[0, -1]]]
        done, polygons_N = whole.add(
            found.of(goes_on_N), (cut_P, number_N[number_P]), edges_2W, top + height == grid.height
        )
        for first in range(0, len(done), _AT_A_TIME):
            some = slice(first, first + _AT_A_TIME)
            yield _told(binary_polygons(polygons_N[some], grid), done.of(some))


_NOTHING = np.empty(0, np.object_), np.empty(0, np.int64)


def _told(polygons_N: pa.Array, of: Measured) -> LandCover:
    return LandCover(polygons_N, of.class_N, of.hectares_N, of.confidence_N / of.pixels_N)


@dataclass(frozen=True, eq=False)
class _Piece:
    """The polygons of a rectangle of a strip.

    Attributes:
        whole: Of the objects that lie within it, some at a time, as well-known binary, and their numbers in the strip.
        cut_P: Of the others, as shapely's, in pixels from the corner of the map.
        number_P: The numbers of these.
    """

    whole: Iterator[tuple[pa.Array, Ints]]
    cut_P: Polygons
    number_P: Ints


class _Strip:
    """The objects of some rows."""

    def __init__(self, classes: DatasetReader, grid: GeoRef, top: int, height: int) -> None:
        first, end = max(0, top - 1), min(grid.height, top + height + 1)
        read_HW: Bytes = classes.read(1, window=Window(0, first, grid.width, end - first))
        missing = (first - top + 1, top + height + 1 - end)
        self._around_HW = np.pad(read_HW, (missing, (1, 1)), constant_values=IGNORE_INDEX)
        self.window, self._whole = Window(0, top, grid.width, height), grid
        self._grid = replace(grid, y_max=grid.y_max - top * grid.pixel_size, height=height)
        self.numbers_HW, self._class_N = number_objects(self._around_HW[1:-1, 1:-1])

    def pieces(self, columns: int, tolerance: float) -> Iterator[_Piece]:
        """The strip cut into rectangles.

        Args:
            columns: How wide they are at most: to simplify takes longer than in proportion to the width.
            tolerance: Of the simplification, pixels.
        """
        for left in range(0, self._grid.width, columns):
            around_HW = self._around_HW[:, left : left + columns + 2]
            # Areas without data have borders that are simplified too.
            numbers_HW, class_P = number_objects(around_HW[1:-1, 1:-1], nodata=bool(tolerance))
            rings = outlines(numbers_HW, around_HW, (left, self.window.row_off))
            # In the end what no object has, `NO_OBJECT`.
            number_P = np.empty(len(class_P) + 1, np.int64)
            number_P[numbers_HW] = self.numbers_HW[:, left : left + columns]
            number_P = number_P[:-1]
            with_data_P, cut_P = class_P != IGNORE_INDEX, _going_on(numbers_HW, around_HW, len(class_P))
            whole_P, cut_P = with_data_P & ~cut_P, with_data_P & cut_P
            if tolerance:
                polygons_P = _simplified(rings, tolerance)
                yield _Piece(self._placed(polygons_P[whole_P], number_P[whole_P]), polygons_P[cut_P], number_P[cut_P])
            else:
                yield _Piece(self._traced(rings, whole_P, number_P), rings.of(cut_P).polygons(), number_P[cut_P])

    def _traced(self, rings: Rings, chosen_P: Bools, number_P: Ints) -> Iterator[tuple[pa.Array, Ints]]:
        chosen = np.flatnonzero(chosen_P)
        for first in range(0, len(chosen), _AT_A_TIME):
            some_P = np.zeros_like(chosen_P)
            some_P[chosen[first : first + _AT_A_TIME]] = True
            yield binary_rings(rings.of(some_P), self._whole), number_P[some_P]

    def _placed(self, polygons_P: Polygons, number_P: Ints) -> Iterator[tuple[pa.Array, Ints]]:
        for first in range(0, len(number_P), _AT_A_TIME):
            some = slice(first, first + _AT_A_TIME)
            yield binary_polygons(polygons_P[some], self._whole), number_P[some]

    def measured(self, confidence_HW: Bytes) -> Measured:
        """What is counted of the objects."""
        height, width = self.numbers_HW.shape
        # Pixels of one object side by side, as far as they have one size on the ground.
        begins_HW = np.ones((height, width), np.bool_)
        np.not_equal(self.numbers_HW[:, 1:], self.numbers_HW[:, :-1], out=begins_HW[:, 1:])
        begins_HW[:, ::BLOCK] = True
        first_R = np.flatnonzero(begins_HW)
        number_R, count_R = self.numbers_HW.ravel()[first_R], np.diff(first_R, append=height * width)
        row_R, column_R = np.divmod(first_R, width)
        block_R = row_R // BLOCK * -(-width // BLOCK) + column_R // BLOCK
        sums_R = np.add.reduceat(confidence_HW.ravel(), first_R, dtype=np.int64)
        inside_R, count = number_R != NO_OBJECT, len(self._class_N)
        values = (count_R, count_R * pixel_hectares(self._grid)[block_R], sums_R / SHARE_SCALE)
        return Measured(self._class_N, *(sums_of(number_R[inside_R], of_R[inside_R], count) for of_R in values))


def _going_on(numbers_HW: Ints, around_HW: Bytes, count: int) -> Bools:
    """Which objects of a rectangle go on beyond its edges."""
    goes_on_P = np.zeros(count, np.bool_)
    for inside, edge, beyond in (
        (numbers_HW[0], around_HW[1, 1:-1], around_HW[0, 1:-1]),
        (numbers_HW[-1], around_HW[-2, 1:-1], around_HW[-1, 1:-1]),
        (numbers_HW[:, 0], around_HW[1:-1, 1], around_HW[1:-1, 0]),
        (numbers_HW[:, -1], around_HW[1:-1, -2], around_HW[1:-1, -1]),
    ):
        goes_on_P[inside[(edge == beyond) & (inside != NO_OBJECT)]] = True
    return goes_on_P


def _simplified(rings: Rings, tolerance: float) -> Polygons:
    import shapely

    polygons_P: Polygons = shapely.coverage_simplify(rings.polygons(), tolerance, simplify_boundary=False)
    return polygons_P
