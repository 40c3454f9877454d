"""A network over a scene, window by window: strips of the map from top to bottom, in bounded memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seg.engine.device import named_when_full
from seg.inference.strips import Strip, StripPreparation, StripReader, View
from seg.inference.window_pass import ScenePass, Softmax, window_probabilities
from seg.inference.windows import Tiling
from seg.models.segmenter import Segmenter
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.scenes.grid import Window

SHARE_SCALE = 250
"""Stored value of a share of 1 (probability, confidence, entropy); the one of `seg.maps.geotiff`."""
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
    """

    number: int
    place: Window
    classes_HW: Bytes
    probabilities_KHW: Bytes | None
    certainty_2HW: Bytes | None


def predict_strips(
    model: Segmenter,
    view: View,
    tiling: Tiling,
    strips: Sequence[int],
    how: ScenePass,
) -> Iterator[Piece]:
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
    work = _Work(model, tiling, how, StripPreparation(view, tiling, how.compute.device))
    columns = range(len(tiling.columns.starts))
    jobs = [(row, column) for row in rows for column in columns]
    with ExitStack() as stack:
        ahead = stack.enter_context(_ReadAhead(view, tiling))
        ahead.begin(rows)
        row: _Row | None = None
        for number, column in how.track(jobs, "windows predicted", len(jobs)):
            with named_when_full(_LESS), torch.inference_mode():
                if column == 0:
                    row = _Row(work, ahead.next(), row)
                assert row is not None, "a row begins with its first column"
                row.add(column)
                piece = row.finish(number in wanted) if column == columns[-1] else None
            if piece is not None:
                yield piece


class _ReadAhead:
    """Reads the strip after the one in use in a thread of its own."""

    def __init__(self, view: View, tiling: Tiling) -> None:
        self._view, self._tiling = view, tiling
        self._pool = ThreadPoolExecutor(1, "reader")
        self._files = ExitStack()
        self._rows: list[int] = []
        self._pending: Future[Strip] | None = None
        self._read: Callable[[int], Strip]

    def __enter__(self) -> "_ReadAhead":
        return self

    def __exit__(self, *_: object) -> None:
        # What was opened in the thread is closed there.
        self._pool.submit(self._files.close)
        self._pool.shutdown()

    def begin(self, rows: Sequence[int]) -> None:
        self._rows = list(rows)
        self._pool.submit(self._open).result()
        self._submit()

    def next(self) -> Strip:
        assert self._pending is not None, "more strips than there are"
        strip = self._pending.result()
        self._submit()
        return strip

    def _open(self) -> None:
        reader = self._files.enter_context(self._view.scene.open())
        self._read = StripReader(self._view, reader, self._tiling).read

    def _submit(self) -> None:
        self._pending = self._pool.submit(self._read, self._rows.pop(0)) if self._rows else None


class _Work:
    """What the rows of windows share, their memory above all: fresh pages cost a CPU more than what is done with them.

    Attributes:
        model, tiling, how: As of `predict_strips`.
        prepare: Makes network inputs.
        softmax: Of pixel logits.
        images_CHW: Network inputs of a row.
        blended_KHW: Probabilities of a row, as high as the highest.
    """

    def __init__(self, model: Segmenter, tiling: Tiling, how: ScenePass, prepare: StripPreparation) -> None:
        self.model, self.tiling, self.how, self.prepare = model, tiling, how, prepare
        self.softmax = Softmax()
        rows, device = tiling.rows, how.compute.device
        height = max(rows.end(number) - rows.begin(number) for number in range(len(rows.starts)))
        self.images_CHW = torch.empty(prepare.shape, device=device)
        self.blended_KHW = torch.empty((NUM_CLASSES, height, tiling.columns.length), device=device)


