"""Rows of windows of a scene: read as they are stored, and made into what the network sees.

The values are those of `seg.data.transforms` for the scene as a whole, up to the rounding of float32: a strip is read
with a coarse pixel more on every side, so that bands of 20 m and 60 m come out as if the whole scene were resampled.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg.data.transforms import Resampling
from seg.inference.arithmetic import Arithmetic, Values
from seg.inference.windows import Tiling, up
from seg.rasters.layer import Array
from seg.reben.bands import BANDS
from seg.scenes.grid import Window
from seg.scenes.reader import Scene, SceneReader

Inside = Callable[[Window], npt.NDArray[np.bool_]]
"""Which pixels of a window of the scene are to be mapped: bool (height, width)."""


@dataclass(frozen=True)
class View:
    """A scene as a network sees it.

    Attributes:
        scene: The scene.
        bands: Bands in the order of the network's channels.
        resampling: How coarse bands are brought to 10 m.
        inside: Which pixels are to be mapped; None: all.
    """

    scene: Scene
    bands: tuple[str, ...]
    resampling: Resampling
    inside: Inside | None = None

    @property
    def factors(self) -> tuple[int, ...]:
        """10 m pixels per pixel of each band."""
        return tuple(self.scene.factors[name] for name in self.bands)

    def wanted(self, place: Window, valid_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Where a window of the scene is to be mapped: nowhere without data."""
        return valid_HW & self.inside(place) if self.inside and valid_HW.any() else valid_HW


@dataclass(frozen=True, eq=False)
class Strip:
    """What a row of windows covers, as it is stored.

    Attributes:
        number: Of the row of windows.
        place: What was read, within the scene: more than the windows cover.
        bands: Values of each band at its own resolution.
        valid_HW: Where `place` has data.
        wanted_HW: Where it is to be mapped; never where there is no data.
    """

    number: int
    place: Window
    bands: dict[str, Array]
    valid_HW: npt.NDArray[np.bool_]
    wanted_HW: npt.NDArray[np.bool_]


