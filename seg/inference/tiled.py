"""A network over a scene, window by window: strips of the map from top to bottom, in bounded memory."""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg.inference.arithmetic import Arithmetic, Network
from seg.inference.strips import Strip, StripPreparation, StripReader, View
from seg.inference.window_pass import ScenePass, window_probabilities
from seg.inference.windows import Tiling
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.scenes.grid import Window

_LESS = "lower --batch-size or --window"
_ROWS_AT_A_TIME = 64

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Piece:
    """A strip of the map.

    Attributes:
        number: Of the row of windows that completes it.
        place: Within the scene.
        classes_HW: Class indices, uint8; 255 where there is no data or nothing is to be mapped.
        probabilities_KHW: Probabilities times `SHARE_SCALE`, uint8, 255 likewise; None if not wanted.
        certainty_2HW: Confidence, the largest probability, and entropy as a share of its largest value (log K), stored
            likewise; None if not wanted.
        surprisals_KHW: See `seg.generalise.surprisal`, uint8, 255 likewise; None if not wanted.
    """

    number: int
    place: Window
    classes_HW: Bytes
    probabilities_KHW: Bytes | None
    certainty_2HW: Bytes | None
    surprisals_KHW: Bytes | None = None


def predict_strips(
    network: Network,
    view: View,
    tiling: Tiling,
    strips: Sequence[int],
    how: ScenePass,
) -> Generator[Piece]:
    """Predict strips of a scene; the next one is read while the network is at work.

    A strip depends on its own row of windows and on the one above, which is run again if it is not among the strips. So
    it is the same whichever strips are asked for, in whatever process.

    Args:
        network: The network.
        view: The scene.
        tiling: The windows.
        strips: Numbers of rows of windows, ascending, from `Tiling.strips`.
        how: The pass.

    Raises:
        SceneError: If a file is damaged.
        OutOfMemoryError: Naming the options to lower.
    """
    wanted = set(strips)
    rows = sorted(wanted | {number - 1 for number in strips if number})
    if not rows:
        return
    windows = len(rows) * len(tiling.columns.starts)
    ticks = iter(how.track(range(windows), "windows predicted", windows))
    canvas = _Canvas(network, view, tiling, how)
    with closing(_read_ahead(view, tiling, rows, network.arithmetic)) as ahead:
        for strip in ahead:
            with network.arithmetic.guarded(_LESS):
                canvas.begin(strip)
                for column in range(len(tiling.columns.starts)):
                    next(ticks)
                    canvas.add(column)
                piece = canvas.piece() if strip.number in wanted else None
            if piece is not None:
                yield piece
    # It ends with what it counts.
    next(ticks, None)


def _read_ahead(view: View, tiling: Tiling, rows: Sequence[int], arithmetic: Arithmetic) -> Generator[Strip]:
    """The strips of rows of windows: each is read in a thread of its own while the one before is in use."""
    with ThreadPoolExecutor(1, "reader") as pool, ExitStack() as files:
        # What was opened in the thread is closed there.
        files.callback(lambda: pool.submit(opened.close).result())
        opened = ExitStack()
        reader = pool.submit(lambda: StripReader(view, opened.enter_context(view.scene.open()), tiling)).result()
        coming = [pool.submit(reader.read, rows[0])]
        for following in (*rows[1:], None):
            with arithmetic.guarded(_LESS):
                strip = coming.pop().result()
            if following is not None:
                coming.append(pool.submit(reader.read, following))
            yield strip


