"""Multi-labels of a scene: the network on each 1.2 km cell by itself, as on a patch of reBEN."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from seg.engine.device import named_when_full
from seg.inference.strips import Strip, StripPreparation, View
from seg.inference.window_pass import ScenePass
from seg.inference.windows import Axis, Tiling
from seg.models.padding import Frame
from seg.rasters.grid import Window
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES
from seg.scenes.cells import cell_grid
from seg.scenes.reader import Scene


@dataclass(frozen=True, eq=False)
class CellRow:
    """A row of the cells of `seg.scenes.cells.cell_grid`.

    Attributes:
        row: Number of the row, from the top.
        columns_N: Number of each cell's column, int64.
        data_N: Share of each cell that has data and is to be mapped, float32, above 0.
        probabilities_NK: Scene probabilities, float32.
    """

    row: int
    columns_N: npt.NDArray[np.int64]
    data_N: npt.NDArray[np.float32]
    probabilities_NK: npt.NDArray[np.float32]


def cell_rows(scene: Scene, inner: Window) -> list[int]:
    """Rows of whole cells that touch what is mapped."""
    grid = cell_grid(scene)
    return _touched(grid.top, grid.rows, inner.top, inner.height)


def _touched(first: int, count: int, begin: int, length: int) -> list[int]:
    """Those of some cells in a row, the first of which begins at a pixel, that touch a stretch of pixels."""
    end = -(-(begin + length - first) // PATCH_SIZE)
    return list(range(max((begin - first) // PATCH_SIZE, 0), min(end, count)))


def predict_cells(
    model: nn.Module,
    view: View,
    inner: Window,
    rows: Sequence[int],
    how: ScenePass,
) -> Iterator[CellRow]:
    """Predict the cells that lie wholly in the scene and in which anything is to be mapped.

    Args:
        model: A `Segmenter` with a scene head, in evaluation mode, on its device.
        view: The scene.
        inner: The part of the scene that is mapped.
        rows: Some of `cell_rows`.
        how: Device, formats, cells at a time and progress.

    Raises:
        SceneError: If a file is damaged.
        OutOfMemoryError: Naming the option to lower.
    """
    cell = Window(0, 0, PATCH_SIZE, PATCH_SIZE)
    axis = Axis(PATCH_SIZE, PATCH_SIZE, (0,), 0)
    tiling = Tiling(cell, cell, Frame(PATCH_SIZE, PATCH_SIZE, PATCH_SIZE, PATCH_SIZE), axis, axis)
    scene, bands, factors = view.scene, view.bands, view.factors
    prepare = StripPreparation(view, tiling, how.compute.device)
    grid = cell_grid(scene)
    columns = _touched(grid.left, grid.columns, inner.left, inner.width)
    if not columns:
        return
    with scene.open() as reader:
        for row in how.track(rows, "rows of cells predicted", len(rows)):
            left, top = grid.left + columns[0] * PATCH_SIZE, grid.top + row * PATCH_SIZE
            place = Window(left, top, len(columns) * PATCH_SIZE, PATCH_SIZE)
            values = reader.read(place, bands)
            valid_HW = reader.valid(place)
            wanted_HW = _within(view.wanted(place, valid_HW), place, inner)
            cells = [
                Strip(
                    0,
                    cell,
                    {
                        name: values[name][:, _columns(number, factor)]
                        for name, factor in zip(bands, factors, strict=True)
                    },
                    valid_HW[:, _columns(number)],
                    wanted_HW[:, _columns(number)],
                )
                for number in range(len(columns))
                if wanted_HW[:, _columns(number)].any()
            ]
            columns_N = [column for n, column in enumerate(columns) if wanted_HW[:, _columns(n)].any()]
            yield CellRow(
                row,
                np.array(columns_N, np.int64),
                np.array([(each.valid_HW & each.wanted_HW).mean() for each in cells], np.float32),
                _probabilities(model, cells, prepare, how),
            )


def _columns(number: int, factor: int = 1) -> slice:
    size = PATCH_SIZE // factor
    return slice(number * size, (number + 1) * size)


def _within(wanted_HW: npt.NDArray[np.bool_], place: Window, inner: Window) -> npt.NDArray[np.bool_]:
    rows = np.arange(place.top, place.top + place.height)
    columns = np.arange(place.left, place.left + place.width)
    in_rows = (rows >= inner.top) & (rows < inner.top + inner.height)
    in_columns = (columns >= inner.left) & (columns < inner.left + inner.width)
    return wanted_HW & in_rows[:, None] & in_columns


def _probabilities(
    model: nn.Module, cells: Sequence[Strip], prepare: StripPreparation, how: ScenePass
) -> npt.NDArray[np.float32]:
    parts, compute, batch_size = [], how.compute, how.batch_size
    for begin in range(0, len(cells), batch_size):
        with named_when_full("lower --batch-size"), torch.inference_mode(), compute.autocast():
            batch = cells[begin : begin + batch_size]
            images = torch.empty((len(batch), *prepare.shape), device=compute.device)
            for each, images_CHW in zip(batch, images, strict=True):
                prepare(each, images_CHW)
            _, scene_logits = model(images.contiguous(memory_format=compute.memory_format))
            parts.append(scene_logits.float().sigmoid().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, NUM_CLASSES), np.float32)