class _Row:
    """A row of windows on its way through the network.

    Args:
        work: What it shares with the other rows, of which one at a time is on its way.
        strip: What the row covers.
        above: The row that was run before this one, if any.
    """

    def __init__(self, work: _Work, strip: Strip, above: "_Row | None") -> None:
        self._work, self._tiling, self._how = work, work.tiling, work.how
        self.number = strip.number
        self._place = self._tiling.strip(strip.number)
        self._wanted_HW = work.prepare(strip, work.images_CHW)
        # Looked at here once, because every look makes the device wait.
        self._wanted_W = self._wanted_HW.any(0).cpu().numpy()
        rows = self._tiling.rows
        self._first = rows.begin(self.number) - rows.starts[self.number]
        self._weights_H = torch.from_numpy(rows.weights(self.number)).to(work.blended_KHW.device)
        self._blended_KHW = work.blended_KHW[:, : len(self._weights_H)].zero_()
        if above is not None and above.number == self.number - 1:
            self._blended_KHW[:, : rows.ramp] = above.carry_KHW
        self._batch: list[int] = []
        self.carry_KHW: Tensor

    def add(self, column: int) -> None:
        """Run a window, as soon as a batch of them is together; not at all if nothing of it is to be mapped."""
        left = self._tiling.columns.starts[column]
        if self._wanted_W[left : left + self._tiling.columns.window].any():
            self._batch.append(column)
        last = column == len(self._tiling.columns.starts) - 1
        if self._batch and (last or len(self._batch) == self._how.batch_size):
            self._run()

    def finish(self, wanted: bool) -> Piece | None:
        """What is mapped now, None if that is not asked for. Only what the next row needs is kept."""
        rows, number = self._tiling.rows, self.number
        height = rows.begin(number + 1) - rows.begin(number)
        self.carry_KHW = self._blended_KHW[:, height:].clone()
        blended_KHW, wanted_HW = self._blended_KHW[:, :height], self._wanted_HW[self._first : self._first + height]
        del self._blended_KHW, self._wanted_HW
        return self._piece(blended_KHW, wanted_HW) if wanted else None

    def _run(self) -> None:
        columns, work = self._tiling.columns, self._work
        starts = [columns.starts[column] for column in self._batch]
        spans = [(columns.begin(column), columns.end(column)) for column in self._batch]
        channels, *size = work.images_CHW[:, :, : columns.window].shape
        images_BCHW = torch.empty(
            (len(starts), channels, *size),
            dtype=self._how.compute.dtype,
            device=work.images_CHW.device,
            memory_format=self._how.compute.memory_format,
        )
        for image_CHW, start in zip(images_BCHW, starts, strict=True):
            image_CHW.copy_(work.images_CHW[:, :, start : start + columns.window])
        # What has no weight in any window of the batch needs no probabilities.
        left = min(begin - start for (begin, _), start in zip(spans, starts, strict=True))
        right = max(end - start for (_, end), start in zip(spans, starts, strict=True))
        used = (slice(self._first, self._first + len(self._weights_H)), slice(left, right))
        shares_BKHW = window_probabilities(work.model, images_BCHW, self._how, work.softmax, used)
        for column, start, (begin, end), shares_KHW in zip(self._batch, starts, spans, shares_BKHW, strict=True):
            weights_W = torch.from_numpy(columns.weights(column)).to(shares_KHW.device)
            inner_KHW = shares_KHW[:, :, begin - start - left : end - start - left]
            self._blended_KHW[:, :, begin:end].addcmul_(inner_KHW, torch.outer(self._weights_H, weights_W))
        self._batch = []

    def _piece(self, blended_KHW: Tensor, wanted_HW: Tensor) -> Piece:
        """Crop to what is mapped, and turn into bytes a few rows at a time."""
        tiling, how, place = self._tiling, self._how, self._place
        top = place.top - tiling.area.top + tiling.frame.top - tiling.rows.begin(self.number)
        left = place.left - tiling.area.left + tiling.frame.left
        crop = np.s_[..., top : top + place.height, left : left + place.width]
        blended_KHW, wanted_HW = blended_KHW[crop], wanted_HW[crop]
        shape = (place.height, place.width)
        classes_HW = np.empty(shape, np.uint8)
        probabilities_KHW = np.empty((NUM_CLASSES, *shape), np.uint8) if how.probabilities else None
        certainty_2HW = np.empty((2, *shape), np.uint8) if how.certainty else None
        for begin in range(0, place.height, _ROWS_AT_A_TIME):
            some = np.s_[..., begin : begin + _ROWS_AT_A_TIME, :]
            shares_KHW, outside_HW = blended_KHW[some], ~wanted_HW[some]
            highest = shares_KHW.max(0)
            classes_HW[some] = highest.indices.byte().masked_fill_(outside_HW, IGNORE_INDEX).cpu().numpy()
            if probabilities_KHW is not None:
                probabilities_KHW[some] = _stored(shares_KHW, outside_HW)
            if certainty_2HW is not None:
                entropy_HW = torch.special.entr(shares_KHW).sum(0) / math.log(NUM_CLASSES)
                certainty_2HW[some] = _stored(torch.stack([highest.values, entropy_HW]), outside_HW)
        return Piece(self.number, place, classes_HW, probabilities_KHW, certainty_2HW)


def _stored(shares: Tensor, outside_HW: Tensor) -> Bytes:
    stored: Bytes = (
        (shares * SHARE_SCALE)
        .round_()
        .clamp_(0, SHARE_SCALE)
        .byte()
        .masked_fill_(outside_HW, IGNORE_INDEX)
        .cpu()
        .numpy()
    )
    return stored