class _Canvas:
    """What a row of windows is blended on, one row after the other.

    All rows share its memory: fresh pages cost a CPU more than what is done with them.
    """

    def __init__(self, network: Network, view: View, tiling: Tiling, how: ScenePass) -> None:
        self._network, self._arithmetic, self._tiling, self._how = network, network.arithmetic, tiling, how
        self._prepare = StripPreparation(view, tiling, self._arithmetic)
        rows = tiling.rows
        height = max(rows.end(number) - rows.begin(number) for number in range(len(rows.starts)))
        self._images_CHW = self._arithmetic.empty(self._prepare.shape)
        self._blended_KHW = self._arithmetic.empty((NUM_CLASSES, height, tiling.columns.length))
        self._number = -1

    def begin(self, strip: Strip) -> None:
        """Go on to another row: what the row above gave to it stays, if that was the one before."""
        rows, number, above = self._tiling.rows, strip.number, self._number
        ramp = 0
        if above >= 0 and above == number - 1:
            ramp = rows.ramp
            below = rows.begin(number) - rows.begin(above)
            self._blended_KHW[:, :ramp] = self._arithmetic.copy(self._blended_KHW[:, below : below + ramp])
        self._blended_KHW[:, ramp:] = 0
        self._number = number
        self._wanted_HW = self._prepare(strip, self._images_CHW)
        # Looked at here once, because every look makes a device wait.
        self._wanted_W = self._arithmetic.host(self._wanted_HW.any(0))
        self._weights_H = self._arithmetic.of(rows.weights(number))
        self._batch: list[int] = []

    def add(self, column: int) -> None:
        """Run a window, as soon as a batch of them is together; not at all if nothing of it is to be mapped."""
        columns = self._tiling.columns
        left = columns.starts[column]
        if self._wanted_W[left : left + columns.window].any():
            self._batch.append(column)
        if self._batch and (column == len(columns.starts) - 1 or len(self._batch) == self._how.batch_size):
            self._run(self._batch)
            self._batch = []

    def _run(self, batch: Sequence[int]) -> None:
        rows, columns, arithmetic = self._tiling.rows, self._tiling.columns, self._arithmetic
        starts = [columns.starts[column] for column in batch]
        spans = [(columns.begin(column), columns.end(column)) for column in batch]
        images_BCHW = arithmetic.empty((len(batch), *self._images_CHW[:, :, : columns.window].shape), windows=True)
        for image_CHW, start in zip(images_BCHW, starts, strict=True):
            image_CHW[:] = self._images_CHW[:, :, start : start + columns.window]
        # What has no weight in any window of the batch needs no probabilities.
        left = min(begin - start for (begin, _), start in zip(spans, starts, strict=True))
        right = max(end - start for (_, end), start in zip(spans, starts, strict=True))
        top, height = rows.begin(self._number) - rows.starts[self._number], len(self._weights_H)
        used = (slice(top, top + height), slice(left, right))
        shares_BKHW = window_probabilities(self._network, images_BCHW, self._how.tta, used)
        for column, start, (begin, end), shares_KHW in zip(batch, starts, spans, shares_BKHW, strict=True):
            inner_KHW = shares_KHW[:, :, begin - start - left : end - start - left]
            weights = self._weights_H, arithmetic.of(columns.weights(column))
            arithmetic.add_weighted(self._blended_KHW[:, :height, begin:end], inner_KHW, weights)

    def piece(self) -> Piece:
        """What the row completes: cropped to what is mapped, and turned into bytes a few rows at a time."""
        tiling, how, number, arithmetic = self._tiling, self._how, self._number, self._arithmetic
        place, begin = tiling.strip(number), tiling.rows.begin(number)
        top = place.top - tiling.area.top + tiling.frame.top - begin
        left = place.left - tiling.area.left + tiling.frame.left
        crop = np.s_[..., top : top + place.height, left : left + place.width]
        blended_KHW = self._blended_KHW[crop]
        wanted_HW = self._wanted_HW[begin - tiling.rows.starts[number] :][crop]
        shape = (place.height, place.width)
        classes_HW = np.empty(shape, np.uint8)
        probabilities_KHW = np.empty((NUM_CLASSES, *shape), np.uint8) if how.probabilities else None
        certainty_2HW = np.empty((2, *shape), np.uint8) if how.certainty else None
        surprisals_KHW = np.empty((NUM_CLASSES, *shape), np.uint8) if how.surprisals else None
        for first in range(0, place.height, _ROWS_AT_A_TIME):
            some = np.s_[..., first : first + _ROWS_AT_A_TIME, :]
            shares_KHW, outside_HW = blended_KHW[some], ~wanted_HW[some]
            highest_HW, chosen_HW = arithmetic.highest(shares_KHW)
            classes_HW[some] = arithmetic.host(arithmetic.fill(chosen_HW, outside_HW, IGNORE_INDEX))
            if probabilities_KHW is not None:
                probabilities_KHW[some] = arithmetic.levels(shares_KHW, outside_HW)
            if certainty_2HW is not None:
                certainty_2HW[0][some] = arithmetic.levels(highest_HW, outside_HW)
                certainty_2HW[1][some] = arithmetic.levels(arithmetic.entropy(shares_KHW), outside_HW)
            if surprisals_KHW is not None:
                levels_KHW = arithmetic.fill(arithmetic.surprisals(shares_KHW), outside_HW, IGNORE_INDEX)
                surprisals_KHW[some] = arithmetic.host(levels_KHW)
        return Piece(number, place, classes_HW, probabilities_KHW, certainty_2HW, surprisals_KHW)