class StripReader:
    """Reads the strips of a scene from top to bottom, each row of the scene about once.

    Args:
        view: The scene.
        reader: A reader of it.
        tiling: The windows.
    """

    def __init__(self, view: View, reader: SceneReader, tiling: Tiling) -> None:
        self._view, self._reader, self._tiling = view, reader, tiling
        scene = view.scene
        self._height = scene.grid.height
        self._coarsest = max(scene.factors.values())
        area = tiling.area
        self._left = max(area.left - self._coarsest, 0) // self._coarsest * self._coarsest
        right = min(up(area.left + area.width + self._coarsest, self._coarsest), scene.grid.width)
        self._width = right - self._left
        self._rows = tiling.frame.sources()[0] + area.top
        self._last: Strip | None = None

    def read(self, number: int) -> Strip:
        """Read the strip of a row of windows.

        Raises:
            SceneError: If a file is damaged.
        """
        start = self._tiling.rows.starts[number]
        rows = self._rows[start : start + self._tiling.rows.window]
        coarsest = self._coarsest
        top = max(int(rows.min()) - coarsest, 0) // coarsest * coarsest
        bottom = min(up(int(rows.max()) + 1 + coarsest, coarsest), self._height)
        last = self._last
        if last is not None and last.place.top <= top <= last.place.top + last.place.height < bottom:
            self._last = self._joined(last, number, top, bottom)
        else:
            self._last = self._fresh(number, top, bottom)
        return self._last

    def _fresh(self, number: int, top: int, bottom: int) -> Strip:
        place = Window(self._left, top, self._width, bottom - top)
        bands = self._reader.read(place, self._view.bands)
        valid_HW = self._reader.valid(place)
        return Strip(number, place, bands, valid_HW, self._view.wanted(place, valid_HW))

    def _joined(self, last: Strip, number: int, top: int, bottom: int) -> Strip:
        """A strip of the lower rows of the last one and of what lies below them."""
        skipped = top - last.place.top
        new = self._fresh(number, last.place.top + last.place.height, bottom)
        return Strip(
            number,
            Window(self._left, top, self._width, bottom - top),
            {
                name: np.concatenate([last.bands[name][skipped // factor :], new.bands[name]])
                for name, factor in zip(self._view.bands, self._view.factors, strict=True)
            },
            np.concatenate([last.valid_HW[skipped:], new.valid_HW]),
            np.concatenate([last.wanted_HW[skipped:], new.wanted_HW]),
        )


class StripPreparation:
    """Makes network inputs of strips.

    A pixel without data has the mean of each band, 0, as the network's own padding has inside.

    Args:
        view: The scene.
        tiling: The windows.
        arithmetic: The arrays that the network takes.
    """

    def __init__(self, view: View, tiling: Tiling, arithmetic: Arithmetic) -> None:
        self._view, self._tiling, self._arithmetic = view, tiling, arithmetic
        rows, columns = tiling.frame.sources()
        self._rows, self._columns = rows + tiling.area.top, columns + tiling.area.left

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the inputs that are made of a strip."""
        return len(self._view.bands), self._tiling.rows.window, len(self._columns)

    def __call__(self, strip: Strip, images_CHW: Values) -> Values:
        """Make the network's inputs.

        Args:
            strip: What was read.
            images_CHW: Where the normalised bands are written to, float32 of `shape`.

        Returns:
            What is to be mapped, bool (window, padded width).
        """
        arithmetic = self._arithmetic
        start = self._tiling.rows.starts[strip.number]
        rows = self._rows[start : start + self._tiling.rows.window] - strip.place.top
        columns = self._columns - strip.place.left
        pieces = _pieces(rows, arithmetic), _pieces(columns, arithmetic)
        invalid_HW = None if strip.valid_HW.all() else arithmetic.of(~strip.valid_HW)
        for channel_HW, name, factor in zip(images_CHW, self._view.bands, self._view.factors, strict=True):
            values_HW = self._normalised(strip, name, factor, invalid_HW)
            _fill(channel_HW, values_HW, *pieces)
        mask_HW = arithmetic.flags(self.shape[1:])
        if invalid_HW is not None:
            arithmetic.fill(images_CHW, _fill(mask_HW, invalid_HW, *pieces), 0)
        return _fill(mask_HW, arithmetic.of(strip.wanted_HW), *pieces)

    def _normalised(self, strip: Strip, name: str, factor: int, invalid_HW: Values | None) -> Values:
        """A band at 10 m, over the whole place of the strip, good until the next one."""
        arithmetic, stored, band = self._arithmetic, strip.bands[name], BANDS[name]
        values_HW, empty_HW = arithmetic.stored(stored), None
        if stored.dtype != np.uint16:
            # Only what is no number differs from itself.
            empty_HW = values_HW != values_HW  # noqa: PLR0124
        elif invalid_HW is not None:
            # A band may hold 0 where others have data; only beside pixels without data it is no value.
            empty_HW = values_HW == 0
            empty_HW &= arithmetic.any_of(invalid_HW, factor)
        values_HW *= float(np.float32(1 / band.std))
        values_HW += float(np.float32(-band.mean / band.std))
        if empty_HW is not None:
            arithmetic.fill(values_HW, empty_HW, 0)
        return values_HW if factor == 1 else arithmetic.resampled(values_HW, factor, self._view.resampling)


Pieces = list[tuple[slice, Values]]
"""Rows or columns of a target, and those that they are taken from."""


def _pieces(pixels: npt.NDArray[np.int64], arithmetic: Arithmetic) -> Pieces:
    """An index as its longest stretch of followers, which is copied fast, and the reflected margins on either side."""
    breaks = [0, *(np.flatnonzero(np.diff(pixels) != 1) + 1).tolist(), len(pixels)]
    begin, end = max(itertools.pairwise(breaks), key=lambda run: run[1] - run[0])
    margins = [slice(0, begin), slice(end, len(pixels))]
    pieces: Pieces = [(slice(begin, end), slice(int(pixels[begin]), int(pixels[end - 1]) + 1))]
    return pieces + [(margin, arithmetic.of(pixels[margin])) for margin in margins if margin.start < margin.stop]


def _fill(target_HW: Values, values_HW: Values, rows: Pieces, columns: Pieces) -> Values:
    for (to_rows, from_rows), (to_columns, from_columns) in itertools.product(rows, columns):
        target_HW[to_rows, to_columns] = values_HW[from_rows][:, from_columns]
    return target_HW
