"""A network over a scene, window by window: strips of the map from top to bottom, in bounded memory."""

import math
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seg.engine.device import named_when_full
from seg.generalise.surprisal import surprisals
from seg.inference.strips import Strip, StripPreparation, StripReader, View
from seg.inference.window_pass import ScenePass, Softmax, window_probabilities
from seg.inference.windows import Tiling
from seg.models.segmenter import Segmenter
from seg.rasters.grid import Window
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES, SHARE_SCALE

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
    model: Segmenter,
    view: View,
    tiling: Tiling,
    strips: Sequence[int],
    how: ScenePass,
) -> Generator[Piece]:
    """Predict strips of a scene; the next one is read while the network is at work.

    A strip depends on its own row of windows and on the one above, which is run again if it is not among the strips. So
    it is the same whichever strips are asked for, in whatever process.

    Args:
        model: In evaluation mode, on its device.
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
    canvas = _Canvas(model, view, tiling, how)
    with closing(_read_ahead(view, tiling, rows)) as ahead:
        for strip in ahead:
            with named_when_full(_LESS), torch.inference_mode():
                canvas.begin(strip)
                for column in range(len(tiling.columns.starts)):
                    next(ticks)
                    canvas.add(column)
                piece = canvas.piece() if strip.number in wanted else None
            if piece is not None:
                yield piece
    # It ends with what it counts.
    next(ticks, None)


def _read_ahead(view: View, tiling: Tiling, rows: Sequence[int]) -> Generator[Strip]:
    """The strips of rows of windows: each is read in a thread of its own while the one before is in use."""
    with ThreadPoolExecutor(1, "reader") as pool, ExitStack() as files:
        # What was opened in the thread is closed there.
        files.callback(lambda: pool.submit(opened.close).result())
        opened = ExitStack()
        reader = pool.submit(lambda: StripReader(view, opened.enter_context(view.scene.open()), tiling)).result()
        coming = [pool.submit(reader.read, rows[0])]
        for following in (*rows[1:], None):
            with named_when_full(_LESS):
                strip = coming.pop().result()
            if following is not None:
                coming.append(pool.submit(reader.read, following))
            yield strip


class _Canvas:
    """What a row of windows is blended on, one row after the other.

    All rows share its memory: fresh pages cost a CPU more than what is done with them.
    """

    def __init__(self, model: Segmenter, view: View, tiling: Tiling, how: ScenePass) -> None:
        self._model, self._tiling, self._how = model, tiling, how
        self._prepare = StripPreparation(view, tiling, how.compute.device)
        self._softmax = Softmax()
        rows, device = tiling.rows, how.compute.device
        height = max(rows.end(number) - rows.begin(number) for number in range(len(rows.starts)))
        self._images_CHW = torch.empty(self._prepare.shape, device=device)
        self._blended_KHW = torch.zeros((NUM_CLASSES, height, tiling.columns.length), device=device)
        self._number = -1

    def begin(self, strip: Strip) -> None:
        """Go on to another row: what the row above gave to it stays, if that was the one before."""
        rows, number, above = self._tiling.rows, strip.number, self._number
        ramp = 0
        if above >= 0 and above == number - 1:
            ramp = rows.ramp
            below = rows.begin(number) - rows.begin(above)
            self._blended_KHW[:, :ramp] = self._blended_KHW[:, below : below + ramp].clone()
        self._blended_KHW[:, ramp:].zero_()
        self._number = number
        self._wanted_HW = self._prepare(strip, self._images_CHW)
        # Looked at here once, because every look makes the device wait.
        self._wanted_W = self._wanted_HW.any(0).cpu().numpy()
        self._weights_H = torch.from_numpy(rows.weights(number)).to(self._blended_KHW.device)
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
        rows, columns, how = self._tiling.rows, self._tiling.columns, self._how
        starts = [columns.starts[column] for column in batch]
        spans = [(columns.begin(column), columns.end(column)) for column in batch]
        images_BCHW = torch.empty(
            (len(batch), *self._images_CHW[:, :, : columns.window].shape),
            dtype=how.compute.dtype,
            device=self._images_CHW.device,
            memory_format=how.compute.memory_format,
        )
        for image_CHW, start in zip(images_BCHW, starts, strict=True):
            image_CHW.copy_(self._images_CHW[:, :, start : start + columns.window])
        # What has no weight in any window of the batch needs no probabilities.
        left = min(begin - start for (begin, _), start in zip(spans, starts, strict=True))
        right = max(end - start for (_, end), start in zip(spans, starts, strict=True))
        top, height = rows.begin(self._number) - rows.starts[self._number], len(self._weights_H)
        used = (slice(top, top + height), slice(left, right))
        shares_BKHW = window_probabilities(self._model, images_BCHW, how, self._softmax, used)
        for column, start, (begin, end), shares_KHW in zip(batch, starts, spans, shares_BKHW, strict=True):
            weights_W = torch.from_numpy(columns.weights(column)).to(shares_KHW.device)
            inner_KHW = shares_KHW[:, :, begin - start - left : end - start - left]
            self._blended_KHW[:, :height, begin:end].addcmul_(inner_KHW, torch.outer(self._weights_H, weights_W))

    def piece(self) -> Piece:
        """What the row completes: cropped to what is mapped, and turned into bytes a few rows at a time."""
        tiling, how, number = self._tiling, self._how, self._number
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
            highest = shares_KHW.max(0)
            classes_HW[some] = highest.indices.byte().masked_fill_(outside_HW, IGNORE_INDEX).cpu().numpy()
            if probabilities_KHW is not None:
                probabilities_KHW[some] = _stored(shares_KHW, outside_HW)
            if certainty_2HW is not None:
                entropy_HW = torch.special.entr(shares_KHW).sum(0) / math.log(NUM_CLASSES)
                certainty_2HW[some] = _stored(torch.stack([highest.values, entropy_HW]), outside_HW)
            if surprisals_KHW is not None:
                levels_KHW = surprisals(shares_KHW.log()).masked_fill_(outside_HW, IGNORE_INDEX)
                surprisals_KHW[some] = levels_KHW.cpu().numpy()
        return Piece(number, place, classes_HW, probabilities_KHW, certainty_2HW, surprisals_KHW)


def _stored(shares: Tensor, outside_HW: Tensor) -> Bytes:
    levels = (shares * SHARE_SCALE).round_().clamp_(0, SHARE_SCALE).byte()
    stored: Bytes = levels.masked_fill_(outside_HW, IGNORE_INDEX).cpu().numpy()
    return stored
