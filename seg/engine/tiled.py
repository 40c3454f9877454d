"""A network over a scene, window by window: strips of the map from top to bottom, in bounded memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seg.config.track import Track, silent
from seg.data.raw import SYMMETRIES
from seg.engine.device import Compute, named_when_full
from seg.engine.strips import Strip, StripPreparation, StripReader, View
from seg.engine.windows import Tiling
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.scenes.grid import Window

SHARE_SCALE = 250
"""Stored value of a share of 1 (probability, confidence, entropy); the one of `seg.maps.geotiff`."""
_LESS = "lower --batch-size or --window"
_ROWS_AT_A_TIME = 64

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ScenePass:
    """How a network goes over a scene.

    Attributes:
        compute: Device and formats.
        batch_size: Windows at a time, all of one row of windows.
        temperature: What pixel logits are divided by to be calibrated.
        tta: Mean over the 8 symmetries of the square.
        probabilities, certainty: Whether these are wanted, see `Piece`.
        track: Progress over windows.
    """

    compute: Compute
    batch_size: int
    temperature: float = 1.0
    tta: bool = False
    probabilities: bool = False
    certainty: bool = False
    track: Track = silent


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
    model: nn.Module,
    view: View,
    tiling: Tiling,
    strips: Sequence[int],
    how: ScenePass,
) -> Iterator[Piece]:
    """Predict strips of a scene; the next one is read while the network is at work.

    A strip depends on its own row of windows and on the one above, which is run again if it is not among the strips. So
    it is the same whichever strips are asked for, in whatever process.

    Args:
        model: A `Segmenter` in evaluation mode, on its device.
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
    prepare = StripPreparation(view, tiling, how.compute.device)
    columns = range(len(tiling.columns.starts))
    jobs = [(row, column) for row in rows for column in columns]
    with ExitStack() as stack:
        ahead = stack.enter_context(_ReadAhead(view, tiling))
        ahead.begin(rows)
        row: _Row | None = None
        for number, column in how.track(jobs, "windows predicted", len(jobs)):
            with named_when_full(_LESS), torch.inference_mode():
                if column == 0:
                    row = _Row(model, tiling, how, prepare, ahead.next(), row)
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


class _Row:
    """A row of windows on its way through the network.

    Args:
        model, tiling, how: As of `predict_strips`.
        prepare: Makes network inputs.
        strip: What the row covers.
        above: The row that was run before this one, if any.
    """

    def __init__(
        self,
        model: nn.Module,
        tiling: Tiling,
        how: ScenePass,
        prepare: StripPreparation,
        strip: Strip,
        above: "_Row | None",
    ) -> None:
        self._model, self._tiling, self._how = model, tiling, how
        self.number = strip.number
        self._place = tiling.strip(strip.number)
        self._images_CHW, self._wanted_HW = prepare(strip)
        # Looked at here once, because every look makes the device wait.
        self._wanted_W = self._wanted_HW.any(0).cpu().numpy()
        rows, device = tiling.rows, how.compute.device
        self._first = rows.begin(self.number) - rows.starts[self.number]
        self._weights_H = torch.from_numpy(rows.weights(self.number)).to(device)
        self._blended_KHW = torch.zeros((NUM_CLASSES, len(self._weights_H), tiling.columns.length), device=device)
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
        del self._blended_KHW, self._images_CHW, self._wanted_HW
        return self._piece(blended_KHW, wanted_HW) if wanted else None

    def _run(self) -> None:
        columns, width = self._tiling.columns, self._tiling.columns.window
        lefts = [columns.starts[column] for column in self._batch]
        images_BCHW = torch.stack([self._images_CHW[:, :, left : left + width] for left in lefts])
        shares_BKHW = window_probabilities(self._model, images_BCHW, self._how)
        used_H = slice(self._first, self._first + len(self._weights_H))
        for column, shares_KHW in zip(self._batch, shares_BKHW, strict=True):
            begin, end = columns.begin(column), columns.end(column)
            weights_W = torch.from_numpy(columns.weights(column)).to(shares_KHW.device)
            inner_KHW = shares_KHW[:, used_H, begin - columns.starts[column] : end - columns.starts[column]]
            self._blended_KHW[:, :, begin:end] += inner_KHW * torch.outer(self._weights_H, weights_W)
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


def window_probabilities(model: nn.Module, images_BCHW: Tensor, how: ScenePass) -> Tensor:
    """Class probabilities of windows, float32 (B, K, H, W); with test-time augmentation the mean over 8 symmetries."""
    if not how.tta:
        return _probabilities(model, images_BCHW, how)
    total_BKHW: Tensor | None = None
    for number in range(SYMMETRIES):
        shares_BKHW = _moved_back(_probabilities(model, _moved(images_BCHW, number), how), number)
        total_BKHW = shares_BKHW if total_BKHW is None else total_BKHW.add_(shares_BKHW)
    assert total_BKHW is not None, "a square has symmetries"
    return total_BKHW.div_(SYMMETRIES)


def _probabilities(model: nn.Module, images_BCHW: Tensor, how: ScenePass) -> Tensor:
    images_BCHW = images_BCHW.contiguous(memory_format=how.compute.memory_format)
    with how.compute.autocast():
        logits_BKHW, _ = model(images_BCHW)
    logits_BKHW = logits_BKHW.float()
    shares_BKHW: Tensor = (logits_BKHW if how.temperature == 1 else logits_BKHW / how.temperature).softmax(1)
    return shares_BKHW


def _moved(images_BCHW: Tensor, number: int) -> Tensor:
    """Images under a symmetry of `seg.data.raw.SYMMETRIES`."""
    if number & 4:
        images_BCHW = images_BCHW.transpose(-1, -2)
    axes = [axis for axis, bit in ((-2, 2), (-1, 1)) if number & bit]
    return images_BCHW.flip(axes) if axes else images_BCHW


def _moved_back(maps_BKHW: Tensor, number: int) -> Tensor:
    axes = [axis for axis, bit in ((-2, 2), (-1, 1)) if number & bit]
    maps_BKHW = maps_BKHW.flip(axes) if axes else maps_BKHW
    return (maps_BKHW.transpose(-1, -2) if number & 4 else maps_BKHW).contiguous()


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
